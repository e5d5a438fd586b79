"""A real server that copies requests to another one, and callers that never notice."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import orjson
import prometheus_client
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from modelyard.commands.serve import serve
from modelyard.domain.canary.prediction_grid import Grid
from modelyard.domain.canary.shadow.pairs import FAILED
from modelyard.domain.specs.contract import Column
from modelyard.domain.specs.model import Output, OutputKind, Task
from modelyard.serving.documents import Serving, Training
from modelyard.serving.http.bodies import RequestError
from modelyard.serving.http.inference import Inference
from modelyard.serving.inputs import read_request, request_of_rows, tensors_of_rows
from modelyard.serving.shadow.addresses import address_problem
from modelyard.serving.shadow.copies import (
    COPY_HEADER,
    MOST_BYTES,
    SHADOW_PATH,
    Limits,
    Shadow,
    _document,
    _smaller,
    copy_contract,
)
from modelyard.serving.shadow.pair_counts import MOST_KINDS, MOST_OF_ALL, PairCounts
from serving.artifacts import shared_artifact
from serving.running import Running, preloaded_socket, request, serving, until

COLUMNS = (
    Column(name="carrier", type="category", nullable=True),
    Column(name="temp", type="number", nullable=True),
    Column(name="count", type="integer", nullable=True),
    Column(name="at", type="timestamp"),
    Column(name="holiday", type="boolean", default=False),
)
SERVING = Serving(
    model="m",
    task=Task.BINARY,
    inputs=COLUMNS,
    output=Output(name="p", kind=OutputKind.PROBABILITY),
    training=Training(null={}, levels={}),
)
ROW = {"carrier": "AA", "temp": 1.5, "count": 3, "at": "2013-05-01T08:00", "holiday": True}
BARE = {
    "carrier": None,
    "temp": None,
    "count": None,
    "at": "2013-05-01T08:00:00+02:00",
    "holiday": False,
}


@pytest.fixture(autouse=True)
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELYARD_PRELOADED", str(preloaded_socket()))


def counted(running: Running, name: str) -> dict[str, float]:
    """The values of one metric that are not 0, by the label beside the release's."""
    common = {"model", "version", "release", "digest"}
    return {
        ",".join(value for label, value in sample.labels.items() if label not in common): (
            sample.value
        )
        for family in text_string_to_metric_families(running.client.get("/metrics").text)
        for sample in family.samples
        if sample.name == f"modelyard_{name}" and sample.value
    }


@pytest.mark.long
def test_a_canary_answers_copies_that_nobody_counts_as_its_requests(tmp_path: Path):
    stable_folder, canary_folder = tmp_path / "stable", tmp_path / "canary"
    stable_folder.mkdir()
    canary_folder.mkdir()
    with serving(shared_artifact(), canary_folder, version="v2", release="canary") as canary:
        where = f"--shadow-to=http://127.0.0.1:{canary.client.base_url.port}"
        with serving(shared_artifact(), stable_folder, "--shadow-share=1", where) as stable:
            assert stable.infer(request(3)).json()["model_version"] == "v1"
            until(lambda: counted(stable, "shadow_rows_total"))
            (pair,) = counted(stable, "shadow_rows_total")
            other, _, mine, theirs = pair.split(":")
            assert (other, mine) == ("canary", theirs)
            # The canary counts the copy as a copy, and nothing else of it.
            assert counted(canary, "shadow_answers_total") == {"2xx": 1}
            for name in ("requests_total", "rows_total", "predictions_total", "input_nulls_total"):
                assert counted(canary, name) == {}
    assert not list((canary_folder / "payloads").glob("*.parquet"))
    (part,) = (stable_folder / "payloads").glob("*.parquet")
    assert pq.read_table(part).num_rows == 3


def test_a_copy_that_breaks_the_contract_is_refused_with_who_refuses(server: Running):
    answer = server.client.post(SHADOW_PATH, json={"inputs": []}, headers={COPY_HEADER: "r0"})
    assert answer.status_code == 400
    assert answer.json().keys() == {"release", "digest", "inputs", "grid", "error"}
    assert server.client.get(SHADOW_PATH).status_code == 405


def test_a_canary_rests_from_copies_whoever_sends_them():
    """Many of stable's processes send, and none knows of the others."""

    class Model:
        name, golden_problem = "m", ""
        predictor = SimpleNamespace(serving=SERVING)

        async def scores(self, parsed, *, only_if_idle):
            assert only_if_idle
            await asyncio.sleep(0.05)
            return np.zeros(parsed.rows)

    inference = Inference(Model(), None, log=None)
    copy = request_of_rows(COLUMNS, [ROW])

    async def sent(pauses):
        found = []
        for pause in pauses:
            await asyncio.sleep(pause)
            try:
                found.append(len(await inference._copy_scores(copy)))
            except RequestError as error:
                found.append(error.status)
        return found

    # The rest is .45 s, nine times .05 s.
    assert asyncio.run(sent([0, 0, 0.1, 0.6, 0.1])) == [1, 503, 503, 1, 503]


def test_a_client_that_does_not_say_that_it_sends_a_copy_comes_upon_nothing(server: Running):
    answer = server.client.post(SHADOW_PATH, json=request(1))
    assert answer.status_code == 404
    assert answer.json() == {"error": f"{SHADOW_PATH}: no such path"}


class Listener:
    """A port on which something listens that never answers."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self.socket.getsockname()[1]}"


class Canary(Listener):
    """Answers every copy alike, after a while, piece by piece."""

    def __init__(self, answer: dict[str, object], *, pause: float = 0.0, pieces: int = 1) -> None:
        super().__init__()
        body = orjson.dumps({"release": "r2", "digest": "e", **copy_contract(SERVING), **answer})
        head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\n\r\n".encode()
        size = -(-len(head + body) // pieces)
        self._pieces = [(head + body)[at : at + size] for at in range(0, len(head + body), size)]
        self._pause = pause
        self.asked: list[bytes] = []
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.socket.accept()
                with connection, suppress(OSError):
                    self.asked.append(connection.recv(2**16))
                    for piece in self._pieces:
                        time.sleep(self._pause)
                        connection.sendall(piece)


def shadow_to(address: str, lost: Counter[str], **limits: float) -> Shadow:
    return Shadow(
        1.0,
        [address],
        labels={"release": "r1", "digest": "d"},
        serving=SERVING,
        on_pair=lambda *_: lost.update(["pair"]),
        on_lost=lambda why: lost.update([why]),
        limits=Limits(**limits),
    )


def test_a_canary_that_hangs_costs_no_caller_anything_and_its_copies_are_dropped():
    listener, lost = Listener(), Counter[str]()
    with listener.socket:
        shadow = shadow_to(listener.address, lost, waiting=4, seconds=0.3)
        one, scores = request_of_rows(COLUMNS, [ROW]), np.array([0.5])
        before = time.perf_counter()
        for _ in range(50):
            shadow.offer(one, scores)
        assert time.perf_counter() - before < 0.2
        until(lambda: lost["silent"] == 1)
        assert lost["full"] >= 40
        assert lost["pair"] == 0


def offered(canary: Canary, *, copies: int = 1, least: int = 1, **limits: float) -> Counter[str]:
    """What became of copies that a canary answers so."""
    lost = Counter[str]()
    with canary.socket:
        shadow = shadow_to(canary.address, lost, **limits)
        for _ in range(copies):
            shadow.offer(request_of_rows(COLUMNS, [ROW]), np.array([0.5]))
        until(lambda: lost.total() >= least and not shadow._waiting)
    return lost


NEW = replace(SERVING, inputs=(*COLUMNS, Column(name="wind", type="number", nullable=True)))
PERCENT = replace(SERVING, output=Output(name="p", kind=OutputKind.VALUE, minimum=0, maximum=100))


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ({"scores": [0.5]}, "pair"),
        ({"scores": [0.5], **copy_contract(replace(SERVING, inputs=COLUMNS[:2]))}, "pair"),
        ({"scores": [0.5], **copy_contract(NEW)}, "contract"),
        ({"error": "input wind: expected a number", **copy_contract(NEW)}, "contract"),
        ({"scores": [0.5], **copy_contract(PERCENT)}, "contract"),
        ({"scores": [0.5], "inputs": None}, "contract"),
    ],
)
def test_a_canary_that_reads_what_a_copy_has_not_is_not_compared(answer, found):
    assert offered(Canary(answer)) == {found: 1}


def test_an_answer_that_comes_in_drops_or_never_ends_has_one_deadline():
    before = time.perf_counter()
    slow = Canary({"scores": [0.5]}, pause=0.05, pieces=100)
    assert offered(slow, seconds=0.15) == {"silent": 1}
    assert time.perf_counter() - before < 2
    large = Canary({"scores": [0.5], "more": "x" * MOST_BYTES})
    assert offered(large) == {"silent": 1}


def test_copies_keep_a_canary_busy_for_a_tenth_of_the_time():
    canary = Canary({"scores": [0.5]}, pause=0.02)
    assert offered(canary, copies=20) == {"pair": 1}
    assert len(canary.asked) == 1
    assert COPY_HEADER.encode() in canary.asked[0]
    assert offered(Canary({"scores": [0.5]}), copies=20, least=20, rest_times=0) == {"pair": 20}


@pytest.mark.parametrize(
    "address",
    ["http://canary", "http://canary:8080", "http://[::1]:80/", "/state/endpoints/m.json"],
)
def test_copies_are_sent_to_servers_and_to_a_file_of_them(address):
    assert address_problem(address) is None


@pytest.mark.parametrize(
    "address",
    [
        "https://canary",
        "http://canary:abc",
        "http://canary:0",
        "http://canary:99999",
        "http://canary/v2",
        "http://canary?a=b",
        "http://",
        "http://:80",
        "http://me@canary",
        "http://[::1",
        "canary:8080",
        "None",
        "",
    ],
)
def test_what_no_copy_can_be_sent_to_is_refused_before_the_server_starts(address):
    assert repr(address) in str(address_problem(address))
    flags = [f"--{each}=x" for each in ("model", "version", "release", "artifact", "folder")]
    found = CliRunner().invoke(serve, [*flags, "--port=1", f"--shadow-to={address}"])
    assert found.exit_code == 2
    assert "expected http://HOST" in found.output.replace("\n", " ")


@pytest.mark.parametrize("left_out", [(), ("holiday",), ("temp", "count")])
def test_of_a_large_request_neighbouring_rows_are_copied_with_their_scores(left_out):
    shadow = shadow_to("http://127.0.0.1:1", Counter(), rows=3)
    rows = [{**ROW, "temp": at, "count": None if at < 4 else at} for at in range(8)]
    tensors = [each for each in tensors_of_rows(COLUMNS, rows) if each["name"] not in left_out]
    large = read_request({"inputs": tensors}, COLUMNS)
    starts = set()
    for _ in range(40):
        copy = shadow._part(large, np.arange(8))
        start = int(copy.scores[0])
        starts.add(start)
        part = [{**each, "shape": [3], "data": each["data"][start : start + 3]} for each in tensors]
        alone = read_request({"inputs": part}, COLUMNS)
        sent, expected = (orjson.dumps(_document(each, SERVING)) for each in (copy.request, alone))
        assert sent == expected
        assert copy.scores.tolist() == [start, start + 1, start + 2]
    assert len(starts) > 2
    assert max(starts) <= 5
    assert shadow._part(copy.request, copy.scores).request is copy.request


def test_of_a_share_of_zero_nothing_is_copied_and_no_thread_waits_for_it():
    lost, threads = Counter[str](), threading.active_count()
    shadow = Shadow(
        0.0,
        [],
        labels={"release": "r1", "digest": "d"},
        serving=SERVING,
        on_pair=lambda *_: None,
        on_lost=lambda why: lost.update([why]),
    )
    shadow.offer(request_of_rows(COLUMNS, [ROW]), np.array([0.5]))
    assert not lost
    assert threading.active_count() <= threads + 1


@pytest.mark.parametrize("rows", [[ROW], [BARE], [ROW, BARE], [BARE, BARE]])
@pytest.mark.parametrize("left_out", [(), ("holiday",), ("holiday", "temp", "count")])
def test_a_copy_has_the_values_of_the_request(rows, left_out):
    tensors = tensors_of_rows(COLUMNS, rows)
    given = read_request(
        {"inputs": [each for each in tensors if each["name"] not in left_out]}, COLUMNS
    )
    copy = read_request(orjson.loads(orjson.dumps(_document(given, SERVING))), COLUMNS)
    assert copy.nulls == given.nulls
    for name, values in given.columns.items():
        assert str(values.tolist()) == str(copy.columns[name].tolist())


def test_kinds_of_pairs_have_a_most_and_none_goes_away():
    registry = CollectorRegistry()
    counter = prometheus_client.Counter("pairs", "", ("model", "pair"), registry=registry)
    pairs = PairCounts(counter, {"model": "m"}, Grid(classes=tuple(map(str, range(600)))))

    def kinds() -> Counter[str]:
        (family,) = registry.collect()
        names = [each.labels["pair"] for each in family.samples if each.name == "pairs_total"]
        return Counter(name.partition(":")[0] for name in names)

    for release in ("r1", "r2", "r3", "r4", "r5"):
        for at in range(600):
            pairs.count(release, at, at)
            pairs.count(release, at, (at + 7) % 600)
    assert kinds() == dict.fromkeys(("r1", "r2", "r3", "r4"), MOST_KINDS)
    assert MOST_OF_ALL == 4 * MOST_KINDS
    assert not pairs.count("r1", 599, FAILED)
    assert pairs.count("r1", 0, 0)


def test_only_releases_with_a_smaller_share_are_sent_copies():
    both = [
        {"url": "a", "release": "r1", "share": 0.8},
        {"url": "b", "release": "r2", "share": 0.2},
        {"url": "c", "release": "r3", "share": 0.0},
    ]
    assert _smaller(both, "r1") == ["b"]
    assert _smaller(both, "r2") == []
    assert _smaller(both, "gone") == []
