"""The files that an ONNX model keeps its weights in, read without a library of ONNX."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modelyard.errors import Refused

_MESSAGE = 2
"""Protobuf's wire type of text, bytes and messages."""

_DEEPEST = 32
"""Levels of graphs inside graphs beyond which a file is refused."""

# From onnx.proto: the fields of each message below which a tensor may be, and what they hold.
_TENSOR, _ENTRY = "TensorProto", "StringStringEntryProto"
_FIELDS: dict[str, dict[int, str]] = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "GraphProto": {1: "NodeProto", 5: _TENSOR, 15: "SparseTensorProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: _TENSOR,
        6: "GraphProto",
        10: _TENSOR,
        11: "GraphProto",
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: _TENSOR, 2: _TENSOR},
    _TENSOR: {13: _ENTRY},
}


def external_files(file: Path) -> set[str]:
    """The locations, as the model writes them, of weights outside its own file.

    Raises:
        Refused: The file is no ONNX model, or is nested deeper than any model.
    """
    from google.protobuf.message import DecodeError  # noqa: PLC0415 - only for a model of ONNX

    try:
        return set(_locations(file.read_bytes(), "ModelProto", 0))
    except (DecodeError, UnicodeDecodeError) as error:
        raise Refused(f"{file}: is no ONNX model: {error}") from error
    except RecursionError as error:
        raise Refused(f"{file}: is nested deeper than any ONNX model") from error


def _locations(content: bytes, kind: str, depth: int) -> Iterator[str]:
    if depth > _DEEPEST:
        raise RecursionError
    for number, value in _messages(content):
        inner = _FIELDS[kind].get(number)
        if inner == _ENTRY:
            entry = dict(_messages(value))
            if entry.get(1) == b"location":
                yield entry.get(2, b"").decode()
        elif inner is not None:
            yield from _locations(value, inner, depth + 1)


def _messages(content: bytes) -> Iterator[tuple[int, bytes]]:
    """The fields of a message that hold text, bytes or messages, by number."""
    from google.protobuf.empty_pb2 import Empty  # noqa: PLC0415 - as above
    from google.protobuf.unknown_fields import UnknownFieldSet  # noqa: PLC0415 - as above

    fields: Any = UnknownFieldSet(Empty.FromString(content))
    for field in fields:
        if field.wire_type == _MESSAGE:
            yield field.field_number, field.data
