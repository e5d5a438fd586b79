from __future__ import annotations

import re
import resource
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest

import modelyard.adapters.metrics.scrape as under_test
from modelyard.adapters.cluster.endpoints import Endpoint, write_endpoints
from modelyard.adapters.metrics.scrape import ScrapeMetrics
from modelyard.domain.canary.arms import count_arm
from modelyard.domain.canary.input_mix import SIZE_EDGES, cell_name, level_cell, number_cell
from modelyard.domain.canary.prediction_grid import prediction_grid
from modelyard.domain.canary.segments.cells import segment_cell, segment_grid, segment_name
from modelyard.domain.canary.traffic import Counts, Sample
from modelyard.domain.specs.contract import Column
from modelyard.domain.specs.model import Output, OutputKind, Task
from modelyard.domain.specs.repository import Repository
from modelyard.errors import CannotAnswer
from modelyard.serving.counters import Counters
from modelyard.serving.counts.bins import bin_counts, row_bins
from modelyard.serving.documents import Serving, Training
from modelyard.serving.inputs import request_of_rows

NOW = datetime(2026, 1, 1, tzinfo=UTC)
COLUMNS = (
    Column(name="carrier", type="category"),
    Column(name="temp", type="number", nullable=True),
)
SERVING = Serving(
    model="late",
    task=Task.REGRESSION,
    inputs=COLUMNS,
    output=Output(name="minutes", kind=OutputKind.VALUE, minimum=0, maximum=100, primary=True),
    training=Training(null={}, levels={"carrier": ("AA",)}),
    segments=("carrier",),
)


class FixedClock:
    moment = NOW

    def now(self) -> datetime:
        return self.moment

    def even_since(self) -> None:
        return None


class Server:
    """Counts as the model server does, and exposes it; the model behind is not needed here."""

    def __init__(self, release: str) -> None:
        self.release, self.registry = release, CollectorRegistry()
        labels = {"model": "late", "version": "v", "release": release, "digest": "d"}
        self.counters = Counters(labels, SERVING, self.registry)
        self.url = ""

    def page(self) -> Iterable[bytes]:
        return [generate_latest(self.registry)]

    def answer(self, carrier: str, temp: float | None, minutes: float) -> None:
        request = request_of_rows(COLUMNS, [{"carrier": carrier, "temp": temp}])
        with self.counters.count_request() as outcome:
            self.counters.count_answer(request, np.array([minutes]))
            outcome.status = 200

    def fail(self, status: int) -> None:
        with self.counters.count_request() as outcome:
            outcome.status = status


class BrokenPage(Server):
    """A server whose /metrics page is changed before it is sent."""

    def __init__(self, release: str, change: Callable[[bytes], Iterable[bytes]]) -> None:
        super().__init__(release)
        self.change = change

    def page(self) -> Iterable[bytes]:
        return self.change(generate_latest(self.registry))


@contextmanager
def exposed(server: Server) -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):
                for piece in server.page():
                    self.wfile.write(piece)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        server.url = f"http://127.0.0.1:{http.server_address[1]}"
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()


def name(root: Path, *servers: Server, environment: str = "production") -> None:
    endpoints = [
        Endpoint(url=server.url, release=server.release, version="v", share=1 / len(servers))
        for server in servers
    ]
    write_endpoints(root / ".modelyard", endpoints, environment=environment, model="late")


def test_a_restarted_server_is_another_process_whatever_it_counted(tmp_path: Path):
    clock = FixedClock()
    metrics = ScrapeMetrics(tmp_path, Repository(), clock)
    processes = []
    for requests in (1, 3):
        clock.moment = NOW + timedelta(seconds=requests)
        with exposed(Server("a")) as server:
            name(tmp_path, server)
            for _ in range(requests):
                server.answer("AA", 1.0, 40.0)
            processes += [metrics.samples("late", since=NOW)[-1].counts["a"].process] * 2
            assert metrics.samples("late", since=NOW)[-1].counts["a"].process == processes[-1]
    assert len(set(processes)) == 2
    assert "" not in processes
    found = count_arm(metrics.samples("late", since=NOW), "a", is_new=True)
    assert found.answered[-1] == 3  # the first sample is where counting begins


def test_counts_are_read_by_release_and_summed_over_its_servers(tmp_path: Path):
    clock = FixedClock()
    metrics = ScrapeMetrics(tmp_path, Repository(), clock)
    with exposed(Server("a")) as one, exposed(Server("a")) as two, exposed(Server("b")) as other:
        name(tmp_path, one, other)
        name(tmp_path, two, environment="staging")
        one.answer("AA", None, 41.5)
        one.fail(400)
        two.answer("ZZ", 3.0, 1000.0)
        other.fail(500)
        found = metrics.samples("late", since=NOW)
    grid = prediction_grid(SERVING.output)
    bins = bin_counts(np.array([41.5, 1000.0]), grid)
    places = row_bins(np.array([41.5, 1000.0]), segment_grid(SERVING.output)).tolist()
    expected = {
        "a": Counts(
            requests={"2xx": 2, "4xx": 1, "5xx": 0},
            rows=2,
            predictions=tuple(bins),
            nulls={"carrier": 0, "temp": 1},
            unseen={"carrier": 1},
            pairs={"pairs": 0, "unlike": 0, "tenths": 0, "distance": 0},
            refused=1,
            inputs={
                cell_name("carrier", level_cell("AA")): 1,
                cell_name("carrier", level_cell("ZZ")): 1,
                cell_name("temp", number_cell(3.0, SIZE_EDGES)): 1,
            },
            segments={
                segment_name("carrier", segment_cell(level), place): 1
                for level, place in zip(("AA", "ZZ"), places, strict=True)
            },
            servers=2,
        ),
        "b": Counts(
            requests={"2xx": 0, "4xx": 0, "5xx": 1},
            rows=0,
            predictions=(0,) * grid.bins,
            nulls={"carrier": 0, "temp": 0},
            unseen={"carrier": 0},
            pairs={"pairs": 0, "unlike": 0, "tenths": 0, "distance": 0},
            refused=0,
        ),
    }
    (sample,) = found
    timed = {release: counts.within for release, counts in sample.counts.items()}
    names = {release: counts.process for release, counts in sample.counts.items()}
    assert names["a"] == "" != names["b"]  # two servers, and one
    assert {release: within["inf"] for release, within in timed.items()} == {"a": 3, "b": 1}
    expected = {
        name: replace(each, within=timed[name], process=names[name])
        for name, each in expected.items()
    }
    assert found == (Sample(at=NOW, counts=expected),)
    assert ScrapeMetrics(tmp_path, Repository(), clock).samples("late", since=NOW) == found
    assert metrics.samples("other", since=NOW) == ()


def test_a_stopped_server_is_absent_and_without_any_server_there_is_no_sample(tmp_path: Path):
    clock = FixedClock()
    metrics = ScrapeMetrics(tmp_path, Repository(), clock)
    assert metrics.samples("late", since=NOW) == ()
    with exposed(Server("a")) as one, exposed(Server("b")) as two:
        name(tmp_path, one, two)
        assert [*metrics.samples("late", since=NOW)[0].counts] == ["a", "b"]
    with exposed(Server("a")) as one:
        name(tmp_path, one, two)
        clock.moment = NOW + timedelta(seconds=1)
        assert [*metrics.samples("late", since=clock.moment)[0].counts] == ["a"]
    clock.moment = NOW + timedelta(seconds=2)
    assert metrics.samples("late", since=clock.moment) == ()
    assert [sample.at.second for sample in metrics.samples("late", since=NOW)] == [0, 1]


ROWS = b'modelyard_rows_total{digest="d",model="late",release="b",version="v"} 0.0\n'
BIN = b'modelyard_predictions_total{bin="0",'


def with_rows(value: bytes) -> Callable[[bytes], Iterable[bytes]]:
    return lambda page: [page.replace(ROWS, ROWS.replace(b"0.0", value))]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (with_rows(b"NaN"), "modelyard_rows_total is nan, which is no count"),
        (with_rows(b"+Inf"), "is inf, which is no count"),
        (with_rows(b"-5"), "is -5, which is no count"),
        (with_rows(b"1e300"), "is 1e+300, which is no count"),
        (with_rows(b"many"), "could not convert string to float"),
        (lambda page: [page, ROWS], "modelyard_rows_total is there twice"),
        (lambda page: [page.replace(ROWS, b"")], "it does not count rows of late"),
        (lambda page: [page.replace(b'model="late"', b'model="other"')], "anything of late"),
        (lambda page: [b"<html>"], "invalid metric name"),
        (lambda page: [b""], "it does not count anything of late"),
        (lambda page: [b"\xff"], "can't decode byte"),
        (lambda page: [page.replace(BIN, b'modelyard_predictions_total{bin="x",')], "the labels"),
        (
            lambda page: [page.replace(BIN, b'modelyard_predictions_total{bin="9999999999",')],
            "the labels",
        ),
        (lambda page: [page.replace(b'release="b",', b"")], "has the labels"),
        (lambda page: [page.replace(b'release="b"', b'release="a"')], "'release': 'a'"),
        (lambda page: [page, page.replace(b'release="b"', b'release="a"')], "'release': 'a'"),
        (lambda page: [page, b'modelyard_rows_total{model="late", =e="b"} 1'], "is no series"),
        (lambda page: [page.replace(b'measure="pairs",', b"")], "has the labels"),
        (lambda page: (b"# filler\n" * 100_000 for _ in range(1000)), "it is longer than 32 MB"),
    ],
)
def test_a_page_that_is_broken_is_no_data_of_its_release_and_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, change, said
):
    metrics = ScrapeMetrics(tmp_path, Repository(), FixedClock())
    with exposed(Server("a")) as one, exposed(BrokenPage("b", change)) as two:
        name(tmp_path, one, two)
        (sample,) = metrics.samples("late", since=NOW)
        assert [*sample.counts] == ["a"]
        assert f"{two.url}/metrics cannot be read: " in caplog.text
        assert said in caplog.text
        name(tmp_path, two)
        with pytest.raises(CannotAnswer, match=re.escape(f"{two.url}/metrics")) as caught:
            metrics.samples("late", since=NOW)
        assert caught.value.hint == f"curl {two.url}/metrics"


def test_a_release_with_one_broken_page_is_no_data_whatever_its_other_servers_say(tmp_path: Path):
    metrics = ScrapeMetrics(tmp_path, Repository(), FixedClock())
    broken = BrokenPage("b", with_rows(b"NaN"))
    with exposed(Server("a")) as one, exposed(Server("b")) as two, exposed(broken) as three:
        for servers in ((one, two, three), (one, three, two)):
            name(tmp_path, *servers)
            assert [*metrics.samples("late", since=NOW)[0].counts] == ["a"]


def test_who_only_reads_sees_now_and_adds_no_look(tmp_path: Path):
    clock = FixedClock()
    metrics = ScrapeMetrics(tmp_path, Repository(), clock)
    with exposed(Server("a")) as one:
        name(tmp_path, one)
        assert len(metrics.samples("late", since=NOW, keep=False)) == 1
        metrics.samples("late", since=NOW)
        for second in range(1, 4):
            one.answer("AA", 1.0, 40.0)
            clock.moment = NOW + timedelta(seconds=second)
            found = metrics.samples("late", since=NOW, keep=False)
            assert [sample.at.second for sample in found] == [0, second]
            assert found[-1].counts["a"].requests["2xx"] == second
        # As somebody does who draws the pages with an earlier time in MODELYARD_NOW.
        clock.moment = NOW - timedelta(days=1)
        (found,) = metrics.samples("late", since=clock.moment, keep=False)
        assert found.at == clock.moment
    clock.moment = NOW + timedelta(seconds=9)
    assert [sample.at.second for sample in metrics.samples("late", since=NOW)] == [0]


def test_a_line_that_was_cut_short_loses_no_other_line(tmp_path: Path):
    clock = FixedClock()
    metrics = ScrapeMetrics(tmp_path, Repository(), clock)
    path = tmp_path / ".modelyard" / "cluster" / "samples" / "late.jsonl"
    with exposed(Server("a")) as one:
        name(tmp_path, one)
        metrics.samples("late", since=NOW)
        path.write_bytes(path.read_bytes() + b'{"at": "2026-01-01T00:0')
        clock.moment = NOW + timedelta(seconds=1)
        metrics.samples("late", since=NOW)
    assert [sample.at.second for sample in metrics.samples("late", since=NOW)] == [0, 1]


@pytest.mark.long
def test_old_samples_thin_out_but_the_first_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    clock = FixedClock()
    metrics = ScrapeMetrics(tmp_path, Repository(), clock)
    with exposed(Server("a")) as one:
        name(tmp_path, one)
        metrics.samples("late", since=NOW)
        path = tmp_path / ".modelyard" / "cluster" / "samples" / "late.jsonl"
        monkeypatch.setattr(under_test, "MAX_BYTES", 12 * path.stat().st_size)
        for second in range(1, 60):
            clock.moment = NOW + timedelta(seconds=second)
            metrics.samples("late", since=NOW)
    seconds = [sample.at.second for sample in metrics.samples("late", since=NOW)]
    assert path.stat().st_size <= under_test.MAX_BYTES
    assert len(seconds) >= 6
    assert (seconds[0], seconds[-1]) == (0, 59)


def test_samples_of_a_time_that_was_set_back_never_come_between_later_ones(tmp_path: Path):
    clock = FixedClock()
    metrics = ScrapeMetrics(tmp_path, Repository(), clock)
    with exposed(Server("a")) as server:
        name(tmp_path, server)
        for minutes in (0, 1, -59, -58, 0.5, 5):
            clock.moment = NOW + timedelta(minutes=minutes)
            server.answer("AA", 1.0, 40.0)
            found = metrics.samples("late", since=NOW - timedelta(hours=2))
            assert [sample.counts["a"].rows for sample in found] == sorted(
                sample.counts["a"].rows for sample in found
            )
    assert [round((s.at - NOW).total_seconds() / 60, 1) for s in found] == [-59, -58, 0.5, 5]


def test_what_a_full_disk_does_not_take_is_judged_and_written_later(tmp_path: Path):
    clock = FixedClock()
    metrics = ScrapeMetrics(tmp_path, Repository(), clock)
    samples = tmp_path / ".modelyard/cluster/samples/late.jsonl"
    most, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with exposed(Server("a")) as server:
        name(tmp_path, server)

        def look(second: int) -> int:
            clock.moment = NOW + timedelta(seconds=second)
            server.answer("AA", 1.0, 40.0)
            return len(metrics.samples("late", since=NOW))

        assert look(0) == 1
        resource.setrlimit(resource.RLIMIT_FSIZE, (samples.stat().st_size + 1500, hard))
        try:
            assert [look(second) for second in range(1, 5)] == [2, 3, 4, 5]
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
        assert look(5) == 6
    again = ScrapeMetrics(tmp_path, Repository(), clock)
    assert len(again.samples("late", since=NOW)) == 6
