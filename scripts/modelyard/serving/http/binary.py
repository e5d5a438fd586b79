"""Reads and writes binary tensors: kserve's client sends them behind the JSON part of a body."""

from __future__ import annotations

from typing import Any

from modelyard.errors import Refused
from modelyard.serving.tensor import MAX_ROWS, Values, describe_value

LENGTH_HEADER = "inference-header-content-length"
"""With it the JSON part of a body ends after so many bytes, and binary tensors follow."""

_SIZE = "binary_data_size"
_DTYPES = {
    "BOOL": "?",
    **{f"{sign}INT{8 * size}": f"<{sign[:1].lower() or 'i'}{size}"
       for sign in ("", "U") for size in (1, 2, 4, 8)},
    **{f"FP{8 * size}": f"<f{size}" for size in (2, 4, 8)},
}  # fmt: skip
_LENGTH_BYTES = 4


def put_tensors_inline(document: object, binary: bytes) -> None:
    """Give each binary tensor of a request its values as `data`, in place.

    NaN stands for null: binary numbers have no other word for a missing value.

    Raises:
        Refused: The sizes, or the bytes of a tensor, do not fit.
    """
    inputs = document.get("inputs") if isinstance(document, dict) else None
    at = 0
    for tensor in inputs if isinstance(inputs, list) else ():
        size = _binary_size(tensor)
        if size is None:
            continue
        name = describe_value(tensor.get("name"))
        if size > len(binary) - at:
            raise Refused(f"input {name}: expected {size} binary bytes, found {len(binary) - at}")
        tensor["data"] = read_values(name, tensor.get("datatype"), binary[at : at + size])
        at += size
    if at != len(binary):
        raise Refused(f"request: expected {at} binary bytes, found {len(binary)}")


def _binary_size(tensor: Any) -> int | None:
    parameters = tensor.get("parameters") if isinstance(tensor, dict) else None
    size = parameters.get(_SIZE) if isinstance(parameters, dict) else None
    if size is not None and (type(size) is not int or size < 0):
        raise Refused(f"{_SIZE}: expected a number of bytes, found {describe_value(size)}")
    return size


def read_values(name: str, datatype: object, content: bytes) -> Values | list[object]:
    """The values of one tensor: an array of numbers, or a list of texts.

    Args:
        name: What to call it in a message.
        datatype: Its datatype.
        content: Numbers little-endian, or texts behind their lengths in four bytes.

    Raises:
        Refused: There is no such datatype, or the bytes do not fit.
    """
    import numpy as np  # noqa: PLC0415 - only for requests with binary tensors

    if datatype == "BYTES":
        return _texts(name, content)
    dtype = np.dtype(_DTYPES.get(str(datatype), "V"))
    if dtype.itemsize == 0:
        raise Refused(f"input {name}: expected a datatype, found {describe_value(datatype)}")
    if len(content) % dtype.itemsize:
        raise Refused(
            f"input {name}: expected {dtype.itemsize} bytes a value, found {len(content)} bytes"
        )
    if len(content) // dtype.itemsize > MAX_ROWS:
        raise Refused(f"input {name}: expected {MAX_ROWS} values at most")
    return np.frombuffer(content, dtype)


def write_values(datatype: str, values: list[object]) -> bytes:
    """The bytes of one tensor, as `read_values` reads them."""
    import numpy as np  # noqa: PLC0415 - as above

    if datatype != "BYTES":
        return np.array(values, np.dtype(_DTYPES[datatype])).tobytes()
    texts = [str(value).encode() for value in values]
    return b"".join(len(text).to_bytes(_LENGTH_BYTES, "little") + text for text in texts)


def _texts(name: str, content: bytes) -> list[object]:
    """Texts, each behind its length."""
    found: list[object] = []
    at = 0
    while at < len(content):
        start = at + _LENGTH_BYTES
        at = start + int.from_bytes(content[at:start], "little")
        if start > len(content) or at > len(content):
            raise Refused(f"input {name}: expected texts behind their lengths, found a part of one")
        try:
            found.append(content[start:at].decode())
            if len(found) > MAX_ROWS:
                raise Refused(f"input {name}: expected {MAX_ROWS} values at most")
        except UnicodeDecodeError as error:
            raise Refused(f"input {name}: expected UTF-8, found {error.reason}") from error
    return found
