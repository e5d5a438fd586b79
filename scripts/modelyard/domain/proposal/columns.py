"""A column of a contract, proposed from what a table has in it; guesses and questions are said."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from modelyard.domain.proposal.look_alikes import describe_look_alike
from modelyard.domain.specs.contract import Column, ColumnType

ROOM = 0.5
"""Part of the width of a range that is added at each end: for values that are not there yet."""

MOST_LEVELS = 20
"""A category with more levels is left open: new ones are news about the world."""

ROWS_OF_A_LEVEL = 10
"""A list of levels is closed if the rows are this many times its length."""

ASK_UNIT = "QUESTION: in which unit? Write `unit: ...`; leave it out if it has none"

_NULL_ROOM = 0.05
_ALL_DIFFERENT = 0.9
_MOSTLY_DIFFERENT = 0.5
_LEAST_FOR_KEYS = 20
_EXACT = 2**53
_KEY = re.compile(r"(?i:(^|[_\-. ])(id|uuid|guid|key)$)|[a-z](Id|ID)$")
_CODE = re.compile(
    r"(^|[_\-. ])(zip|zip_?code|postal_?code|postcode|plz|fips|phone|phone_?number)$", re.IGNORECASE
)


class Use(StrEnum):
    """What a column seems to be for."""

    INPUT = "input"
    KEY = "key"
    """Names what several rows are about, such as a customer; or a code that is no quantity."""

    LEFT_OUT = "left out"
    """Differs in every row, or no type of the contract holds its values."""


@dataclass(frozen=True, kw_only=True)
class ColumnFacts:
    """What a table has in one column.

    Args:
        name: The column's name.
        type: The narrowest type of the contract that holds all values; None if none does.
        rows: The number of rows.
        nulls: Rows without a value.
        distinct: The number of different values.
        low: The least value of a number or integer; None without one.
        high: The greatest value.
        spread: The mean absolute distance of a number from the mean.
        levels: Rows by level of a category, most frequent first; empty for other types.
        is_code: Whether the values are digits that are no number, such as `02139`.
        whole_days: Whether every time is a midnight.
        fault: Why no type holds the values, or what a person should look at; empty if nothing.
    """

    name: str
    type: ColumnType | None
    rows: int
    nulls: int
    distinct: int = 0
    low: float | None = None
    high: float | None = None
    spread: float = 0.0
    levels: Mapping[str, int] = field(default_factory=dict)
    is_code: bool = False
    whole_days: bool = False
    fault: str = ""

    @property
    def known(self) -> int:
        """The rows with a value."""
        return self.rows - self.nulls


@dataclass(frozen=True, kw_only=True)
class ColumnProposal:
    """A column, what it is for, and what a person should know or answer about it.

    Args:
        column: The column of the contract; None if it is left out.
        use: What it seems to be for.
        notes: Guesses and questions, one sentence each.
        look_alike: What its texts seem to be instead, and what to do about it; empty if nothing.
    """

    column: Column | None
    use: Use
    notes: tuple[str, ...] = ()
    look_alike: str = ""


def propose_column(facts: ColumnFacts) -> ColumnProposal:
    """The column of the contract that admits what the table has, with head room."""
    alike = describe_look_alike(facts.levels) if facts.type == "category" else ""
    found = _propose_column(facts)
    if not alike:
        return found
    if found.column is None:  # the note of a column that is left out is why
        return replace(found, notes=(alike, *found.notes), look_alike=alike)
    return replace(found, notes=(f"QUESTION: {alike}", *found.notes), look_alike=alike)


def _propose_column(facts: ColumnFacts) -> ColumnProposal:
    if facts.type is None:
        return ColumnProposal(column=None, use=Use.LEFT_OUT, notes=(facts.fault,))
    notes = (f"QUESTION: {facts.fault}",) if facts.fault else ()
    bare = Column(
        name=facts.name,
        type=facts.type,
        nullable=facts.nulls > 0,
        max_null_share=_null_share(facts),
    )
    if reason := _left_out(facts):
        return ColumnProposal(column=None, use=Use.LEFT_OUT, notes=(reason, *notes))
    if is_key(facts):
        told = f"GUESS: names what a row is about ({facts.distinct:,} of them), so it is no input"
        return ColumnProposal(column=bare, use=Use.KEY, notes=(told, *notes))
    if facts.type in {"number", "integer"}:
        return _propose_number(facts, bare, notes)
    if facts.type == "category":
        return _propose_category(facts, bare, notes)
    return ColumnProposal(column=bare, use=Use.INPUT, notes=notes)


def is_key(facts: ColumnFacts) -> bool:
    """Whether the column names what several rows are about, by its name and its values."""
    named = facts.type in {"integer", "category"} and _KEY.search(facts.name) is not None
    return named and facts.distinct > 1


def is_code_name(name: str) -> bool:
    """Whether a column of this name holds codes of digits, such as postal codes."""
    return _CODE.search(name) is not None


def room_around(low: float, high: float, *, whole: bool) -> tuple[float | None, float | None]:
    """A range around values, half as wide again at each end, in round numbers.

    It does not cross zero if the values do not. None stands for an end beyond all numbers.
    """
    room = ROOM * (high - low) or ROOM * abs(high) or 1.0
    least = max(low - room, 0.0) if low >= 0 else low - room
    most = min(high + room, 0.0) if high <= 0 and low < 0 else high + room
    return _rounded(least, room, up=False, whole=whole), _rounded(most, room, up=True, whole=whole)


def _rounded(value: float, room: float, *, up: bool, whole: bool) -> float | None:
    """The value, moved outward to a multiple of a power of ten that is small beside the room."""
    if not math.isfinite(value) or not math.isfinite(room):
        return None
    step = 10.0 ** math.floor(math.log10(room) - 0.5) if room > 0 else 0.0
    if whole:
        step = max(step, 1.0)
    if not step or not math.isfinite(value / step) or abs(value / step) > _EXACT:
        return value
    turns = math.ceil(value / step) if up else math.floor(value / step)
    # As text: 3 * 0.1 is not 0.3.
    found = float(f"{turns}e{round(math.log10(step))}")
    return found if (found >= value if up else found <= value) else value


def _propose_number(facts: ColumnFacts, bare: Column, notes: tuple[str, ...]) -> ColumnProposal:
    if facts.low is None or facts.high is None:
        return ColumnProposal(column=bare, use=Use.INPUT, notes=notes)
    if is_code_name(facts.name):
        told = "GUESS: a code, not a quantity, so it has no range and is no input"
        return ColumnProposal(column=bare, use=Use.KEY, notes=(told, *notes))
    if is_flag(facts):
        told = "GUESS: a flag, 0 or 1"
        column = replace(bare, minimum=0.0, maximum=1.0)
        return ColumnProposal(column=column, use=Use.INPUT, notes=(told, *notes))
    low, high = room_around(facts.low, facts.high, whole=facts.type == "integer")
    column = replace(bare, minimum=low, maximum=high)
    return ColumnProposal(column=column, use=Use.INPUT, notes=(ASK_UNIT, *notes))


def _propose_category(facts: ColumnFacts, bare: Column, notes: tuple[str, ...]) -> ColumnProposal:
    if not facts.known:
        told = "QUESTION: it has no value in this file, so its type is not known"
        return ColumnProposal(column=bare, use=Use.LEFT_OUT, notes=(told, *notes))
    if facts.is_code:
        told = "GUESS: a code of digits, not a number"
        return ColumnProposal(column=bare, use=Use.INPUT, notes=(told, *notes))
    if is_closed(facts):
        levels = tuple(sorted(facts.levels))
        told = "GUESS: these levels are all there are; without `levels` new ones are allowed"
        column = replace(bare, levels=levels)
        return ColumnProposal(column=column, use=Use.INPUT, notes=(told, *notes))
    told = f"GUESS: open, new levels are allowed; the file has {facts.distinct:,}"
    if facts.known >= _LEAST_FOR_KEYS and facts.distinct > _MOSTLY_DIFFERENT * facts.known:
        told = (
            f"QUESTION: {facts.distinct:,} different texts in {facts.known:,} rows: is it free "
            "text? Then it is hardly an input as it is, and it may be written later than asked for"
        )
    return ColumnProposal(column=bare, use=Use.INPUT, notes=(told, *notes))


def is_flag(facts: ColumnFacts) -> bool:
    """Whether a whole number is 0 or 1, in enough rows for these to be all there are."""
    both = (facts.low, facts.high, facts.distinct) == (0, 1, 2)
    return facts.type == "integer" and both and facts.known >= 2 * ROWS_OF_A_LEVEL


def is_closed(facts: ColumnFacts) -> bool:
    """Whether the levels of a category are few, and seen often enough to be all there are."""
    few = 0 < facts.distinct <= MOST_LEVELS
    # Text that no editor shows as it is does not belong into a file that people review.
    plain = all(level.isprintable() and level == level.strip() for level in facts.levels)
    return few and plain and facts.known >= ROWS_OF_A_LEVEL * facts.distinct


def _left_out(facts: ColumnFacts) -> str:
    """Why a column is of no use: it differs in every row."""
    if facts.known < _LEAST_FOR_KEYS:
        return ""
    if facts.type == "integer" and _KEY.search(facts.name) and facts.distinct == facts.known:
        return "a different number in every row: it names the row"
    if facts.type == "category" and facts.distinct > _ALL_DIFFERENT * facts.known:
        return f"{facts.distinct:,} different texts in {facts.known:,} rows"
    return ""


def _null_share(facts: ColumnFacts) -> float | None:
    if not facts.nulls:
        return None
    share = facts.nulls / facts.rows
    # Twice what is there, and a little more: a rare null must not make the next one a breach.
    return min(1.0, math.ceil(round((2 * share + _NULL_ROOM) * 100, 6)) / 100)
