"""A server of both protocols: the same scores, counters and log by either of them."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pyarrow.parquet as pq
import pytest
from kserve import InferenceGRPCClient
from kserve.protocol.infer_type import InferInput, InferRequest

from modelyard.render.pod import PRE_STOP_SECONDS
from modelyard.serving.grpc.listener import AGE_SECONDS
from modelyard.serving.http.bodies import MAX_BYTES
from serving.artifacts import MODEL
from serving.grpc.calls import connected, infer_request, messages, scores, stub
from serving.grpc.conftest import Served, serving_grpc
from serving.running import request, serve_to_the_end, until
from serving.test_server import counts

INFER = "/inference.GRPCInferenceService/ModelInfer"


def failure(call: Callable[[], object]) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as raised:
        call()
    return raised.value


def refusal(served: Served, change: Callable[[messages.ModelInferRequest], object]) -> str:
    """What a request is refused with; it is a good one but for one change."""
    call = infer_request(request(3))
    change(call)
    error = failure(lambda: stub(served.channel).ModelInfer(call))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    return str(error.details())


@pytest.mark.parametrize("is_raw", [False, True], ids=["contents", "raw"])
def test_scores_are_those_of_http_to_the_bit(served: Served, *, is_raw: bool):
    document = {**request(50), "id": "mine"}

    answer, call = stub(served.channel).ModelInfer.with_call(infer_request(document, is_raw=is_raw))

    (expected,) = served.http.infer(document).json()["outputs"]
    assert scores(answer) == expected["data"]
    assert bool(answer.raw_output_contents) is is_raw
    assert (answer.model_name, answer.model_version, answer.id) == (MODEL.name, "v1", "mine")
    (output,) = answer.outputs
    assert (output.name, output.datatype, list(output.shape)) == ("probability", "FP64", [50])
    assert dict(call.trailing_metadata()) == {"x-modelyard-release": "r1"}


def test_a_request_without_an_id_is_told_the_one_it_is_logged_under(served: Served):
    answer, call = stub(served.channel).ModelInfer.with_call(infer_request(request(1)))

    assert len(answer.id) == 32
    assert dict(call.trailing_metadata())["x-modelyard-request"] == answer.id


def test_kserves_own_client_is_answered(served: Served):
    document = request(4)

    async def ask() -> tuple[bool, bool, bool, Any]:
        client = InferenceGRPCClient(url=f"127.0.0.1:{served.port}")
        inputs = []
        for each in document["inputs"]:
            if each["data"] != [None] * 4:
                values = [math.nan if value is None else value for value in each["data"]]
                tensor = InferInput(each["name"], each["shape"], each["datatype"], values)
                inputs.append(tensor)
        wanted = InferRequest(model_name=MODEL.name, infer_inputs=inputs)
        try:
            return (
                await client.is_server_live(),
                await client.is_server_ready(),
                await client.is_model_ready(MODEL.name),
                await client.infer(wanted),
            )
        finally:
            await client.close()

    live, ready, model_ready, answer = asyncio.run(ask())

    assert (live, ready, model_ready) == (True, True, True)
    assert answer.outputs[0].data == served.http.infer(document).json()["outputs"][0]["data"]


def test_metadata_is_that_of_http(served: Served):
    calls = stub(served.channel)
    expected = served.http.client.get(f"/v2/models/{MODEL.name}").json()

    found = calls.ModelMetadata(messages.ModelMetadataRequest(name=MODEL.name, version="v1"))
    server = calls.ServerMetadata(messages.ServerMetadataRequest())

    def tensors(kind: Any) -> list[dict[str, object]]:
        return [
            {"name": each.name, "datatype": each.datatype, "shape": list(each.shape)}
            for each in kind
        ]

    assert (found.name, list(found.versions), found.platform) == (MODEL.name, ["v1"], "mlflow")
    assert (tensors(found.inputs), tensors(found.outputs)) == (
        expected["inputs"],
        expected["outputs"],
    )
    assert server.name == "modelyard"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("ModelInfer", messages.ModelInferRequest(model_name="early")),
        ("ModelInfer", messages.ModelInferRequest(model_name=MODEL.name, model_version="v2")),
        ("ModelInfer", messages.ModelInferRequest()),
        ("ModelReady", messages.ModelReadyRequest(name="early")),
        ("ModelReady", messages.ModelReadyRequest(name=MODEL.name, version="v2")),
        ("ModelMetadata", messages.ModelMetadataRequest(name="early")),
    ],
)
def test_another_model_or_version_is_not_found_and_not_counted(
    served: Served, call: str, message: Any
):
    before = counts(served.http)

    error = failure(lambda: getattr(stub(served.channel), call)(message))

    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert "expected the" in error.details()
    assert counts(served.http) == before


def test_requests_are_counted_and_logged_as_over_http(tmp_path: Path):
    document = {**request(30), "id": "one"}
    bad = {**request(2, carrier=None), "id": "two"}
    found = []
    for name in ("http", "grpc"):
        with serving_grpc(tmp_path / name) as served:
            if name == "http":
                statuses = [served.http.infer(each).status_code for each in (document, bad)]
                assert statuses == [200, 400]
            else:
                infer = stub(served.channel).ModelInfer
                infer(infer_request(document))
                error = failure(partial(infer, infer_request(bad)))
                assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
            counted = {
                key: value for key, value in counts(served.http).items()
                if "seconds" not in str(key)
            }  # fmt: skip
            os.kill(served.http.process.pid, signal.SIGTERM)
            until(lambda served=served: list(served.http.payloads.glob("*.parquet")))
        table = pq.read_table(served.http.payloads).drop_columns(["at"])
        rows = [
            {name: value for name, value in row.items() if name != "error"}
            for row in table.to_pylist()
        ]
        found.append((counted, sorted(rows, key=str)))

    assert found[0] == found[1]


def test_nan_is_a_missing_value_where_the_column_may_have_one(served: Served):
    document = request(2, temp=None)
    call = infer_request(document)  # leaves temp out
    expected = scores(stub(served.channel).ModelInfer(call))

    values = call.inputs.add(name="temp", datatype="FP32", shape=[2])
    values.contents.fp32_contents.extend([math.nan, math.nan])
    assert scores(stub(served.channel).ModelInfer(call)) == expected

    def spoil(call: messages.ModelInferRequest) -> None:
        tensor = tensor_of(call)
        tensor.datatype = "FP64"
        tensor.contents.fp64_contents.extend([1, math.nan, 3])
        tensor.contents.ClearField("int64_contents")

    assert refusal(served, spoil) == (
        "input minute: expected a value in every row, found null in row 1"
    )


def tensor_of(call: messages.ModelInferRequest, name: str = "minute") -> Any:
    return next(each for each in call.inputs if each.name == name)


def test_what_is_wrong_with_a_tensor_is_said(served: Served):
    def both_fields(call: messages.ModelInferRequest) -> None:
        tensor_of(call).contents.int_contents.extend([1, 2, 3])

    def raw_too(call: messages.ModelInferRequest) -> None:
        call.raw_input_contents.extend([b""] * len(call.inputs))

    def no_utf8(call: messages.ModelInferRequest) -> None:
        tensor_of(call, "carrier").contents.bytes_contents[0] = b"\xff"

    def shaped(*shape: int) -> Callable[[messages.ModelInferRequest], None]:
        def change(call: messages.ModelInferRequest) -> None:
            tensor_of(call).shape[:] = shape

        return change

    def typed(datatype: str) -> Callable[[messages.ModelInferRequest], None]:
        def change(call: messages.ModelInferRequest) -> None:
            tensor_of(call).datatype = datatype

        return change

    found = {
        refusal(served, change)
        for change in (
            *(both_fields, raw_too, no_utf8, shaped(10**18), shaped(-1), shaped(), shaped(3, 2)),
            *(typed("FP64"), typed("FP16"), typed("UINT8"), typed("")),
        )
    }

    assert found == {
        "input 'minute': expected INT64 in int64_contents, found int_contents",
        "input 'carrier': expected its values in raw_input_contents alone, found contents, too",
        "input 'carrier': expected UTF-8, found invalid start byte",
        "input minute: expected at least 1 value and as many as rows, found 3 for"
        " '[1000000000000000000]'",
        "input minute: expected at least 1 value and as many as rows, found 3 for '[-1]'",
        "input minute: expected the shape [rows] or [rows, 1], found '[]'",
        "input minute: expected the shape [rows] or [rows, 1], found '[3, 2]'",
        "input 'minute': expected FP64 in fp64_contents, found int64_contents",
        "input 'minute': expected a datatype with contents, found 'FP16'",
        "input 'minute': expected UINT8 in uint_contents, found int64_contents",
        "input 'minute': expected a datatype with contents, found ''",
    }


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"\x01\0\0\0A\x05\0\0\0B", "expected texts behind their lengths, found a part of one"),
        (b"\xff\xff\xff\xff", "expected texts behind their lengths, found a part of one"),
        (b"\x01\0\0\0\xff", "expected UTF-8, found invalid start byte"),
    ],
)
def test_raw_texts_with_bad_lengths_or_bytes_are_refused(served: Served, content: bytes, why: str):
    call = infer_request(request(3), is_raw=True)
    place = [each.name for each in call.inputs].index("carrier")
    call.raw_input_contents[place] = content

    error = failure(lambda: stub(served.channel).ModelInfer(call))

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error.details() == f"input 'carrier': {why}"


def test_a_message_that_is_none_is_the_clients_fault(served: Served):
    error = failure(lambda: served.channel.unary_unary(INFER)(b"\xff" * 9))

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error.details() == "request: expected a ModelInferRequest of protobuf"


def test_a_message_that_is_too_large_is_refused_also_when_it_is_packed(served: Served):
    large = messages.ModelInferRequest(raw_input_contents=[bytes(MAX_BYTES + 1)])

    for compression in (grpc.Compression.NoCompression, grpc.Compression.Gzip):
        infer = stub(served.channel).ModelInfer
        error = failure(partial(infer, large, compression=compression))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED

    packed = stub(served.channel).ModelInfer(
        infer_request(request(500)), compression=grpc.Compression.Gzip
    )
    assert len(scores(packed)) == 500


def test_beyond_the_queue_calls_are_told_when_to_come_again(tmp_path: Path):
    with serving_grpc(tmp_path, "--queue", "1") as served:
        calls, call = stub(served.channel), infer_request(request(5000))
        started = [calls.ModelInfer.future(call) for _ in range(40)]
        failed = [each.exception() for each in started]
        busy = [error for error in failed if error is not None]
        counted = counts(served.http)

    assert 0 < len(busy) < 40
    assert {error.code() for error in busy} == {grpc.StatusCode.UNAVAILABLE}
    assert {dict(error.trailing_metadata())["grpc-retry-pushback-ms"] for error in busy} == {"1000"}
    assert counted["modelyard_requests_overloaded_total", ""] == len(busy)
    assert counted["modelyard_requests_total", "5xx"] == 0


def test_a_client_that_gives_up_is_counted_like_one_that_waits(served: Served):
    before = counts(served.http)
    for _ in range(3):
        started = stub(served.channel).ModelInfer.future(infer_request(request(5000)))
        time.sleep(0.05)
        started.cancel()

    def counted() -> Counter[str]:
        now = counts(served.http)
        return Counter(
            {
                kind: now["modelyard_requests_total", kind]
                - before["modelyard_requests_total", kind]
                for kind in ("2xx", "4xx", "5xx")
            }
        )

    until(lambda: counted().total() == 3)
    assert counted()["5xx"] == 0


def has_come(served: Served) -> float:
    """How many requests have come, answered or not."""
    counted = counts(served.http)
    answered = (counted["modelyard_requests_total", f"{kind}xx"] for kind in (2, 4, 5))
    return counted["modelyard_requests_in_flight", ""] + sum(answered)


def test_a_stop_answers_what_is_in_flight(tmp_path: Path):
    with serving_grpc(tmp_path) as served:
        call = infer_request(request(9000))
        started = [stub(served.channel).ModelInfer.future(call) for _ in range(6)]
        until(lambda: len(started) == has_come(served))
        os.kill(served.http.process.pid, signal.SIGTERM)

        assert [len(scores(each.result())) for each in started] == [9000] * 6


def test_clients_move_on_before_a_pod_is_stopped(served: Served):
    """Each second twenty calls; their connection is made anew, and no call is lost by that."""
    assert 1.1 * AGE_SECONDS < PRE_STOP_SECONDS
    ended = Counter[str]()
    until_then = time.monotonic() + 2.5 * AGE_SECONDS
    with connected(served.port, ("grpc.enable_retries", 0)) as channel:
        changes: list[grpc.ChannelConnectivity] = []
        channel.subscribe(changes.append)
        while time.monotonic() < until_then:
            try:
                stub(channel).ModelInfer(infer_request(request(1)))
                ended["answered"] += 1
            except grpc.RpcError as error:
                ended[str(error.code())] += 1
            time.sleep(0.05)

    assert set(ended) == {"answered"}
    assert changes.count(grpc.ChannelConnectivity.READY) >= 3


def test_workers_share_the_port(tmp_path: Path):
    with serving_grpc(tmp_path, "--workers", "2") as served:
        threads = []
        for _ in range(16):

            def ask() -> None:
                with connected(served.port) as channel:
                    for _ in range(5):
                        stub(channel).ModelInfer(infer_request(request(1)))

            threads.append(threading.Thread(target=ask))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert counts(served.http)["modelyard_requests_total", "2xx"] == 80


def test_a_second_server_does_not_get_a_part_of_the_first_ones_calls(
    served: Served, tmp_path: Path, artifact: tuple[Path, str]
):
    code, said = serve_to_the_end(
        artifact, tmp_path, served.port + 1, "--grpc-port", str(served.port)
    )

    assert code == 1
    assert f"127.0.0.1:{served.port}: cannot be listened on" in said
    assert "choose another --grpc-port" in said
