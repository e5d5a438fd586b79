"""Reads a tensor of a request as the values of a column of the contract."""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC
from operator import countOf
from typing import Any, TypeAlias

from modelyard.domain.specs.contract import Column, ColumnType
from modelyard.domain.specs.times import parse_time

Values: TypeAlias = Any
"""The values of one column, a numpy array or one of pandas' nullable integers."""

MAX_ROWS = 10_000
"""Predictions run on one thread: a longer request would delay all others."""

DATATYPES: dict[ColumnType, str] = {
    "number": "FP64",
    "integer": "INT64",
    "category": "BYTES",
    "boolean": "BOOL",
    "timestamp": "BYTES",
}

_WHOLE = frozenset(f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64))
_NUMERIC = _WHOLE | {"FP16", "FP32", "FP64"}
_TEXT = frozenset({"BYTES"})
_ACCEPTED: dict[ColumnType, frozenset[str]] = {
    "number": _NUMERIC,
    "integer": _NUMERIC,
    "category": _TEXT,
    "boolean": frozenset({"BOOL"}),
    "timestamp": _TEXT,
}
_NONE = type(None)
_AS_THEY_ARE: dict[ColumnType, frozenset[type]] = {
    "number": frozenset({int, float, _NONE}),
    "integer": frozenset({int, _NONE}),
    "category": frozenset({str, _NONE}),
    "boolean": frozenset({bool, _NONE}),
    "timestamp": frozenset(),
}
"""Types of which each value is good, or is found to be none when an array is made of them."""

_INT64 = 2**63
_SHOWN = 40
_LISTED = 4
_COLUMN = 2  # dimensions of a shape [rows, 1]


class TensorError(ValueError):
    """A tensor does not fit its column; the message names what was expected and found."""


@dataclass(frozen=True, kw_only=True)
class ReadTensor:
    """The values of a tensor.

    Args:
        array: Its values; see `read_tensor`.
        nulls: How many of them are missing.
        levels: How many rows each level of a category has; none where there is one row.
    """

    array: Values
    nulls: int
    levels: Mapping[Any, int] = field(default_factory=dict)


def read_tensor(column: Column, tensor: Mapping[str, object]) -> ReadTensor:
    """The column's values as an array of its type.

    A number is float64 with NaN for nulls. Other types are int64, bool or object; with nulls they
    are pandas' nullable integers, or objects with None.

    Args:
        column: The column of the contract.
        tensor: `datatype`, `shape` ([rows] or [rows, 1]) and `data`: flat, or one list per row, or
            an array of numbers, in which NaN is a null.

    Raises:
        TensorError: The datatype, the shape or a value does not fit the column.
    """
    data = _data(tensor)
    datatype = tensor.get("datatype")
    if not isinstance(data, list):
        if (read := _read_array(column, data)) is not None:
            return read
        data = [None if value != value else value for value in data.tolist()]  # noqa: PLR0124 - NaN is not itself
    if not isinstance(datatype, str) or not (
        # A client cannot know the datatype of nulls alone.
        datatype in _ACCEPTED[column.type] or all(value is None for value in data)
    ):
        raise TensorError(f"expected {describe_column(column)}, found {describe_value(datatype)}")
    if column.type == "category" and len(data) > 1:
        return _categories(column, data)
    if column.type == "number" and (values := _floats(data)) is not None:
        return ReadTensor(array=values, nulls=0)
    kinds = set(map(type, data))
    if not kinds <= _AS_THEY_ARE[column.type] or (_NONE in kinds and not column.nullable):
        data = [_value(column, value, row) for row, value in enumerate(data)]
    return _array(column, data, nulls=data.count(None) if _NONE in kinds else 0)


def values_of_nulls(column: Column, rows: int) -> Values:
    """The values of a column that was left out."""
    return _array_of(column.type, [None] * rows, has_nulls=True)


def _read_array(column: Column, values: Values) -> ReadTensor | None:
    """An array as it is for a column of numbers; None if each value must be looked at."""
    import numpy as np  # noqa: PLC0415 - only where rows are read

    is_whole = values.dtype.kind in "iu"
    if column.type == "integer" and is_whole and values.dtype != np.uint64:
        return ReadTensor(array=values.astype(np.int64), nulls=0)
    if column.type != "number" or not (is_whole or values.dtype.kind == "f"):
        return None
    numbers = values.astype(np.float64)
    nulls = int(np.count_nonzero(np.isnan(numbers)))
    if (nulls and not column.nullable) or not _is_finite(numbers, nulls):
        return None
    return ReadTensor(array=numbers, nulls=nulls)


def _categories(column: Column, data: list[object]) -> ReadTensor:
    """Texts, whose levels are counted here: so types are looked at once a level, not once a row."""
    import numpy as np  # noqa: PLC0415 - only where rows are read

    levels = _levels(column, data)
    if levels is None:
        data = [_value(column, value, row) for row, value in enumerate(data)]
        levels = Counter(data)
    nulls = levels.pop(None, 0)
    # A plain one, which the garbage collector does not follow where it waits in the log's queue.
    return ReadTensor(array=np.array(data, dtype=object), nulls=nulls, levels=dict(levels))


def _levels(column: Column, data: list[object]) -> Counter[object] | None:
    """How often each level occurs; None if there may be a value that is none."""
    try:
        levels = Counter(data)
    except TypeError:  # a list or an object, of which there is no level
        return None
    kinds = set(map(type, levels))
    is_good = kinds <= _AS_THEY_ARE["category"] and (column.nullable or _NONE not in kinds)
    return levels if is_good else None


def _floats(data: list[object]) -> Values | None:
    """Finite floats and nothing else, the usual numbers of a request; None if there is another."""
    import numpy as np  # noqa: PLC0415 - as above

    if countOf(map(type, data), float) != len(data):
        return None
    # Takes half the time of `np.array`, which looks for lists in the list.
    values = np.frombuffer(bytearray(struct.pack(f"{len(data)}d", *data)))
    return values if np.isfinite(values).all() else None


def _array(column: Column, data: list[object], *, nulls: int) -> ReadTensor:
    try:
        values = _array_of(column.type, data, has_nulls=bool(nulls))
        if column.type != "number" or _is_finite(values, nulls):
            return ReadTensor(array=values, nulls=nulls)
    except OverflowError:  # a whole number that is too large
        pass
    for row, value in enumerate(data):  # finds the value at fault
        _value(column, value, row)
    raise TensorError(f"expected {_EXPECTED[column.type]} in every row")


def _is_finite(values: Values, nulls: int) -> bool:
    import numpy as np  # noqa: PLC0415 - only where rows are read

    return int(np.count_nonzero(np.isfinite(values))) == len(values) - nulls


def _array_of(kind: ColumnType, data: list[object], *, has_nulls: bool) -> Values:
    import numpy as np  # noqa: PLC0415 - only where rows are read

    if kind == "number":
        return np.array(data, dtype=np.float64)
    if kind == "integer":
        return _nullable_integers(data) if has_nulls else np.array(data, dtype=np.int64)
    return np.array(data, dtype=np.bool_ if kind == "boolean" and not has_nulls else object)


def _nullable_integers(data: list[object]) -> Values:
    """Whole numbers and nulls: as floats they would lose digits."""
    import numpy as np  # noqa: PLC0415 - as above
    import pandas as pd  # noqa: PLC0415 - as above

    missing = np.array([value is None for value in data])
    known = [0 if value is None else value for value in data]
    return pd.arrays.IntegerArray(np.array(known, dtype=np.int64), missing)


def describe_column(column: Column) -> str:
    """The column's datatype, type and unit, for a message."""
    unit = f" in {column.unit}" if column.unit else ""
    return f"{DATATYPES[column.type]} ({column.type}{unit})"


def describe_value(value: object) -> str:
    """A value of a request, short and printable, for a message."""
    if value is None:
        return "nothing"
    if isinstance(value, list | dict):
        return f"a list of {len(value)}" if isinstance(value, list) else "an object"
    text = ascii(value[: _SHOWN + 1] if isinstance(value, str) else value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _data(tensor: Mapping[str, object]) -> list[object] | Values:
    import numpy as np  # noqa: PLC0415 - as above

    data, shape = tensor.get("data"), tensor.get("shape")
    if not isinstance(data, list | np.ndarray):
        raise TensorError(f"expected a list as data, found {describe_value(data)}")
    if not isinstance(shape, list) or not all(type(size) is int for size in shape):
        raise TensorError(f"expected a shape [rows], found {_sizes(shape)}")
    if len(shape) not in {1, _COLUMN} or (len(shape) == _COLUMN and shape[1] != 1):
        raise TensorError(f"expected the shape [rows] or [rows, 1], found {_sizes(shape)}")
    if shape[0] != len(data) or not len(data):
        raise TensorError(
            f"expected at least 1 value and as many as rows, found {len(data)} for {_sizes(shape)}"
        )
    if len(data) > MAX_ROWS:
        raise TensorError(f"expected at most {MAX_ROWS} rows, found {len(data)}")
    if len(shape) == _COLUMN and isinstance(data, list):
        return [v[0] if isinstance(v, list) and len(v) == 1 else v for v in data]
    return data


def _sizes(shape: object) -> str:
    if isinstance(shape, list) and all(type(size) is int for size in shape[:_LISTED]):
        return describe_value(str(shape[:_LISTED]))
    return describe_value(shape)


def _value(column: Column, value: object, at: int) -> object:
    if value is None:
        if column.nullable:
            return None
        raise TensorError(f"expected a value in every row, found null in row {at}")
    try:
        return _READERS[column.type](value)
    except (ValueError, OverflowError):
        expected = _EXPECTED[column.type]
        raise TensorError(
            f"expected {expected}, found {describe_value(value)} in row {at}"
        ) from None


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError
    return float(value)


def _integer(value: object) -> int:
    # Not through a float, which has no whole number above 2**53 exactly.
    whole = value if type(value) is int else int(_number(value))
    if whole != value or not -_INT64 <= whole < _INT64:
        raise ValueError
    return whole


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError  # noqa: TRY004 - all readers raise the same error
    return value


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError  # noqa: TRY004 - as above
    return value


def _timestamp(value: object) -> str:
    text = _text(value)
    parse_time(text, UTC)
    return text


_READERS: dict[ColumnType, Callable[[object], object]] = {
    "number": _number,
    "integer": _integer,
    "category": _text,
    "boolean": _boolean,
    "timestamp": _timestamp,
}
_EXPECTED: dict[ColumnType, str] = {
    "number": "a finite number",
    "integer": "a whole number of 64 bits",
    "category": "text",
    "boolean": "true or false",
    "timestamp": "an ISO 8601 time",
}
