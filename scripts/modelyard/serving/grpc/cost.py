"""Refuses messages that would cost far more to parse than any good request."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from modelyard.errors import Refused
from modelyard.serving.inputs import MOST_INPUTS
from modelyard.serving.tensor import MAX_ROWS

SMALL_BYTES = 2**16
"""Messages up to this size need no limits."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
_MOST_VARINT_BYTES = 10
_MORE = 0x80

_INPUTS, _CONTENTS, _SHAPE, _TEXTS = 5, 5, 3, 8  # numbers of fields in the `.proto`

_FIELDS = 6 * MOST_INPUTS + 1000
"""Of a request that hold no values: five of each input and its raw values, and parameters."""

_SHAPE_BYTES = 1000

_NUMBERS_BYTES = _MOST_VARINT_BYTES * MAX_ROWS
"""Of the numbers of a tensor, which are one field; each text is one."""


@dataclass(kw_only=True)
class _Left:
    """How many fields with values, and others, may follow."""

    values: int
    others: int = _FIELDS


def refuse_costly(message: bytes, inputs: int) -> None:
    """Raise for a request with more fields than any good one for so many inputs.

    Two bytes are a tensor without a name, which takes some hundred bytes of memory: 16 MiB of them
    would take more than a gigabyte.

    Args:
        message: A ModelInferRequest as it came.
        inputs: Values are limited to the rows of so many inputs.

    Raises:
        Refused: There are too many fields, or it is no message of protobuf.
    """
    if len(message) <= SMALL_BYTES:
        return
    left = _Left(values=MAX_ROWS * inputs)
    for number, kind, start, end in _fields(message, 0, len(message)):
        _take_other(left)
        if number == _INPUTS and kind == _BYTES:
            _refuse_costly_tensor(message, start, end, left)


def _refuse_costly_tensor(message: bytes, at: int, until: int, left: _Left) -> None:
    for number, kind, start, end in _fields(message, at, until):
        _take_other(left)
        if number == _SHAPE and end - start > _SHAPE_BYTES:
            raise Refused("request: expected the shape [rows] or [rows, 1], found a longer one")
        if number == _CONTENTS and kind == _BYTES:
            _refuse_costly_contents(message, start, end, left)


def _refuse_costly_contents(message: bytes, at: int, until: int, left: _Left) -> None:
    most = values = left.values
    for number, kind, start, end in _fields(message, at, until):
        values -= 1
        if values < 0:
            raise Refused(f"request: expected at most {most} values, found more")
        if kind == _BYTES and number != _TEXTS and end - start > _NUMBERS_BYTES:
            raise Refused(f"request: expected at most {MAX_ROWS} rows, found more values")
    left.values = values


def _take_other(left: _Left) -> None:
    left.others -= 1
    if left.others < 0:
        raise Refused(f"request: expected at most {_FIELDS} inputs and parameters, found more")


def _fields(message: bytes, at: int, until: int) -> Iterator[tuple[int, int, int, int]]:
    """Number, wire type, begin and end of each field of a message that is a part of another one.

    Tuples, and no call for numbers of one byte: a full request of texts has 200,000 fields.
    """
    try:
        while at < until:
            tag = message[at]
            if tag < _MORE:
                at += 1
            else:
                tag, at = _varint(message, at)
            kind = tag & 7
            start = at
            if kind == _BYTES:
                size = message[at]
                if size < _MORE:
                    start += 1
                else:
                    size, start = _varint(message, at)
                at = start + size
            elif kind == _VARINT:
                _, at = _varint(message, at)
            elif kind in {_FIXED64, _FIXED32}:
                at += 8 if kind == _FIXED64 else 4
            else:  # a group, which the protocol has none of
                raise Refused(f"request: expected a message of protobuf, found wire type {kind}")
            if at > until:
                raise _no_message()
            yield tag >> 3, kind, start, at
    except IndexError:
        raise _no_message() from None


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """A number in one to ten bytes, and where what follows it begins."""
    value = 0
    for place in range(_MOST_VARINT_BYTES):
        byte = message[at + place]
        value |= (byte & ~_MORE) << 7 * place
        if byte < _MORE:
            return value, at + place + 1
    raise _no_message()


def _no_message() -> Refused:
    return Refused("request: expected a message of protobuf, found a part of one")
