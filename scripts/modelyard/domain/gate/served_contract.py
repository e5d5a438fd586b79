"""Which requests a challenger would refuse that the champion's callers send."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from modelyard.domain.specs.contract import Column, ColumnType
from modelyard.domain.verdict import Outcome, Verdict
from modelyard.errors import join_first

_LISTED = 3

# Values of another type that a server accepts: whole numbers are numbers, and times are text.
_WIDER: Mapping[ColumnType, frozenset[ColumnType]] = {
    "integer": frozenset({"number"}),
    "timestamp": frozenset({"category"}),
}


@dataclass(frozen=True, kw_only=True)
class ServedContract:
    """What the server of one artifact accepts and answers.

    Args:
        inputs: The columns of its requests.
        output: The name of its output.
    """

    inputs: tuple[Column, ...]
    output: str


@dataclass(frozen=True, kw_only=True)
class ContractBreak:
    """Requests of the champion's callers that the challenger refuses, or that leave its contract.

    Args:
        name: The input or output at fault.
        what: What changed, and which requests it concerns.
    """

    name: str
    what: str


def find_contract_breaks(
    champion: ServedContract, challenger: ServedContract
) -> tuple[ContractBreak, ...]:
    """Every break, in the order of the challenger's inputs.

    The champion's callers send what its contract allows: each input with values of its type, null
    where it is nullable, and no tensor where it may be left out. More inputs than the challenger
    has are no break: its server ignores them. A server does not refuse values outside a range or a
    list of levels, but the model has not learned them.
    """
    known = {column.name: column for column in champion.inputs}
    found = [*_renamed(champion.inputs, challenger.inputs)]
    renamed = {each.name for each in found}
    for column in challenger.inputs:
        before = known.get(column.name)
        if before is not None:
            found.extend(_changed(before, column))
        elif not _may_be_left_out(column) and column.name not in renamed:
            found.append(_break(column, "new and required; requests without it are refused"))
    if known and not any(column.name in known for column in challenger.inputs):
        names = join_first(known, _LISTED)
        what = f"none of {names} is left; a request without any input of the model is refused"
        found.append(ContractBreak(name="inputs", what=what))
    if challenger.output != champion.output:
        what = f"now called {challenger.output}; requests that ask for the old name are refused"
        found.append(ContractBreak(name=champion.output, what=what))
    return tuple(found)


def contract_verdict(
    found: Sequence[ContractBreak], intended: Mapping[str, str], champion: str
) -> Verdict:
    """`fail` if a break is not intended; otherwise `pass`, with the reasons of intended breaks.

    Args:
        found: From `find_contract_breaks`.
        intended: The reason of each intended break, by the name of the input or output.
        champion: The champion's version, for the reason.
    """
    surprises = [each for each in found if each.name not in intended]
    if surprises:
        return Verdict(
            outcome=Outcome.FAIL,
            reason=f"it would refuse requests that {champion} accepts: "
            + "; ".join(f"{each.name} is {each.what}" for each in surprises)
            + "; give its callers time, or say --breaks NAME=REASON in the version",
            columns=tuple(dict.fromkeys(each.name for each in surprises)),
        )
    if not found:
        return Verdict(outcome=Outcome.PASS, reason=f"it accepts what {champion} accepts")
    told = "; ".join(f"{each.name} is {each.what} ({intended[each.name]})" for each in found)
    return Verdict(
        outcome=Outcome.PASS,
        reason=f"it breaks requests that {champion} accepts, as its version says: {told}",
        columns=tuple(dict.fromkeys(each.name for each in found)),
    )


def normalize_name(name: str) -> str:
    """The name without case and punctuation; a server refuses an input that differs only so."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _renamed(before: Iterable[Column], after: Sequence[Column]) -> Iterator[ContractBreak]:
    names = {column.name for column in after}
    plain = {normalize_name(column.name): column for column in after}
    for column in before:
        other = plain.get(normalize_name(column.name))
        if column.name not in names and other is not None:
            yield _break(other, f"renamed; requests that name it {column.name} are refused")


def _changed(before: Column, after: Column) -> Iterator[ContractBreak]:
    if after.type != before.type and after.type not in _WIDER.get(before.type, frozenset()):
        values = (
            "fractions" if after.type == "integer" and before.type == "number" else "its values"
        )
        yield _break(after, f"{after.type} instead of {before.type}; {values} are refused")
        return
    if before.nullable and not after.nullable:
        yield _break(after, "no longer nullable; null is refused")
    elif _may_be_left_out(before) and not _may_be_left_out(after):
        yield _break(after, "without its default; requests without it are refused")
    if before.unit and after.unit and before.unit != after.unit:
        yield _break(after, f"in {after.unit} instead of {before.unit}; callers send the old unit")
    yield from _narrowed(before, after)


def _narrowed(before: Column, after: Column) -> Iterator[ContractBreak]:
    (low, high), (least, most) = before.limits, after.limits
    if least > low or most < high:
        yield _break(
            after,
            f"narrower, {_range(least, most)} instead of {_range(low, high)}; "
            "values between are outside its contract",
        )
    if after.levels is None:
        return
    if before.levels is None:
        yield _break(
            after,
            f"limited to {join_first(after.levels, _LISTED)}; others are outside its contract",
        )
    elif gone := [level for level in before.levels if level not in after.levels]:
        yield _break(
            after, f"without the level {join_first(gone, _LISTED)}, which is outside its contract"
        )


def _may_be_left_out(column: Column) -> bool:
    return column.nullable or column.default is not None


def _break(column: Column, what: str) -> ContractBreak:
    return ContractBreak(name=column.name, what=what)


def _range(low: float, high: float) -> str:
    return f"{low:g} to {high:g}"
