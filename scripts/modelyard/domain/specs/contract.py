"""The data contract of a model, and how a table breaches it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Literal

from modelyard.errors import join_first

if TYPE_CHECKING:
    from modelyard.domain.specs.column_values import Array, Columns, LevelCounts, Table, Values

ColumnType = Literal["number", "integer", "category", "boolean", "timestamp"]
Rule = Literal[
    "missing",
    "type",
    "null",
    "range",
    "level",
    "unexpected-name",
    "late",
    "volume",
    "duplicate",
    "future",
    "gap",
    "repeated",
    "cause",
]
"""Rules of a column, and rules of a feed; see `domain.drift.feed_faults` and `causes`."""

ALL_ROWS = "*"
"""The column of a breach that concerns whole rows."""

TOLERANCE = 0.001
"""Share of rows that may be outside a range or a list of levels without a breach."""

_SEVERITY: tuple[Rule, ...] = ("missing", "type", "null", "range", "level", "unexpected-name")
_LIKE = 0.75  # at .6 `dep_delay` counts as a spelling of `arr_delay`
_SPAN = 0.25  # share of a declared range that a column must fill to be taken for the missing one
_LISTED = 3
_LEAST_LETTERS = 3  # of a name that another begins with


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a model's data contract.

    Args:
        name: The column's name.
        type: The type of its values.
        description: Its meaning, for people.
        unit: The unit of its values, such as `degF`; None if there is none.
        nullable: Whether a value may be missing.
        default: The value that the server fills in for a missing one; None for nothing.
        minimum: Least value allowed, in `unit`; numbers and integers only.
        maximum: Greatest value allowed, in `unit`; numbers and integers only.
        levels: The categories allowed; None allows all.
        available_at: Whether a `request` has the value, or it is known only `later`.
        max_null_share: Greatest share of nulls allowed, 0 to 1; None sets no limit.
    """

    name: str
    type: ColumnType
    description: str = ""
    unit: str | None = None
    nullable: bool = False
    default: object | None = None
    minimum: float | None = None
    maximum: float | None = None
    levels: tuple[str, ...] | None = None
    available_at: Literal["request", "later"] = "request"
    max_null_share: float | None = None

    @property
    def limits(self) -> tuple[float, float]:
        """Least and greatest value allowed; infinite without a limit."""
        low = float("-inf") if self.minimum is None else self.minimum
        return low, float("inf") if self.maximum is None else self.maximum


@dataclass(frozen=True, kw_only=True)
class Breach:
    """One rule of the contract that a table breaks.

    Args:
        column: The column at fault.
        rule: The rule.
        expected: What the contract asks for.
        found: What the table has instead.
        rows: The number of rows at fault.
        cause: The fault of the data that it looks like; empty if it looks like none.
    """

    column: str
    rule: Rule
    expected: str
    found: str
    rows: int
    cause: str = ""


def find_breaches(
    columns: Sequence[Column], table: Table, *, tolerance: float = TOLERANCE
) -> tuple[Breach, ...]:
    """Every breach of the contract; the worst rule first, then by rows at fault.

    - One null that is not allowed, one infinity or one value of another type is a breach.
    - Values outside a range or a list of levels are a breach if they are more than one and more
      than `tolerance` times the rows. With a `tolerance` of 0 a single one is a breach.
    - Columns outside the contract are ignored, unless their name differs from a declared one only
      in case and punctuation.

    Args:
        columns: The contract.
        table: One-dimensional arrays by column name.
        tolerance: Share of rows that may be outside a range or a list of levels, 0 to 1.
    """
    check = ContractCheck(columns, tolerance=tolerance)
    check.add(table)
    found = [_missing(column, columns, table) for column in columns if column.name not in table]
    return _by_severity([*found, *check.breaches(), *_similar_names(columns, table)])


class ContractCheck:
    """The columns of a table checked in parts: their breaches are those of the whole table.

    Args:
        columns: The contract.
        tolerance: Share of rows that may be outside a range or a list of levels, 0 to 1.
    """

    def __init__(self, columns: Sequence[Column], *, tolerance: float = TOLERANCE) -> None:
        self._tolerance = tolerance
        self._tallies = [_Tally(column) for column in columns]

    def add(self, table: Columns) -> None:
        """Take the next rows; a column that they do not have is left out."""
        for tally in self._tallies:
            if tally.column.name in table:
                tally.add(table[tally.column.name])

    def describe_as_one(self, name: str, values: Array) -> None:
        """Take the misfits of a column from all of its values at once, if they are misfits then."""
        for place, tally in enumerate(self._tallies):
            if tally.column.name == name:
                whole = _Tally(tally.column)
                whole.add(values)
                self._tallies[place] = whole if whole.wrong else tally

    @property
    def misfits(self) -> frozenset[str]:
        """The columns with a value that their type does not hold, which is a breach for sure."""
        return frozenset(tally.column.name for tally in self._tallies if tally.wrong)

    def breaches(self) -> tuple[Breach, ...]:
        """The breaches of the rows so far, in the order of `find_breaches`."""
        found = (breach for tally in self._tallies for breach in tally.breaches(self._tolerance))
        return _by_severity(found)


def _by_severity(found: Iterable[Breach]) -> tuple[Breach, ...]:
    return tuple(sorted(found, key=lambda breach: (_SEVERITY.index(breach.rule), -breach.rows)))


def describe_breach(breach: Breach) -> str:
    """One sentence with the column, what was expected, what was found and what it looks like."""
    rows = f" ({breach.rows:,} row{'' if breach.rows == 1 else 's'})" if breach.rows else ""
    where = "rows" if breach.column == ALL_ROWS else f"column {breach.column}"
    cause = f"; {breach.cause}" if breach.cause else ""
    return f"{where} ({breach.rule}): expected {breach.expected}, found {breach.found}{rows}{cause}"


class _Tally:
    """What the rows so far have in one column."""

    def __init__(self, column: Column) -> None:
        self.column = column
        self.wrong = self._rows = self._nulls = self._outside = 0
        self._example, self._other_number = "", ""
        self._least, self._greatest = float("inf"), float("-inf")
        self._strays: Counter[str] = Counter()

    def add(self, values: Values) -> None:
        from modelyard.domain.specs import column_values as read  # noqa: PLC0415 - imports numpy

        if self.column.type == "category":
            self._add_levels(read.read_levels(values), _length(values))
            return
        reading = read.read_column(self.column.type, read.plain_array(values))
        if reading.is_other_number:
            self._other_number = self._other_number or reading.example
        else:
            self._example = self._example or reading.example
        self._count(len(reading.values), reading.nulls, reading.wrong)
        if self.column.type in {"number", "integer"}:
            low, high = self.column.limits
            strays = reading.values[(reading.values < low) | (reading.values > high)]
            if len(strays):
                self._outside += len(strays)
                self._least = min(self._least, float(strays.min()))
                self._greatest = max(self._greatest, float(strays.max()))

    def _add_levels(self, seen: LevelCounts, rows: int) -> None:
        self._example = self._example or seen.example
        self._count(rows, seen.nulls, seen.wrong)
        if self.column.levels is None:
            return
        for level, count in seen.counts.items():
            if level not in self.column.levels:
                self._strays[level] += count
                self._outside += count

    def _count(self, rows: int, nulls: int, wrong: int) -> None:
        self._rows, self._nulls = self._rows + rows, self._nulls + nulls
        self.wrong += wrong

    def breaches(self, tolerance: float) -> Iterator[Breach]:
        column, rows = self.column, self._rows
        if self.wrong:
            expected = f"{column.type}{f' in {column.unit}' if column.unit else ''}"
            found = self._example or self._other_number
            yield _breach(column.name, "type", expected, found, self.wrong)
        # `max_null_share` of a column that is not nullable means nothing; a check refuses it.
        limit = column.max_null_share if column.nullable else 0.0
        if limit is not None and self._nulls > limit * rows:
            expected = f"at most {limit:.3%} nulls" if limit else "no nulls"
            found = f"{self._nulls / rows:.3%} nulls"
            yield _breach(column.name, "null", expected, found, self._nulls)
        if self._outside > _allowed(rows, tolerance):
            yield self._stray_breach()

    def _stray_breach(self) -> Breach:
        column, outside = self.column, self._outside
        if column.type == "category":
            # Ties by name, so that the order of rows changes nothing.
            strays = dict(sorted(self._strays.items(), key=lambda item: (-item[1], item[0])))
            expected = f"one of {_listed(column.levels or ())}"
            return _breach(column.name, "level", expected, _listed(strays), outside)
        found = f"values from {self._least:.6g} to {self._greatest:.6g}"
        return _breach(column.name, "range", _range_text(column), found, outside)


def _length(values: Values) -> int:
    from modelyard.domain.specs.column_values import CodedValues  # noqa: PLC0415 - imports numpy

    return len(values) if isinstance(values, CodedValues) or values.ndim else 0


def _column_breaches(column: Column, values: Array, tolerance: float) -> Iterator[Breach]:
    tally = _Tally(column)
    tally.add(values)
    yield from tally.breaches(tolerance)


def _breach(column: str, rule: Rule, expected: str, found: str, rows: int) -> Breach:
    return Breach(column=column, rule=rule, expected=expected, found=found, rows=rows)


def _allowed(rows: int, tolerance: float) -> int:
    # At least one: in a small window a single stray value would exceed any share.
    return max(1, int(tolerance * rows)) if tolerance > 0 else 0


def _range_text(column: Column) -> str:
    unit = f" {column.unit}" if column.unit else ""
    if column.minimum is None:
        return f"at most {column.maximum:.6g}{unit}"
    if column.maximum is None:
        return f"at least {column.minimum:.6g}{unit}"
    return f"{column.minimum:.6g} to {column.maximum:.6g}{unit}"


def _missing(column: Column, columns: Sequence[Column], table: Table) -> Breach:
    from modelyard.domain.specs.column_values import count_rows  # noqa: PLC0415 - imports numpy

    declared = {other.name for other in columns}
    extras = [name for name in table if name not in declared]
    named = [name for name in extras if _is_like(name, column.name)]
    fitting = [name for name in named or extras if _fits(column, table[name])]
    # A similar name is enough if there is one; otherwise the values must fit.
    suspects = named if len(named) == 1 else fitting
    instead = f"; found instead: {suspects[0]}" if len(suspects) == 1 else ""
    expected, found = f"a {column.type} column", f"no such column{instead}"
    return _breach(column.name, "missing", expected, found, count_rows(table))


def _fits(column: Column, values: Array) -> bool:
    """Whether the values could be this column's: they keep its contract and fill its range."""
    from modelyard.domain.specs.column_values import read_column  # noqa: PLC0415 - imports numpy

    if any(_column_breaches(column, values, 0.0)):
        return False
    if column.type == "category" and column.levels:
        return set(column.levels) <= set(values.tolist())
    if column.minimum is None or column.maximum is None or column.type not in {"number", "integer"}:
        return False
    read = read_column(column.type, values).values
    known = read[read == read]  # noqa: PLR0124 - NaN is not itself, and numpy is not imported here
    span = float(known.max() - known.min()) if len(known) else 0.0
    return span >= _SPAN * (column.maximum - column.minimum) > 0


def _similar_names(columns: Sequence[Column], table: Table) -> Iterator[Breach]:
    plain = {plain_name(column.name): column.name for column in columns if column.name in table}
    declared = {column.name for column in columns}
    for name, values in table.items():
        twin = plain.get(plain_name(name))
        if name not in declared and twin is not None:
            rows = len(values) if values.ndim else 0
            yield _breach(name, "unexpected-name", f"only {twin}", f"{name} as well", rows)


def _is_like(one: str, other: str) -> bool:
    # A unit is often appended to a name, such as `temp_c`; other changes must keep most letters.
    first, second = sorted((plain_name(one), plain_name(other)), key=len)
    if len(first) >= _LEAST_LETTERS and second.startswith(first):
        return True
    return SequenceMatcher(None, first, second).ratio() >= _LIKE


def plain_name(name: str) -> str:
    """The name without case and punctuation, in which two spellings of one name agree."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _listed(levels: Iterable[str]) -> str:
    return join_first(map(repr, levels), _LISTED)
