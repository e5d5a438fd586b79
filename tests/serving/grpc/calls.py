"""Calls of the protocol by gRPC, written by kserve's own messages."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import grpc
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from modelyard.serving.http.binary import write_values
from serving.artifacts import MODEL

FIELDS = {"FP64": "fp64_contents", "INT64": "int64_contents", "BOOL": "bool_contents",
          "BYTES": "bytes_contents", "FP32": "fp32_contents", "INT32": "int_contents",
          "UINT32": "uint_contents", "UINT64": "uint64_contents"}  # fmt: skip


def infer_request(
    document: Mapping[str, Any], *, is_raw: bool = False, model: str = MODEL.name
) -> messages.ModelInferRequest:
    """The request of a document; an input of nulls alone is left out, and other nulls are NaN."""
    call = messages.ModelInferRequest(model_name=model, id=document.get("id") or "")
    for each in document["inputs"]:
        values = each["data"]
        if all(value is None for value in values):
            continue
        if each["datatype"] == "FP64":
            values = [math.nan if value is None else value for value in values]
        tensor = call.inputs.add(name=each["name"], datatype=each["datatype"], shape=each["shape"])
        if is_raw:
            call.raw_input_contents.append(write_values(each["datatype"], values))
        else:
            texts = each["datatype"] == "BYTES"
            values = [value.encode() for value in values] if texts else values
            getattr(tensor.contents, FIELDS[each["datatype"]]).extend(values)
    return call


@contextmanager
def connected(port: int, *options: tuple[str, int]) -> Iterator[grpc.Channel]:
    """A channel to a server on this machine, with a connection of its own."""
    own = ("grpc.use_local_subchannel_pool", 1)
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=[own, *options]) as channel:
        yield channel


def stub(channel: grpc.Channel) -> GRPCInferenceServiceStub:
    return GRPCInferenceServiceStub(channel)


def scores(response: messages.ModelInferResponse) -> list[float]:
    """The first output's values, wherever they are."""
    if response.raw_output_contents:
        import numpy as np

        found: list[float] = np.frombuffer(response.raw_output_contents[0], "<f8").tolist()
        return found
    return list(response.outputs[0].contents.fp64_contents)
