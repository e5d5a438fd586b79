"""Reads a tensor of a request as the values of a column of the contract."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC

from modelyard.domain.specs.contract import Column, ColumnType
from modelyard.domain.specs.times import parse_time

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
_INT64 = 2**63
_SHOWN = 40
_LISTED = 4
_COLUMN = 2  # dimensions of a shape [rows, 1]


class TensorError(ValueError):
    """A tensor does not fit its column; the message names what was expected and found."""


def read_tensor(column: Column, tensor: Mapping[str, object]) -> list[object]:
    """The column's values, None where they are null.

    Args:
        column: The column of the contract.
        tensor: `datatype`, `shape` ([rows] or [rows, 1]) and `data` (flat, or one list per row).

    Raises:
        TensorError: The datatype, the shape or a value does not fit the column.
    """
    values = _data(tensor)
    datatype = tensor.get("datatype")
    is_null = all(value is None for value in values)  # a client cannot know the datatype then
    if not isinstance(datatype, str) or not (is_null or datatype in _ACCEPTED[column.type]):
        raise TensorError(f"expected {describe_column(column)}, found {describe_value(datatype)}")
    return [_value(column, value, row) for row, value in enumerate(values)]


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


def _data(tensor: Mapping[str, object]) -> list[object]:
    data, shape = tensor.get("data"), tensor.get("shape")
    if not isinstance(data, list):
        raise TensorError(f"expected a list as data, found {describe_value(data)}")
    if not isinstance(shape, list) or not all(type(size) is int for size in shape):
        raise TensorError(f"expected a shape [rows], found {_sizes(shape)}")
    if len(shape) not in {1, _COLUMN} or (len(shape) == _COLUMN and shape[1] != 1):
        raise TensorError(f"expected the shape [rows] or [rows, 1], found {_sizes(shape)}")
    if shape[0] != len(data) or not data:
        raise TensorError(
            f"expected at least 1 value and as many as rows, found {len(data)} for {_sizes(shape)}"
        )
    if len(data) > MAX_ROWS:
        raise TensorError(f"expected at most {MAX_ROWS} rows, found {len(data)}")
    if len(shape) == _COLUMN:
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
