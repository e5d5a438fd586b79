"""The messages of gRPC: that they are the protocol's, whatever protobuf makes them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from google.protobuf import descriptor_pb2
from grpc_tools import protoc
from kserve.protocol.grpc import grpc_predict_v2_pb2 as theirs
from kserve.protocol.infer_type import InferResponse

from modelyard.adapters.runtimes.run_uv import run_uv
from modelyard.serving.grpc.messages import DESCRIPTOR, SERVICE, message_class
from modelyard.serving.grpc.tensors import write_response

PACKAGE = Path(__file__).parents[3] / "scripts"
READ_AND_WRITE = """
import sys
sys.path[:0] = sys.argv[1:3]
import google.protobuf
from modelyard.serving.grpc.messages import message_class

request = message_class("ModelInferRequest")(model_name="late", raw_input_contents=[b"x"])
tensor = request.inputs.add(name="temp", datatype="FP64", shape=[1, 2**40])
tensor.contents.fp64_contents.extend([1.5, float("nan")])
read = message_class("ModelInferRequest").FromString(request.SerializeToString())
assert [field.name for field, _ in read.inputs[0].contents.ListFields()] == ["fp64_contents"]
assert read.inputs[0].HasField("contents") and list(read.inputs[0].shape) == [1, 2**40]
print(google.protobuf.__version__)
"""


def parsed(content: bytes) -> descriptor_pb2.FileDescriptorProto:
    (file,) = descriptor_pb2.FileDescriptorSet.FromString(content).file
    return file


def test_the_descriptor_is_what_protoc_makes_of_the_proto_beside_it(tmp_path: Path):
    made, folder = tmp_path / DESCRIPTOR.name, DESCRIPTOR.parent
    words = ["protoc", f"-I{folder}", f"--descriptor_set_out={made}", "open_inference.proto"]

    assert protoc.main(words) == 0
    assert parsed(DESCRIPTOR.read_bytes()) == parsed(made.read_bytes()), (
        f"write it again: python -m grpc_tools.{' '.join(words[:2])}"
        f" --descriptor_set_out={DESCRIPTOR} {words[3]}"
    )


def test_messages_and_calls_are_those_of_kserves_client():
    def fields(message: descriptor_pb2.DescriptorProto) -> dict[str, object]:
        own = {f.name: (f.number, f.type, f.label, f.type_name) for f in message.field}
        nested = {each.name: fields(each) for each in message.nested_type}
        return {**own, **nested}

    ours, kserves = parsed(DESCRIPTOR.read_bytes()), descriptor_pb2.FileDescriptorProto()
    theirs.DESCRIPTOR.CopyToProto(kserves)
    known = {message.name: fields(message) for message in kserves.message_type}
    (service,), (their_service,) = ours.service, kserves.service

    assert f"{ours.package}.{service.name}" == SERVICE
    calls = {(each.name, each.input_type, each.output_type) for each in their_service.method}
    assert {(each.name, each.input_type, each.output_type) for each in service.method} <= calls
    for message in ours.message_type:
        found = fields(message)
        if message.name == "InferParameter":  # the protocol has added two since
            found = {name: found[name] for name in known[message.name]}
        assert found == known[message.name]


def test_they_stand_beside_another_librarys_messages_of_the_same_names():
    ours = message_class("ModelReadyRequest")(name="late", version="v1")

    assert type(ours) is not theirs.ModelReadyRequest
    assert theirs.ModelReadyRequest.FromString(ours.SerializeToString()).name == "late"


@pytest.mark.frameworks
@pytest.mark.parametrize("version", ["4.25", "5.29", "6.30", "7.35"])
def test_other_versions_of_protobuf_make_the_same_messages(version: str, tmp_path: Path):
    words = ("pip", "install", "--target", str(tmp_path / "libraries"), f"protobuf=={version}.*")
    run_uv(words, log=tmp_path / "log", environment=os.environ)

    done = subprocess.run(
        [sys.executable, "-c", READ_AND_WRITE, str(tmp_path / "libraries"), str(PACKAGE)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout[: len(version)]) == (0, version), done.stderr


@pytest.mark.parametrize("is_raw", [False, True], ids=["contents", "raw"])
def test_an_answer_of_classes_has_their_scores_and_their_names(*, is_raw: bool):
    outputs = [
        {"name": "kind", "datatype": "FP64", "shape": [2, 2], "data": [0.25, 0.75, 1.0, 0.0]},
        {"name": "kind_class", "datatype": "BYTES", "shape": [2], "data": ["späť", ""]},
    ]
    document = {"model_name": "late", "model_version": "v1", "outputs": outputs}
    request = SimpleNamespace(identifier="one")

    written = write_response(document, cast("Any", request), is_raw=is_raw)

    answer = InferResponse.from_grpc(theirs.ModelInferResponse.FromString(written))
    assert [output.shape for output in answer.outputs] == [[2, 2], [2]]
    assert answer.outputs[0].as_numpy().tolist() == [[0.25, 0.75], [1.0, 0.0]]
    names = answer.outputs[1].as_numpy().tolist()
    assert [each.decode() if isinstance(each, bytes) else each for each in names] == ["späť", ""]
