"""Columns of a table as plain arrays, read by meaning, whatever dtype a file gave them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

from modelyard.domain.specs.times import clock_time, parse_time

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Table = Mapping[str, Array]

_SHOWN = 40
_SIMPLE = (str, bytes, bool, int, float)
_NULL_TYPES = frozenset({"NAType", "NaTType"})  # pandas' own nulls, known without importing pandas


@dataclass(frozen=True, kw_only=True)
class Unread:
    """A value of a file that the contract's type cannot hold.

    Args:
        value: The value as the file has it.
        found: A description of it, with its place in the file.
    """

    value: object
    found: str


@dataclass(frozen=True, kw_only=True)
class ColumnValues:
    """One column read as numbers.

    Args:
        values: Shape (rows,), float64; NaN if the value is null or unreadable.
        nulls: Rows without a value.
        wrong: Rows with a value of another type, an infinite or an unreadable one.
        example: A description of one wrong value; empty if there is none.
        is_other_number: Whether the example is a finite number, which is named only where no wrong
            value is anything else.
    """

    values: Floats
    nulls: int
    wrong: int = 0
    example: str = ""
    is_other_number: bool = False


@dataclass(frozen=True, kw_only=True)
class LevelCounts:
    """One column read as categories.

    Args:
        counts: Rows by level, most frequent first, ties by name.
        nulls: Rows without a value.
        wrong: Rows with a value that is not text.
        example: A description of one wrong value; empty if there is none.
    """

    counts: Mapping[str, int]
    nulls: int
    wrong: int = 0
    example: str = ""


@dataclass(frozen=True, kw_only=True)
class CodedValues:
    """A column of few different values, as its file has it: each value once, and a number a row.

    Args:
        codes: Shape (rows,): the place of each row's value.
        distinct: The different values; each of them occurs.
    """

    codes: npt.NDArray[np.integer[Any]]
    distinct: tuple[object, ...]

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.codes)

    def count_rows(self) -> list[tuple[object, int]]:
        """Each value with its rows."""
        rows = np.bincount(self.codes, minlength=len(self.distinct)).tolist()
        return list(zip(self.distinct, rows, strict=True))

    def to_array(self) -> Array:
        """The value of each row, as objects."""
        distinct = np.empty(len(self.distinct), dtype=object)
        distinct[:] = self.distinct
        found: Array = distinct[self.codes]
        return found

    def map_values(self, find: Callable[[object], int]) -> npt.NDArray[np.int64]:
        """What is found for the value of each row."""
        each = np.fromiter(map(find, self.distinct), np.int64, count=len(self.distinct))
        found: npt.NDArray[np.int64] = each[self.codes]
        return found


Values = Array | CodedValues
Columns = Mapping[str, Values]
"""A table, or a part of one, in which columns of few texts may be coded."""

ReadColumns = Callable[[Sequence[str]], Iterator[Columns]]
"""Reads all rows in parts, with the columns of these names alone; the same rows each time."""


def plain_array(values: Values) -> Array:
    """A column as an array."""
    return values.to_array() if isinstance(values, CodedValues) else values


def read_numbers(values: Array) -> ColumnValues:
    """A column of real numbers; booleans, text and infinities are wrong, None and NaN are null."""
    if values.ndim != 1 or values.dtype.kind not in "iufO":
        return _unreadable(values)
    if values.dtype.kind == "O":
        return _read_objects(values, _number)
    with np.errstate(over="ignore"):  # a long double beyond float64 becomes infinite: wrong below
        floats = values.astype(np.float64)
    wrong = np.isinf(floats)
    nulls = int(np.count_nonzero(np.isnan(floats)))
    floats[wrong] = np.nan
    stray = int(np.count_nonzero(wrong))
    return ColumnValues(
        values=floats, nulls=nulls, wrong=stray, example="infinity" if stray else ""
    )


def read_integers(values: Array) -> ColumnValues:
    """A column of whole numbers; floats without a fraction are valid."""
    # pandas turns a column of integers with nulls into floats.
    reading = read_numbers(values)
    return _keep(reading, np.isnan(reading.values) | (reading.values % 1 == 0))


def read_booleans(values: Array) -> ColumnValues:
    """A column of true and false as 1.0 and 0.0; the numbers 0 and 1 are valid, text is not."""
    if values.ndim == 1 and values.dtype.kind == "b":
        return ColumnValues(values=values.astype(np.float64), nulls=0)
    if values.ndim == 1 and values.dtype.kind == "O":
        reading = _read_objects(values, _truth)
    else:
        reading = read_numbers(values)
    return _keep(reading, np.isnan(reading.values) | np.isin(reading.values, (0.0, 1.0)))


def read_timestamps(values: Array) -> ColumnValues:
    """A column of datetimes or ISO 8601 text as seconds since 1970, in UTC if no zone is given."""
    if values.ndim != 1 or values.dtype.kind not in "MUO":
        return _unreadable(values)
    if values.dtype.kind != "M":
        return _read_objects(values, _seconds)
    null = np.isnat(values)
    seconds = values.astype("datetime64[s]").astype(np.float64)
    seconds[null] = np.nan
    return ColumnValues(values=seconds, nulls=int(np.count_nonzero(null)))


def read_levels(values: Values) -> LevelCounts:
    """A column of text; anything else is wrong, except None, NaN and pandas' nulls."""
    if isinstance(values, CodedValues):
        tallied = values.count_rows()
    elif values.ndim == 1 and values.dtype.kind in "OU":
        tallied = _tally(values)
    else:
        other = _unreadable(values)
        return LevelCounts(counts={}, nulls=other.nulls, wrong=other.wrong, example=other.example)
    counts: Counter[str] = Counter()
    nulls, stray, example = 0, 0, ""
    for value, rows in tallied:
        if isinstance(value, str):
            counts[str(value)] += rows
        elif _is_null(value):
            nulls += rows
        else:
            stray, example = stray + rows, example or _shown(value)
    # Ties by name, so that the order of rows never changes a profile.
    ordered = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
    return LevelCounts(counts=ordered, nulls=nulls, wrong=stray, example=example)


def name_truths(values: Array) -> Array:
    """A column of booleans as the levels `true` and `false`; None if null or unreadable."""
    truth = read_booleans(values).values
    names = np.where(truth == 1, "true", "false").astype(object)
    names[np.isnan(truth)] = None
    return names


def read_column(kind: str, values: Array) -> ColumnValues:
    """A column of any type of the contract but `category`, for which see `read_levels`."""
    return _READERS[kind](values)


_READERS = {
    "number": read_numbers,
    "integer": read_integers,
    "boolean": read_booleans,
    "timestamp": read_timestamps,
}


def count_rows(table: Table) -> int:
    """The number of rows of the longest column; 0 for a table without columns."""
    return max((len(values) for values in table.values() if values.ndim), default=0)


def _tally(values: Array) -> list[tuple[object, int]]:
    listed = values.tolist()
    try:
        return list(Counter(listed).items())
    except TypeError:  # lists and dicts are not hashable
        return [(value, 1) for value in listed]


def _read_objects(values: Array, read: Callable[[object], float]) -> ColumnValues:
    listed = values.tolist()
    floats = np.array([read(value) for value in listed], dtype=np.float64)
    null = np.isnan(floats)
    wrong = np.isinf(floats)
    floats[wrong] = np.nan
    stray = int(np.count_nonzero(wrong))
    example = _shown(listed[int(np.argmax(wrong))]) if stray else ""
    return ColumnValues(
        values=floats, nulls=int(np.count_nonzero(null)), wrong=stray, example=example
    )


def _keep(reading: ColumnValues, good: npt.NDArray[np.bool_]) -> ColumnValues:
    stray = int(np.count_nonzero(~good))
    if not stray:
        return reading
    first = float(reading.values[np.argmin(good)])
    return ColumnValues(
        values=np.where(good, reading.values, np.nan),
        nulls=reading.nulls,
        wrong=reading.wrong + stray,
        example=reading.example or f"the number {first:.6g}",
        is_other_number=not reading.example,
    )


def _unreadable(values: Array) -> ColumnValues:
    """A column of another dtype: all its values are wrong, except NaN."""
    if values.ndim != 1:
        shape = f"an array of shape {values.shape}"
        return ColumnValues(
            values=np.full(len(values) if values.ndim else 1, np.nan),
            nulls=0,
            wrong=max(1, values.size),
            example=shape,
        )
    # A file reader turns a column without values into floats, whatever the contract's type is.
    rows = len(values)
    nulls = int(np.count_nonzero(np.isnan(values))) if values.dtype.kind == "f" else 0
    kinds = {"b": "booleans", "c": "complex numbers", "M": "dates"}
    example = kinds.get(values.dtype.kind, f"an array of {values.dtype}")
    if rows and values.dtype.kind in "US":
        example = _shown(values[0])
    stray = rows - nulls
    return ColumnValues(
        values=np.full(rows, np.nan), nulls=nulls, wrong=stray, example=example if stray else ""
    )


def _number(value: object) -> float:
    if _is_null(value):
        return np.nan
    # Infinity marks a wrong value, NaN a null: so one array holds all three.
    if isinstance(value, bool) or not isinstance(value, Real):
        return np.inf
    try:
        return float(value)
    except OverflowError:
        return np.inf


def _truth(value: object) -> float:
    return float(value) if isinstance(value, bool | np.bool_) else _number(value)


def _seconds(value: object) -> float:
    if _is_null(value):
        return np.nan
    try:
        if isinstance(value, str):
            moment = parse_time(value, UTC)
        elif isinstance(value, date):  # a datetime is one too
            moment = clock_time(value, UTC)
        else:
            return np.inf
        return moment.replace(tzinfo=UTC).timestamp()
    except (ValueError, OverflowError):
        return np.inf


def _is_null(value: object) -> bool:
    if value is None or type(value).__name__ in _NULL_TYPES:
        return True
    if isinstance(value, np.datetime64):
        return bool(np.isnat(value))
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def _shown(value: object) -> str:
    if isinstance(value, Unread):
        return value.found
    if isinstance(value, str | bytes):
        return f"text such as {value[:_SHOWN]!r}"
    if isinstance(value, float | np.floating) and np.isinf(value):
        return "infinity"
    return f"{value!r}"[:_SHOWN] if isinstance(value, _SIMPLE) else f"a {type(value).__name__}"
