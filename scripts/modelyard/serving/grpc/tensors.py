"""Tensors of the protocol's messages, to and from the documents that HTTP has as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.errors import Refused
from modelyard.serving.grpc.messages import message_class
from modelyard.serving.http.binary import read_values, write_values
from modelyard.serving.tensor import MAX_ROWS, Values, describe_value

if TYPE_CHECKING:
    from modelyard.serving.inputs import InferenceRequest

FIELDS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""The field of a tensor's contents for each datatype."""

_FLOATS = frozenset({"FP32", "FP64"})


def document_of(request: Any) -> dict[str, object]:
    """A ModelInferRequest as the document that HTTP has as JSON, which the contract reads.

    NaN stands for null, as in binary tensors: the protocol has no word for a missing value.

    Raises:
        Refused: The values of an input are in no field or in a wrong one, or their bytes do not
            fit.
    """
    raw, inputs = request.raw_input_contents, request.inputs
    if raw and len(raw) != len(inputs):
        raise Refused(
            f"raw_input_contents: expected one for each of {len(inputs)} inputs, found {len(raw)}"
        )
    contents = [_raw(each, raw[at]) for at, each in enumerate(inputs)] if raw else None
    return {
        "id": request.id or None,
        "inputs": [
            {
                "name": each.name,
                "datatype": each.datatype,
                "shape": list(each.shape),
                "data": contents[at] if contents is not None else _typed(each),
            }
            for at, each in enumerate(inputs)
        ],
        "outputs": [{"name": each.name} for each in request.outputs] or None,
    }


def write_response(
    document: Mapping[str, Any], request: InferenceRequest, *, is_raw: bool
) -> bytes:
    """The ModelInferResponse of an answer that is a document.

    Args:
        document: The answer as HTTP has it.
        request: What is answered.
        is_raw: Whether the values go into `raw_output_contents`.
    """
    response = message_class("ModelInferResponse")(
        model_name=document["model_name"],
        model_version=document["model_version"],
        id=request.identifier or "",
    )
    for output in document["outputs"]:
        kind, values = output["datatype"], output["data"]
        tensor = response.outputs.add(name=output["name"], datatype=kind, shape=output["shape"])
        if is_raw:
            response.raw_output_contents.append(write_values(kind, values))
        else:
            is_text = kind == "BYTES"
            values = [text.encode() for text in values] if is_text else values
            getattr(tensor.contents, FIELDS[kind]).extend(values)
    found: bytes = response.SerializeToString()
    return found


def _raw(tensor: Any, content: bytes) -> Values | list[object]:
    if tensor.HasField("contents"):
        raise Refused(
            f"input {describe_value(tensor.name)}: expected its values in raw_input_contents alone,"
            " found contents, too"
        )
    return read_values(describe_value(tensor.name), tensor.datatype, content)


def _typed(tensor: Any) -> Values | list[object]:
    """The values in the field of the tensor's datatype."""
    name, datatype = describe_value(tensor.name), tensor.datatype
    wanted = FIELDS.get(datatype)
    if wanted is None:
        raise Refused(
            f"input {name}: expected a datatype with contents, found {describe_value(datatype)}"
        )
    for field, _ in tensor.contents.ListFields():
        if field.name != wanted:
            raise Refused(f"input {name}: expected {datatype} in {wanted}, found {field.name}")
    values = getattr(tensor.contents, wanted)
    if len(values) > MAX_ROWS:
        raise Refused(f"input {name}: expected {MAX_ROWS} values at most")
    if datatype == "BYTES":
        return _texts(name, values)
    if datatype in _FLOATS:
        return np.array(values, dtype=np.float64)
    return list(values)


def _texts(name: str, values: Sequence[bytes]) -> list[object]:
    try:
        return [value.decode() for value in values]
    except UnicodeDecodeError as error:
        raise Refused(f"input {name}: expected UTF-8, found {error.reason}") from error
