from __future__ import annotations

import json
import math
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from prometheus_client import CollectorRegistry

import modelyard.adapters.metrics.prometheus_query as under_test
from adapters.metrics.test_scrape import SERVING, Server, exposed
from modelyard.adapters.metrics.prometheus import PrometheusMetrics, parse_readings
from modelyard.adapters.metrics.prometheus_query import Series
from modelyard.domain.canary.arms import count_arm
from modelyard.domain.canary.fleet import ServerReading
from modelyard.domain.canary.traffic import Counts, Sample
from modelyard.errors import CannotAnswer, Refused
from modelyard.serving.counters import Counters

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
PROMETHEUS = shutil.which("prometheus")


@dataclass
class Clock:
    moment: datetime = NOW

    def now(self) -> datetime:
        return self.moment


@dataclass
class Scripted:
    """Answers every question the same way, and remembers them."""

    body: bytes = b'{"status":"success","data":{"resultType":"matrix","result":[]}}'
    status: int = 200
    length: int | None = None
    stalls: threading.Event | None = None
    paths: list[str] = field(default_factory=list)
    authorization: list[str | None] = field(default_factory=list)
    uri: str = ""

    def asked(self, name: str) -> list[str]:
        return [parse_qs(urlsplit(path).query)[name][0] for path in self.paths]


@contextmanager
def answering(scripted: Scripted) -> Iterator[Scripted]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            scripted.paths.append(self.path)
            scripted.authorization.append(self.headers["Authorization"])
            self.send_response(scripted.status)
            length = len(scripted.body) if scripted.length is None else scripted.length
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(scripted.body)
            if scripted.stalls:
                self.wfile.flush()
                scripted.stalls.wait(10)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        scripted.uri = f"http://127.0.0.1:{http.server_address[1]}"
        try:
            yield scripted
        finally:
            if scripted.stalls:
                scripted.stalls.set()
            http.shutdown()
            thread.join()


def matrix(*series: dict[str, object], **rest: object) -> bytes:
    data = {"resultType": "matrix", "result": series}
    return json.dumps({"status": "success", "data": data, **rest}).encode()


def one(name: str, values: list[list[object]], **labels: str) -> dict[str, object]:
    server = {"model": "late", "release": "r", "pod": "p"}
    return {"metric": {"__name__": f"modelyard_{name}_total", **server, **labels}, "values": values}


def ok(*values: list[object]) -> bytes:
    """One server's three series that are never missing."""
    times = [[at, "0"] for at, _ in values]
    requests = [one("requests", times, code_class="5xx")]
    requests += [one("requests", [*values], code_class="2xx")]
    return matrix(*requests, one("rows", [*values]))


def asked_of(uri: str, clock: Clock | None = None) -> tuple[Sample, ...]:
    return PrometheusMetrics(uri, clock or Clock()).samples("late", since=NOW)


def test_a_server_answer_becomes_samples():
    at = NOW.timestamp()
    with answering(Scripted(ok([at - 1, "10"], [at + 4, "25"]))) as scripted:
        found = asked_of(scripted.uri, Clock(NOW + timedelta(seconds=5)))

    counts = [Counts(requests={"2xx": n, "5xx": 0}, rows=n, servers=0) for n in (0, 15)]
    assert found == (
        Sample(at=NOW, counts={"r": counts[0]}),
        Sample(at=NOW + timedelta(seconds=5), counts={"r": counts[1]}),
    )
    assert scripted.asked("query") == [
        '{__name__=~"modelyard_requests_total|modelyard_rows_total|modelyard_predictions_total'
        "|modelyard_input_nulls_total|modelyard_input_unseen_total"
        "|modelyard_request_row_pairs_total|modelyard_requests_refused_total"
        "|modelyard_request_seconds_bucket|modelyard_input_cells_total"
        "|modelyard_segment_predictions_total"
        "|modelyard_shadow_rows_total|modelyard_shadow_lost_total"
        '|modelyard_start_time_seconds",model="late"}[305000ms]'
    ]
    assert scripted.asked("time") == [f"{at + 5:.3f}"]


def test_a_long_window_is_read_in_blocks_and_only_once():
    clock = Clock(NOW + timedelta(hours=1))
    with answering(Scripted()) as scripted:
        metrics = PrometheusMetrics(scripted.uri, clock)
        metrics.samples("late", since=NOW)
        first, scripted.paths = scripted.asked("query"), []
        clock.moment += timedelta(seconds=2)
        metrics.samples("late", since=NOW)
        metrics.samples("late", since=NOW + timedelta(minutes=59))
        again = scripted.asked("query")

    assert [query.rpartition("[")[2] for query in first] == ["600000ms]"] * 6 + ["300000ms]"]
    assert [query.rpartition("[")[2] for query in again] == ["17000ms]", "362000ms]"]


def test_what_was_read_before_prometheus_went_away_is_not_read_again():
    clock = Clock(NOW + timedelta(hours=1))
    with answering(Scripted()) as scripted:
        metrics = PrometheusMetrics(scripted.uri, clock)
        metrics.samples("late", since=NOW)
        scripted.status = 503
        with pytest.raises(CannotAnswer, match="answered 503"):
            metrics.samples("late", since=NOW)
        scripted.status, scripted.paths = 200, []
        metrics.samples("late", since=NOW)
        assert len(scripted.paths) == 1


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-1", "seven", None])
def test_an_unreadable_value_is_no_data_never_zero(value):
    series = [
        Series(labels=one(name, [], **labels)["metric"], values=[(1.0, "3"), (6.0, told)])
        for name, labels, told in (
            ("rows", {}, "5"),
            ("requests", {"code_class": "2xx"}, "5"),
            ("requests", {"code_class": "5xx"}, value),
        )
    ]
    counters = {("rows", ""): 3.0, ("requests", "2xx"): 3.0, ("requests", "5xx"): 3.0}
    server = "[('model', 'late'), ('pod', 'p'), ('release', 'r')]"
    assert [*parse_readings(series)] == [
        ServerReading(at=1.0, server=server, release="r", counters=counters)
    ]


@pytest.mark.parametrize(("value", "started"), [("1769947200.25", 1769947200.25), ("0", None)])
def test_the_start_of_a_process_is_read_and_is_no_count(value, started):
    labels = {"release": "r", "model": "late", "pod": "p"}
    series = [
        Series(labels={"__name__": f"modelyard_{name}", **labels}, values=[(1.0, text)])
        for name, text in (("rows_total", "3"), ("start_time_seconds", value))
    ]
    ((found),) = parse_readings(series)
    assert (found.started, found.counters) == (started, {("rows", ""): 3.0})


@pytest.mark.parametrize(
    ("le", "bound"), [("1", "1"), ("1.0", "1"), ("0.025", "0.025"), ("+Inf", "inf")]
)
def test_response_times_are_read_by_bound_however_a_version_writes_it(le, bound):
    labels = {"release": "r", "model": "late", "pod": "p"}
    series = [
        Series(
            labels={"__name__": "modelyard_request_seconds_bucket", "le": le, **labels},
            values=[(1.0, "3")],
        ),
        Series(
            labels={"__name__": "modelyard_requests_refused_total", **labels}, values=[(1.0, "2")]
        ),
    ]
    ((counters,),) = [[reading.counters for reading in parse_readings(series)]]
    assert counters == {("within", bound): 3.0, ("refused", ""): 2.0}


def test_refusals_and_response_times_of_prometheus_reach_the_judge():
    at = NOW.timestamp()

    def counted(name, before, after, **labels):
        return one(name, [[at - 1, str(before)], [at + 4, str(after)]], **labels)

    times = [counted("seconds", 10, 15, le="0.01"), counted("seconds", 10, 25, le="+Inf")]
    for each in times:
        each["metric"]["__name__"] = "modelyard_request_seconds_bucket"
    body = matrix(
        *times,
        counted("requests", 10, 12, code_class="2xx"),
        counted("requests", 0, 13, code_class="4xx"),
        counted("requests", 0, 0, code_class="5xx"),
        counted("rows", 10, 12),
        counted("requests_refused", 0, 13),
    )
    with answering(Scripted(body)) as scripted:
        found = asked_of(scripted.uri, Clock(NOW + timedelta(seconds=5)))

    assert found[-1].counts["r"] == Counts(
        servers=0,
        requests={"2xx": 2, "4xx": 13, "5xx": 0},
        rows=2,
        refused=13,
        within={"0.01": 5, "inf": 15},
    )


def test_a_name_is_one_object_in_all_samples():
    found = []
    for place in ("7", "7"):
        cell = f"a:0={place}"
        metric = {"__name__": "modelyard_segment_predictions_total", "release": "r", "cell": cell}
        (reading,) = parse_readings([Series(labels=metric, values=[(1.0, "3")])])
        found += [name for _, name in reading.counters]
    assert found == ["a:0=7", "a:0=7"]
    assert found[0] is found[1]


def test_series_of_other_metrics_are_left_out():
    labels = [
        {"__name__": "modelyard_rows_total", "pod": "p"},
        {"__name__": "modelyard_predictions_total", "release": "r", "bin": "last"},
        {"__name__": "modelyard_requests_total", "release": "r"},
        {"__name__": "up", "release": "r"},
    ]
    assert [*parse_readings(Series(labels=each, values=[(1.0, "3")]) for each in labels)] == []


@pytest.mark.parametrize(
    ("scripted", "said"),
    [
        (Scripted(b"oops", 502), "answered 502 with no JSON"),
        (Scripted(b"<html>"), "answered 200 with no JSON"),
        (Scripted(b"[]"), "answered 200: without a reason"),
        (
            Scripted(b'{"status":"error","error":"query\\u001b timed out"}', 422),
            "answered 422: query timed out",
        ),
        (Scripted(matrix(warnings=["one store is away"])), "answered in part: "),
        (Scripted(b'{"status":"success"}'), "answered with no samples"),
        (Scripted(b'{"status":"success","data":{"resultType":"vector"}}'), "with a vector"),
        (Scripted(matrix({"values": [[1, "1"]]})), "answered with no samples"),
        (Scripted(matrix(one("rows", [[1]]))), "answered with no samples"),
        (Scripted(matrix(one("rows", [["1", "1"]]))), "answered with no samples"),
        (Scripted(matrix({"metric": 5})), "answered with no samples"),
        (Scripted(matrix(), length=5000), "is out of reach: "),
        (Scripted(b"", 301), "answered 301 with no JSON"),
    ],
)
def test_an_unusable_answer_is_reported_with_the_address_and_what_to_do(scripted, said):
    with answering(scripted), pytest.raises(CannotAnswer) as caught:
        asked_of(scripted.uri)
    assert caught.value.message.startswith(f"Prometheus at {scripted.uri} ")
    assert said in caught.value.message
    assert caught.value.message.isprintable()
    assert caught.value.hint == f"curl {scripted.uri}/-/ready"


def test_an_unreachable_prometheus_is_named_without_its_credentials():
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(CannotAnswer) as caught:
        asked_of(f"http://ada:secret@127.0.0.1:{port}/team/")
    said = caught.value.message
    assert said.startswith(f"Prometheus at http://127.0.0.1:{port}/team is out of reach: ")
    assert "secret" not in f"{said}{caught.value.hint}"


def test_an_answer_that_takes_too_long_is_given_up(monkeypatch):
    monkeypatch.setattr(under_test, "READ_SECONDS", 0.2)
    slow = Scripted(b"{", length=100, stalls=threading.Event())
    with answering(slow), pytest.raises(CannotAnswer, match="is out of reach: timed out"):
        asked_of(slow.uri)


def test_an_answer_that_is_too_long_is_refused(monkeypatch):
    monkeypatch.setattr(under_test, "MAX_BYTES", 2**20)
    with answering(Scripted(b" " * (2**20 + 1))) as long, pytest.raises(CannotAnswer) as caught:
        asked_of(long.uri)
    assert caught.value.message.endswith("answered more than 1 MB")


def test_the_password_is_sent_and_a_path_kept_and_no_proxy_asked(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with answering(Scripted()) as scripted:
        asked_of(scripted.uri.replace("//", "//ada:s%40cret@") + "/team")
    assert scripted.authorization == ["Basic YWRhOnNAY3JldA=="]
    assert scripted.paths[0].startswith("/team/api/v1/query?query=")


@pytest.mark.parametrize("model", ['m"}', "", "M", "a|b"])
def test_refuses_a_text_that_is_not_a_models_name(model):
    with answering(Scripted()) as scripted, pytest.raises(Refused, match="is not a name"):
        PrometheusMetrics(scripted.uri, Clock()).samples(model, since=NOW)
    assert scripted.paths == []


# A real one


def restarted(server: Server, release: str) -> None:
    """The server's process is a new one, which counts from zero."""
    server.registry = CollectorRegistry()
    labels = {"model": "late", "version": "v", "release": release, "digest": "d"}
    server.counters = Counters(labels, SERVING, server.registry)


@contextmanager
def scraping(folder: Path) -> Iterator[tuple[str, Callable[..., None]]]:
    """A Prometheus of its own; its address, and how to tell it whom to scrape."""
    if PROMETHEUS is None:
        pytest.skip("prometheus is not installed: apt-get install prometheus")
    targets, settings = folder / "targets.json", folder / "prometheus.yml"
    targets.write_text("[]")
    settings.write_text(
        "global: {scrape_interval: 250ms, scrape_timeout: 250ms}\n"
        "scrape_configs:\n- job_name: servers\n"
        f"  file_sd_configs: [{{files: ['{targets}'], refresh_interval: 200ms}}]\n"
    )
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    uri = f"http://127.0.0.1:{port}"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                PROMETHEUS,
                f"--config.file={settings}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )

    def scrape(*servers: Server) -> None:
        addresses = [server.url.removeprefix("http://") for server in servers]
        beside = targets.with_suffix(".new")
        beside.write_text(json.dumps([{"targets": addresses}]))
        beside.replace(targets)

    try:
        eventually(partial(is_ready, uri))
        yield uri, scrape
    finally:
        process.terminate()
        process.wait(30)


def is_ready(uri: str) -> bool:
    with urllib.request.urlopen(f"{uri}/-/ready", timeout=5) as answer:  # noqa: S310 - our own
        return answer.status == 200


def eventually(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            if is_so():
                return
        except OSError:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.05)


class RealClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


@pytest.mark.slow
def test_a_real_prometheus_has_what_servers_counted_across_restarts_and_removals(tmp_path):
    with ExitStack() as stack:
        uri, scrape = stack.enter_context(scraping(tmp_path))
        stable, twin, canary = (stack.enter_context(exposed(Server(r))) for r in ("s", "s", "c"))
        stable.answer("AA", 1.0, 10.0)
        scrape(stable)
        begun = datetime.now(UTC)
        metrics = PrometheusMetrics(uri, RealClock())
        eventually(lambda: bool(metrics.samples("late", since=begun)))
        since = metrics.samples("late", since=begun)[0].at  # stable is surely known by then

        def counted(release: str, *, is_new: bool) -> tuple[float, float, float]:
            found = count_arm(metrics.samples("late", since=since), release, is_new=is_new)
            return found.answered[-1], found.errors[-1], sum(found.predictions[-1])

        for _ in range(7):
            canary.answer("AA", 1.0, 20.0)
        canary.fail(500)
        scrape(stable, canary)
        eventually(lambda: counted("c", is_new=True) == (8, 1, 7))
        assert counted("s", is_new=False) == (0, 0, 0)

        twin.answer("AA", 1.0, 30.0)
        scrape(stable, canary, twin)
        eventually(lambda: counted("s", is_new=False) == (1, 0, 1))
        restarted(canary, "c")
        canary.answer("AA", 1.0, 90.0)
        canary.fail(500)
        eventually(lambda: counted("c", is_new=True) == (10, 2, 8))
        scrape(canary)
        stopped = datetime.now(UTC)
        canary.fail(503)
        eventually(lambda: counted("c", is_new=True) == (11, 3, 8))
        assert counted("s", is_new=False) == (1, 0, 1)

        later = Clock(stopped + timedelta(seconds=20))

        def read() -> tuple[Sample, ...]:
            return PrometheusMetrics(uri, later).samples("late", since=since)

        eventually(lambda: read() == read())  # a scrape may come between two of them
        told = read()
        assert told[-1] == Sample(at=later.moment, counts={})
        assert count_arm(told, "c", is_new=True).answered[-1] == 11
        assert not math.isnan(count_arm(told, "s", is_new=False).answered[-1])
