"""The promise: no request gets a 5xx, keeps a server from answering, or fails a release."""

from __future__ import annotations

import gzip
import json
import math
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pandas as pd
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.domain.specs.contract import Column
from modelyard.serving.documents import Golden, Training, read_serving
from modelyard.serving.http.bodies import MAX_BYTES
from modelyard.serving.http.connections import HEAD_SECONDS, MAX_HEAD_BYTES, LimitedProtocol
from modelyard.serving.inputs import frame_of_rows
from modelyard.serving.outliers import OutlierError, find_outliers
from modelyard.serving.predictor import Predictor, load_predictor
from modelyard.serving.served_model import ServedModel
from modelyard.serving.tensor import MAX_ROWS
from serving.artifacts import MINUTES, TRUSTED, flights, make_artifact, shared_artifact
from serving.running import Running, preloaded_socket, request, serving, until

PATH = "/v2/models/late/infer"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server of a linear model, which divides by small numbers and so overflows easily."""

    def small(rows: int = 400, seed: int = 0) -> pd.DataFrame:
        frame = flights(rows, seed)
        return frame.assign(temp=frame["temp"] / 1000, dep_delay=frame["dep_delay"] / 1000)

    folder = tmp_path_factory.mktemp("server")
    artifact = folder / "artifact"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODELYARD_PRELOADED", str(preloaded_socket()))
        patch.setattr("serving.artifacts.flights", small)
        digest = make_artifact(artifact, model=MINUTES)
        patch.setattr("serving.artifacts.flights", flights)
        with serving((artifact, digest), folder) as running:
            yield running


def address(running: Running) -> tuple[str, int]:
    return "127.0.0.1", int(running.client.base_url.port or 0)


def failures(running: Running) -> float:
    """How many requests count against the release."""
    lines = running.client.get("/metrics").text.splitlines()
    found = [line for line in lines if line.startswith("modelyard_requests_total{")]
    return sum(float(line.rsplit(" ", 1)[1]) for line in found if 'code_class="5xx"' in line)


# What a request may say

LITERALS = [
    *("-1.7e308", "1.7e308", "1.7976931348623157e308", "5e-324", "-5e-324", "2.2e-308", "-0.0"),
    *("9223372036854775807", "-9223372036854775808", "18446744073709551615", "1e19", "1e400"),
    *("-1e400", "NaN", "Infinity", "-Infinity", "3.5e38", "-3.5e38", "1e16", "9007199254740993"),
    *("0", "1", "1.0", "1e0", "01", "1.", ".5", "+1", "0x10", "9" * 5000, "0." + "9" * 5000),
    *("1e-99999", "1e99999", "true", "false", "null", '""', '"\\ud800"', '"\\u0000"', '"AA"'),
    *('"\\ud800\\udc00"', '"a\\\\"', '"1"', '"nan"', '"2013-01-01"', '"9999-12-31T23:59:59"'),
    *("[]", "[1]", "[[1]]", "{}", '{"a": 1}', '"' + "x" * 100_000 + '"', '"\u202e"', "\udcff"),
]
NAMES = ["carrier", "minute", "temp", "dep_delay", "holiday"]
DATATYPES = ["FP64", "FP32", "FP16", "INT64", "UINT64", "INT8", "BYTES", "BOOL", "?", ""]


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """The text of a request that is nearly right."""
    rows = draw(st.integers(0, 3))
    tensors = []
    for name in draw(st.permutations(NAMES)):
        usual = {"carrier": '"AA"', "holiday": "false"}.get(name, "1")
        literal = st.one_of(st.just(usual), st.just(usual), st.sampled_from(LITERALS))
        length = draw(st.sampled_from([rows, rows, rows, rows, rows + 1]))
        data = [draw(literal) for _ in range(length)]
        right = {"carrier": "BYTES", "holiday": "BOOL"}.get(name, "FP64")
        datatype = draw(st.sampled_from([right] * 8 + DATATYPES))
        shape = draw(st.sampled_from([f"[{rows}]"] * 6 + [f"[{rows}, 1]", "[-1]", "[]", "null"]))
        tensors.append(
            f'{{"name": "{name}", "datatype": "{datatype}", "shape": {shape},'
            f' "data": [{", ".join(data)}]}}'
        )
    more = draw(
        st.sampled_from(["", "", ', "id": "x"', ', "id": 1', ', "inputs": []', ', "a": NaN'])
    )
    text = f'{{"inputs": [{", ".join(tensors)}]{more}}}'
    return text.encode("utf-8", "surrogateescape")


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=bodies())
def test_whatever_a_request_contains_it_is_answered_or_refused(server: Running, body: bytes):
    answer = server.infer(content=body)

    assert answer.status_code in {200, 400, 422}
    document = answer.json()
    if answer.status_code == 200:
        scores = document["outputs"][0]["data"]
        assert all(math.isfinite(score) for score in scores)
    else:
        assert document["error"].isprintable()
        assert len(document["error"]) < 1000


@pytest.mark.parametrize("column", ["temp", "dep_delay", "minute"])
@pytest.mark.parametrize("value", [-1.7e308, 1.7976931348623157e308])
def test_a_number_on_which_the_model_overflows_is_the_clients_fault(
    server: Running, column: str, value: float
):
    before = failures(server)
    # Integers have 64 bits; larger ones are refused by the contract.
    value = value if column != "minute" else -9.2e18

    answer = server.infer(request(rows=3, **{column: value}))

    assert answer.status_code in ({200} if column == "minute" else {422})
    if answer.status_code == 422:
        error = answer.json()["error"]
        assert error.startswith(f"input {column}: expected ")
        assert f"found {value!r} in row 0" in error
    assert failures(server) == before


def test_one_row_that_overflows_is_named(server: Running):
    document = request(rows=4)
    tensor = next(each for each in document["inputs"] if each["name"] == "dep_delay")
    tensor["data"][2] = -1.7e308

    answer = server.infer(document)

    assert answer.status_code == 422
    assert "found -1.7e+308 in row 2: the model has no score for it" in answer.json()["error"]


def test_an_empty_batch_a_number_for_text_and_mixed_lengths_are_refused(server: Running):
    empty, mixed = request(rows=1), request(rows=3)
    for tensor in empty["inputs"]:
        tensor["data"], tensor["shape"] = [], [0]
    mixed["inputs"][1]["data"].pop()
    for document in (empty, mixed, request(rows=2, carrier=7), request(rows=2, temp=True)):
        assert server.infer(document).status_code == 400


# Whose fault a model's failure is


class Model:
    """A model of one's own in the place of MLflow's."""

    def __init__(self, score: Callable[[pd.DataFrame], object]) -> None:
        self.predict = score


def served(score: Callable[[pd.DataFrame], object], **changes: Any) -> ServedModel:
    known = load_predictor(*shared_artifact(), TRUSTED)
    predictor = Predictor(
        digest=known.digest,
        serving=replace(known.serving, **changes.pop("serving", {})),
        types={**known.types, **changes},
        model=Model(lambda frame: np.full(len(frame), 0.5)),  # type: ignore[arg-type]
    )
    rows = frame_rows(flights(3))
    model = ServedModel("late", "v1", predictor, Golden(rows=rows, scores=(0.5, 0.5, 0.5)))
    object.__setattr__(predictor, "model", Model(score))
    return model


def frame_rows(frame: pd.DataFrame, **changes: object) -> tuple[dict[str, object], ...]:
    names = [column.name for column in read_serving(shared_artifact()[0]).inputs]
    records = frame[names].astype(object).where(frame[names].notna(), None).to_dict("records")
    return tuple({str(k): v for k, v in {**row, **changes}.items()} for row in records)


def frame(**changes: object) -> pd.DataFrame:
    return frame_of_rows(
        read_serving(shared_artifact()[0]).inputs, frame_rows(flights(3), **changes)
    )


def fails_above(limit: float) -> Callable[[pd.DataFrame], object]:
    def score(frame: pd.DataFrame) -> object:
        if (frame["temp"].abs() > limit).any():
            raise ValueError("Input X contains infinity or a value too large for dtype('float32').")
        return np.full(len(frame), 0.5)

    return score


@pytest.mark.parametrize("answer", [math.nan, math.inf, -math.inf, 1.5])
def test_a_score_that_is_none_is_the_models_fault_on_usual_rows_alone(answer: float):
    def score(frame: pd.DataFrame) -> object:
        return np.full(len(frame), answer)

    def score_overflow(frame: pd.DataFrame) -> object:
        return np.where(frame["temp"].abs() > 1e100, answer, 0.5)

    with pytest.raises(Exception, match=r"not finite|not probabilities") as caught:
        served(score)._scores(frame())
    assert not isinstance(caught.value, OutlierError)
    with pytest.raises(OutlierError, match=r"input temp: expected .* found 1e\+200 in row 0"):
        served(score_overflow)._scores(frame(temp=1e200))


def test_a_model_that_fails_on_usual_rows_too_has_no_outlier_to_blame():
    rows = [*frame_rows(flights(3)), *frame_rows(flights(1), temp=1e200)]
    mixed = frame_of_rows(read_serving(shared_artifact()[0]).inputs, rows)

    with pytest.raises(ValueError, match="always"):
        served(lambda _: (_ for _ in ()).throw(ValueError("always")))._scores(mixed)
    with pytest.raises(OutlierError, match="in row 3"):
        served(fails_above(1e39))._scores(mixed)


@pytest.mark.parametrize(
    ("changes", "types"),
    [
        ({"temp": 3.5e38}, {"temp": "float"}),
        ({"temp": -1.7e308}, {"temp": "float"}),
        ({"minute": 2**31}, {"minute": "integer"}),
        ({"minute": -(2**63)}, {"minute": "integer"}),
    ],
)
def test_a_number_that_the_models_type_cannot_hold_is_the_clients_fault(
    changes: dict[str, object], types: dict[str, str]
):
    def score(frame: pd.DataFrame) -> object:
        if not np.isfinite(frame[["minute", "temp"]].fillna(0)).all(axis=None):
            raise ValueError("infinity")
        return np.full(len(frame), 0.5)

    with pytest.raises(OutlierError):
        served(score, **types)._scores(frame(**changes))


def test_an_unseen_level_that_the_model_refuses_is_not_the_models_fault():
    def score(frame: pd.DataFrame) -> object:
        if "ZZ" in set(frame["carrier"]):
            raise ValueError("Found unknown categories ['ZZ'] in column 0 during transform")
        return np.full(len(frame), 0.5)

    with pytest.raises(OutlierError, match="carrier: expected a level of training, found 'ZZ'"):
        served(score)._scores(frame(carrier="ZZ"))


def test_numbers_near_those_of_training_are_no_outliers():
    contract = read_serving(shared_artifact()[0])
    low, high = contract.training.ranges["temp"]

    assert find_outliers(frame(temp=high + 5 * (high - low)), contract) is None
    assert find_outliers(frame(temp=1e9), contract) is not None
    old = replace(
        contract, training=Training(null=contract.training.null, levels=contract.training.levels)
    )
    assert find_outliers(frame(temp=1e9), old) is None
    assert find_outliers(frame(temp=1e31), old) is not None


def test_a_time_in_another_century_and_a_null_unlike_training_are_outliers():
    columns = (
        Column(name="at", type="timestamp", nullable=True),
        Column(name="x", type="number", nullable=True),
    )
    contract = replace(
        read_serving(shared_artifact()[0]),
        inputs=columns,
        training=Training(null={"at": 0.5, "x": 0.0}, levels={}),
    )

    for row, is_odd in (
        ({"at": "2026-01-01", "x": 1.0}, False),
        ({"at": None, "x": 1.0}, False),
        ({"at": "2026-01-01", "x": None}, True),
        ({"at": "1700-01-01", "x": 1.0}, True),
    ):
        found = find_outliers(frame_of_rows(columns, [row]), contract)
        assert (found is not None) is is_odd


# Binary tensors, as kserve's client sends them


def binary_request(**changes: Any) -> tuple[bytes, dict[str, str]]:
    from kserve import InferInput, InferRequest

    document, inputs = request(rows=3), []
    for each in document["inputs"]:
        kind = {"BYTES": object, "BOOL": np.bool_, "INT64": np.int64}.get(each["datatype"], float)
        values = np.array([math.nan if v is None else v for v in each["data"]], dtype=kind)
        tensor = InferInput(name=each["name"], shape=[3], datatype=each["datatype"])
        tensor.set_data_from_numpy(changes.get(each["name"], values), binary_data=True)
        inputs.append(tensor)
    body, size = InferRequest(model_name="late", infer_inputs=inputs).to_rest()
    assert isinstance(body, bytes)
    return body, {"inference-header-content-length": str(size)}


def test_binary_tensors_of_kserves_client_are_answered_like_json(server: Running):
    body, headers = binary_request()

    answer = server.infer(content=body, headers=headers)

    assert answer.status_code == 200
    expected = server.infer(request(rows=3)).json()["outputs"]
    assert answer.json()["outputs"] == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda body, size: (body, "x"), "inference-header-content-length: expected a number"),
        (lambda body, size: (body, "-1"), "inference-header-content-length: expected a number"),
        (lambda body, size: (body, "9" * 5000), "inference-header-content-length"),
        (lambda body, size: (body, str(size + 10**6)), "expected at most"),
        (lambda body, size: (body, str(size - 1)), "expected JSON"),
        (lambda body, size: (body, "0"), "expected JSON"),
        (lambda body, size: (body[:-1], str(size)), "binary bytes, found"),
        (lambda body, size: (body + b"x", str(size)), "binary bytes, found"),
    ],
)
def test_binary_tensors_that_do_not_fit_are_refused(
    server: Running, change: Callable[[bytes, int], tuple[bytes, str]], message: str
):
    body, headers = binary_request()
    body, size = change(body, int(headers["inference-header-content-length"]))

    answer = server.infer(content=body, headers={"inference-header-content-length": size})

    assert answer.status_code == 400
    assert message in answer.json()["error"]


@pytest.mark.parametrize(
    ("datatype", "content"),
    [
        ("FP64", b"1234567"),
        ("FP128", b"1" * 16),
        ("BYTES", struct.pack("<I", 2**32 - 1) + b"AA"),
        ("BYTES", b"\x02\x00"),
        ("BYTES", struct.pack("<I", 2) + b"\xff\xfe"),
        ("BOOL", b"\x07"),
        ("FP64", struct.pack("<d", math.inf)),
    ],
)
def test_the_bytes_of_a_tensor_are_read_or_refused(server: Running, datatype: str, content: bytes):
    parameters = {"binary_data_size": len(content)}
    tensor = {"name": "temp", "datatype": datatype, "shape": [1], "parameters": parameters}
    document = request(rows=1)
    document["inputs"] = [t for t in document["inputs"] if t["name"] != "temp"] + [tensor]
    head = json.dumps(document).encode()

    answer = server.infer(
        content=head + content, headers={"inference-header-content-length": str(len(head))}
    )

    assert answer.status_code == 400


# What a request may cost

MEGABYTE = 2**20
COSTLY: dict[str, bytes] = {
    "empty lists": b'{"inputs":[' + b"[]," * (5 * MEGABYTE - 10) + b"[]]}",
    "lists of one": b'{"inputs":[' + b"[0]," * (4 * MEGABYTE - 10) + b"[0]]}",
    "objects": b'{"inputs":[' + b"{}," * (5 * MEGABYTE - 10) + b"{}]}",
    "keys": b"{" + b",".join(b'"%x":0' % n for n in range(1_200_000)) + b"}",
    "whole numbers": b'{"inputs":[' + b"0," * (8 * MEGABYTE - 10) + b"0]}",
    "fractions": b'{"inputs":[' + b"1.1," * (4 * MEGABYTE - 10) + b"1]}",
    "deep": b"[" * (15 * MEGABYTE),
    "deep objects": b'{"a":' * (3 * MEGABYTE),
    "digits": b'{"inputs":[' + b"9" * (15 * MEGABYTE) + b"]}",
    "digits behind the point": b'{"inputs":[0.' + b"9" * (15 * MEGABYTE) + b"]}",
    "digits of an exponent": b'{"inputs":[1e' + b"9" * (15 * MEGABYTE) + b"]}",
    "text": b'{"inputs":["' + b"a" * (15 * MEGABYTE) + b'"]}',
    "escapes": b'{"inputs":["' + b"\\u0041" * (15 * MEGABYTE // 6) + b'"]}',
    "a long name": b'{"inputs":[{"name":"' + b"a-" * (7 * MEGABYTE) + b'"}]}',
    "a long id": b'{"id":"' + b"a" * (15 * MEGABYTE) + b'","inputs":[]}',
    "many names": b'{"inputs":[' + b",".join(b'{"name":"%x"}' % n for n in range(100_000)) + b"]}",
    "outputs": b'{"outputs":[' + b'"minutes",' * 100_000 + b'"minutes"],"inputs":[]}',
    "a long shape": b'{"inputs":[{"name":"temp","datatype":"FP64","data":[1],"shape":['
    + b"1," * 200_000
    + b"1]}]}",
    "spaces": b'{"inputs":[' + b" " * (15 * MEGABYTE) + b"]}",
    "zeros": b"\0" * (15 * MEGABYTE),
    "too much": b" " * (MAX_BYTES + 1),
}


@contextmanager
def watched(running: Running) -> Iterator[list[float]]:
    """Ask for readiness all the time; yields how long each answer took, in seconds."""
    took: list[float] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            before = time.perf_counter()
            with httpx.Client(base_url=running.client.base_url, timeout=30) as client:
                assert client.get("/v2/health/ready").status_code == 200
            took.append(time.perf_counter() - before)
            time.sleep(0.02)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield took
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("what", COSTLY)
def test_readiness_answers_within_a_second_whatever_is_sent(server: Running, what: str):
    memory = psutil.Process(server.process.pid).memory_info().rss

    with watched(server) as took:
        answers = [server.infer(content=COSTLY[what]) for _ in range(2)]

    assert {answer.status_code for answer in answers} <= {400, 413}
    assert all(len(answer.content) < 1000 for answer in answers)
    assert max(took) < 1
    assert psutil.Process(server.process.pid).memory_info().rss - memory < 250 * MEGABYTE


def test_the_largest_good_request_is_answered_and_delays_nobody(server: Running):
    document = request(rows=MAX_ROWS)

    with watched(server) as took:
        answer = server.infer(document)

    assert len(answer.json()["outputs"][0]["data"]) == MAX_ROWS
    assert max(took) < 1


def test_a_good_request_with_many_other_inputs_is_answered(server: Running):
    document = request(rows=MAX_ROWS)
    extra = [{**document["inputs"][1], "name": f"other{n}"} for n in range(15)]

    assert server.infer({"inputs": [*document["inputs"], *extra]}).status_code == 200


def test_bodies_held_at_one_time_have_a_limit_that_spares_small_ones(server: Running):
    head = f"POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: {MAX_BYTES}\r\n\r\n"
    with ExitStack() as stack:

        def open_one_more() -> int:
            slow = stack.enter_context(socket.create_connection(address(server)))
            slow.sendall(head.encode())
            return server.infer(content=b" " * MEGABYTE).status_code

        until(lambda: open_one_more() == 429)
        assert server.infer(request()).status_code == 200
    until(lambda: server.infer(content=b" " * MEGABYTE).status_code == 400)


def test_a_packed_body_is_refused_and_never_unpacked(server: Running):
    bomb = gzip.compress(b" " * (100 * MEGABYTE))

    answer = server.infer(content=bomb, headers={"content-encoding": "gzip"})

    assert (answer.status_code, answer.json()) == (
        415,
        {"error": "request: expected no content-encoding, found 'gzip'"},
    )


# What a connection may do


def talk(running: Running, content: bytes, seconds: float = 10) -> bytes:
    """What the server answers to raw bytes, until it hangs up or says no more."""
    answer = b""
    with socket.create_connection(address(running)) as connection:
        connection.settimeout(seconds)
        connection.sendall(content)
        try:
            while part := connection.recv(65536):
                answer += part
        except (TimeoutError, ConnectionResetError):
            pass
    return answer


def post(body: bytes, *headers: str) -> bytes:
    lines = [f"POST {PATH} HTTP/1.1", "host: x", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def test_many_small_requests_in_a_row_are_all_answered(server: Running):
    body = json.dumps(request(rows=1)).encode()
    one = post(body, f"content-length: {len(body)}")
    last = post(body, f"content-length: {len(body)}", "connection: close")

    with watched(server) as took:
        answer = talk(server, one * 199 + last, seconds=30)

    assert answer.count(b"HTTP/1.1 200 OK") == 200
    assert max(took) < 1


@pytest.mark.parametrize(
    "content",
    [
        post(
            b"5\r\n     \r\n0\r\nx-late: 1\r\n\r\n",
            "transfer-encoding: chunked",
            "connection: close",
        ),
        post(b"zz\r\n", "transfer-encoding: chunked"),
        post(b"-1\r\n\r\n", "transfer-encoding: chunked"),
        post(b"ffffffffffffffffff\r\n", "transfer-encoding: chunked"),
        post(b"", "content-length: -1"),
        post(b"", "content-length: 99999999999999999999999"),
        post(b"{}", "content-length: 2", "content-length: 3"),
        post(b"{}", "content-length: 2", "transfer-encoding: chunked"),
        post(b"{}", "content-length: 2", "expect: 100-continue", "connection: close"),
        post(b"", "connection: upgrade", "upgrade: websocket", "content-length: 0"),
        post(b"", "connection: upgrade, close", "upgrade: h2c", "content-length: 0"),
        b"GET /" + b"%ff" * 100 + b" HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
    ],
)
def test_no_bytes_whatever_are_a_failure_of_the_server(server: Running, content: bytes):
    before = failures(server)

    answer = talk(server, content, seconds=1)

    assert not answer.startswith(b"HTTP/1.1 5")
    assert failures(server) == before
    assert server.is_ready()


def test_a_head_without_an_end_is_dropped(server: Running):
    endless = b"GET / HTTP/1.1\r\nhost: x\r\n" + b"".join(
        b"x-%d: %s\r\n" % (n, b"a" * 1000) for n in range(2 * MAX_HEAD_BYTES // 1000)
    )
    one_line = b"GET /" + b"a" * (2 * MAX_HEAD_BYTES)

    for content in (endless, one_line):
        before = time.monotonic()
        talk(server, content)
        assert time.monotonic() - before < 5


def test_heads_that_are_sent_in_half_are_dropped_and_delay_nobody(
    server: Running, monkeypatch: pytest.MonkeyPatch
):
    with ExitStack() as stack, watched(server) as took:
        half = [stack.enter_context(socket.create_connection(address(server))) for _ in range(500)]
        for connection in half:
            connection.sendall(b"POST /v2/models/late/infer HTTP/1.1\r\nhost")
        time.sleep(1)
        assert server.infer(request()).status_code == 200
    assert max(took) < 1


class Transport:
    """As much of a transport as the protocol asks for; remembers that it was aborted."""

    def __init__(self) -> None:
        self.is_aborted = False
        self.written = b""

    def get_extra_info(self, name: str) -> object:
        return None

    def abort(self) -> None:
        self.is_aborted = True

    def write(self, data: bytes) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return False

    close = pause_reading = resume_reading = lambda self: None


class Timers:
    """An event loop's timers, which ring when a test says so."""

    def __init__(self) -> None:
        self.waiting: list[Any] = []

    def call_later(self, seconds: float, call: Callable[[], None]) -> Any:
        assert seconds == HEAD_SECONDS
        timer = type("Timer", (), {"call": staticmethod(call)})()
        timer.cancel = lambda: self.waiting.remove(timer)
        self.waiting.append(timer)
        return timer

    def create_task(self, coroutine: Any, **_: object) -> Any:
        coroutine.close()
        return type("Task", (), {"add_done_callback": lambda *_: None})()


HEAD = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "is_waiting"),
    [
        (b"", True),
        (HEAD[:10], True),
        (HEAD[:-1], True),
        (HEAD, False),
        (HEAD + HEAD[:5], True),
        (HEAD + HEAD, False),
        (post(b"", "content-length: 5"), False),
    ],
)
def test_a_clock_runs_while_a_head_is_awaited_and_only_then(sent: bytes, *, is_waiting: bool):
    from uvicorn import Config
    from uvicorn.server import ServerState

    timers, transport = Timers(), Transport()
    config = Config(lambda *_: None, log_config=None)  # type: ignore[arg-type,return-value]
    protocol = LimitedProtocol(config, ServerState(), {}, timers)  # type: ignore[arg-type]
    protocol.connection_made(transport)  # type: ignore[arg-type]
    if sent:
        protocol.data_received(sent)

    assert bool(timers.waiting) is is_waiting
    for timer in timers.waiting:
        timer.call()
    assert transport.is_aborted is is_waiting
    protocol.connection_lost(None)
    assert timers.waiting == []
