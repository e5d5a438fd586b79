"""Clients that do not do their part, and messages that no good client sends."""

from __future__ import annotations

import asyncio
import math
import socket
import time
from collections import Counter
from types import SimpleNamespace
from typing import Any, cast

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.serving.grpc import reading
from modelyard.serving.grpc.reading import MOST_SLOW, AnotherModelError, MessageReader
from modelyard.serving.http.bodies import RequestError
from modelyard.serving.inputs import InferenceRequest
from serving.artifacts import MODEL
from serving.grpc.calls import FIELDS, connected, infer_request, messages, scores, stub
from serving.grpc.conftest import Served
from serving.grpc.frames import DATA, END_STREAM, connect, frame, headers, message, read_frames
from serving.running import request, until

SERVING = SimpleNamespace(inputs=MODEL.inputs, output=MODEL.primary)


def reader() -> MessageReader:
    return MessageReader(cast("Any", SERVING), MODEL.name, "v1")


def read(content: bytes) -> str:
    """How a message is taken: as a request, or as one that its client can correct."""
    try:
        parsed, _ = reader()._parse_inference(content)
    except RequestError as error:
        return "refused" if error.status == 400 and str(error).isprintable() else repr(error)
    except AnotherModelError:
        return "another model"
    assert isinstance(parsed, InferenceRequest)
    return "read"


NUMBERS = st.one_of(st.sampled_from([0, 1, -1, 2**31 - 1]), st.integers(-(2**31), 2**31 - 1))
VALUES = {
    "bool_contents": st.booleans(),
    "int_contents": NUMBERS,
    "int64_contents": st.integers(-(2**63), 2**63 - 1),
    "uint_contents": st.integers(0, 2**32 - 1),
    "uint64_contents": st.integers(0, 2**64 - 1),
    "fp32_contents": st.floats(width=32),
    "fp64_contents": st.floats(),
    "bytes_contents": st.one_of(st.binary(max_size=5), st.sampled_from([b"AA", b"B6"])),
}
NAMES = st.sampled_from([*(column.name for column in MODEL.inputs), "Minute", "", "x"])
KINDS = st.sampled_from([*FIELDS, "FP16", "BF16", "", "INT8", "fp64"])


@st.composite
def tensors(draw: st.DrawFn) -> messages.ModelInferRequest.InferInputTensor:
    rows = draw(st.integers(0, 3))
    contents = messages.InferTensorContents()
    for field in draw(st.lists(st.sampled_from([*VALUES]), max_size=2)):
        getattr(contents, field).extend(draw(st.lists(VALUES[field], max_size=3)))
    shape = draw(st.one_of(st.just([rows]), st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3)))
    tensor = messages.ModelInferRequest.InferInputTensor(
        name=draw(NAMES), datatype=draw(KINDS), shape=shape
    )
    if draw(st.booleans()):
        tensor.contents.CopyFrom(contents)
    return tensor


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    call = infer_request(request(draw(st.integers(1, 3))), is_raw=draw(st.booleans()))
    call.model_version = draw(st.sampled_from(["", "v1"]))
    call.id = draw(st.text(max_size=600))
    for tensor in draw(st.lists(tensors(), max_size=2)):
        place = draw(st.integers(0, len(call.inputs)))
        if draw(st.booleans()) and place < len(call.inputs):
            call.inputs[place].CopyFrom(tensor)
        else:
            call.inputs.append(tensor)
    raw = st.lists(st.tuples(st.integers(0, 6), st.binary(max_size=20)), max_size=3)
    for place, content in draw(raw):
        if place < len(call.raw_input_contents):
            call.raw_input_contents[place] = content
        elif draw(st.booleans()):
            call.raw_input_contents.append(content)
    if draw(st.booleans()):
        call.outputs.add(name=draw(st.sampled_from(["probability", "", "other"])))
    return bytes(call.SerializeToString())


@settings(deadline=None, max_examples=300)
@given(requests())
def test_whatever_a_request_contains_is_the_clients_to_correct(content: bytes):
    assert read(content) in {"read", "refused"}


@settings(deadline=None, max_examples=300)
@given(requests(), st.data())
def test_so_is_whatever_bytes_are_no_request(content: bytes, data: st.DataObject):
    spoiled = bytearray(content)
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=8)):
        spoiled[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(spoiled)))

    outcomes = {read(bytes(spoiled)), read(bytes(spoiled[:cut]))}
    assert outcomes <= {"read", "refused", "another model"}


def test_good_requests_are_read():
    assert read(infer_request(request(3)).SerializeToString()) == "read"
    assert read(infer_request(request(10_000)).SerializeToString()) == "read"
    assert read(infer_request(request(10_000), is_raw=True).SerializeToString()) == "read"
    unpacked = infer_request(request(3))
    while len(unpacked.SerializeToString()) < 2**17:  # others' inputs, of a full request
        unpacked.inputs.add(name=f"other-{len(unpacked.inputs)}", datatype="FP64", shape=[3])
        unpacked.inputs[-1].contents.fp64_contents.extend([1.0] * 1000)
    assert read(unpacked.SerializeToString()) == "read"


SIZE = 16 * 2**20
NAME = messages.ModelInferRequest(model_name=MODEL.name).SerializeToString()


def field(number: int, content: bytes) -> bytes:
    size, varint = len(content), b""
    while size > 127:
        varint, size = varint + bytes([size & 127 | 128]), size >> 7
    return bytes([number << 3 | 2]) + varint + bytes([size]) + content


@pytest.mark.parametrize(
    "content",
    [
        field(5, b"") * (SIZE // 2),
        field(6, b"") * (SIZE // 2),
        field(7, b"") * (SIZE // 2),
        field(4, b"\x0a\x01x") * (SIZE // 5),
        field(5, field(5, b"")) * (SIZE // 4),
        field(5, field(3, b"\1" * SIZE)),
        field(5, b"\x18\1" * (SIZE // 2)),
        field(5, field(4, b"\x0a\x01x") * (SIZE // 5)),
        *(field(5, field(5, field(number, b"\1" * SIZE))) for number in range(1, 8)),
        field(5, field(5, field(8, b"") * (SIZE // 2))),
        *(field(5, field(5, bytes([number << 3, 1]) * (SIZE // 2))) for number in range(1, 6)),
        b"\x03" * SIZE,
        b"\x04" * SIZE,
        b"\xff" * SIZE,
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" + bytes(SIZE),
        field(99 & 15, b"") * (SIZE // 2),
    ],
    ids=range(26),
)
def test_a_message_of_many_small_parts_is_refused_before_it_is_parsed(content: bytes):
    started = time.process_time()

    assert read(NAME + content) == "refused"
    assert time.process_time() - started < 1


def test_many_empty_tensors_cost_nothing(served: Served):
    """A gigabyte of memory of protobuf's own, which Python does not see, if they were parsed."""
    import psutil

    process = psutil.Process(served.http.process.pid)
    before = process.memory_info().rss
    with connected(served.port) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.RpcError, match="at most"):
            call(NAME + field(5, b"") * (SIZE // 2 - 100))
    assert process.memory_info().rss - before < 150 * 2**20


class Call:
    """A call whose message comes after a while, or never."""

    def __init__(self, seconds: float = math.inf, content: object = b"") -> None:
        self._seconds, self._content = seconds, content

    async def read(self) -> object:
        await asyncio.sleep(min(self._seconds, 3600))
        return self._content


def receive(*calls: Call) -> list[object]:
    """What each call gets, the status of a refusal included, when they come at once."""

    async def run() -> list[object]:
        one = reader()
        asked = (one._receive(cast("Any", call)) for call in calls)
        return list(await asyncio.gather(*asked, return_exceptions=True))

    found = asyncio.run(run())
    return [each.status if isinstance(each, RequestError) else each for each in found]


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PROMPT_SECONDS", 0.02)
    monkeypatch.setattr(reading, "_TURN_SECONDS", 0.02)
    monkeypatch.setattr(reading, "BODY_SECONDS", 0.3)


@pytest.mark.usefixtures("fast")
def test_a_message_that_does_not_come_ends_its_call():
    assert receive(Call(), Call(0.1, b"late"), Call(0, b"soon")) == [408, b"late", b"soon"]


@pytest.mark.usefixtures("fast")
def test_only_so_many_messages_may_take_long():
    calls = [Call() for _ in range(MOST_SLOW + 3)]

    found = receive(*calls, Call(0, b"soon"))

    assert sorted(map(str, found)) == ["408"] * MOST_SLOW + ["429"] * 3 + ["b'soon'"]


@pytest.mark.usefixtures("fast")
def test_only_so_many_messages_are_waited_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reading, "MOST_READING", 2)

    assert receive(*(Call(0.01, b"x") for _ in range(3))) == [b"x", b"x", 429]


def test_a_call_that_ends_before_its_message_is_its_clients():
    assert receive(Call(0, object())) == [499]


def test_a_client_that_sends_half_keeps_nobody_waiting(served: Served):
    halves = [connect(served.port) for _ in range(3 * MOST_SLOW)]
    for each in halves:
        each.sendall(headers(1) + frame(DATA, 0, 1, message(b"abc", announced=SIZE)))

    with connected(served.port) as channel:
        assert len(scores(stub(channel).ModelInfer(infer_request(request(3))))) == 3
    answers = [read_frames(each, 0.2 if at else 2.5) for at, each in enumerate(halves)]
    for each in halves:
        each.close()

    why = b"8 requests of slow clients are being read"
    refused = [any(why in content for _, _, content in frames) for frames in answers]
    assert Counter(refused) == {False: MOST_SLOW, True: 2 * MOST_SLOW}


def test_a_path_that_is_no_text_stops_the_server_for_a_moment_at_most(served: Served):
    with connect(served.port) as client:
        client.sendall(headers(1, b"/\xff/x") + frame(DATA, END_STREAM, 1, message(b"")))
        read_frames(client, 1)

    def is_answered() -> bool:
        with connected(served.port) as channel:
            try:
                answer = stub(channel).ModelInfer(infer_request(request(3)), timeout=5)
            except grpc.RpcError:
                return False
            return len(scores(answer)) == 3

    until(is_answered)
    assert is_answered()


def test_http_on_the_port_of_grpc_is_ended(served: Served):
    with socket.create_connection(("127.0.0.1", served.port)) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        client.settimeout(5)
        while client.recv(4096):
            pass
