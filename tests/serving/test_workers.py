"""Several worker processes on one port: what a client and the judge see of them."""

from __future__ import annotations

import gc
import http.client
import itertools
import json
import os
import signal
import socket
import threading
import time
from collections import Counter
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import httpx
import psutil
import pyarrow.parquet as pq
import pytest
from prometheus_client import CollectorRegistry, enable_created_metrics

from modelyard.adapters.cluster.local_servers import free_port
from modelyard.serving import server
from serving.artifacts import MODEL, TRUSTED
from serving.running import Running, preloaded_socket, request, serve_to_the_end, serving, until
from serving.test_server import Artifact, changed, counts

WORKERS = ("--workers", "2")


@pytest.fixture(autouse=True)
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELYARD_PRELOADED", str(preloaded_socket()))


def workers(running: Running) -> dict[int, float]:
    """CPU seconds of each worker, by process."""
    children = psutil.Process(running.process.pid).children()
    return {each.pid: sum(each.cpu_times()[:2]) for each in children}


def send_many(running: Running, name: str, answers: Counter[str], stop: threading.Event) -> None:
    """Send until told to stop, on one connection while that is kept."""
    port = running.client.base_url.port
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    number = 0
    with closing(link):
        while not stop.is_set():
            number += 1
            body = json.dumps({**request(rows=2), "id": f"{name}-{number}"})
            try:
                link.request("POST", f"/v2/models/{MODEL.name}/infer", body)
                with link.getresponse() as answer:
                    answer.read()
                    answers[str(answer.status)] += 1
            except (OSError, http.client.HTTPException):
                answers["lost"] += 1
                link.close()


def watch(
    running: Running, seen: list[dict[tuple[str, str], float]], stop: threading.Event
) -> None:
    """Look at the counters again and again, each time on a new connection, as the judge does."""
    url, closes = running.client.base_url, {"connection": "close"}
    with httpx.Client(base_url=url, headers=closes, timeout=60) as client:
        while not stop.is_set():
            with suppress(httpx.TransportError):  # of the worker that is killed
                seen.append(counts(replace(running, client=client)))
            time.sleep(0.02)


def fallen(seen: list[dict[tuple[str, str], float]]) -> set[tuple[str, str]]:
    """The counters that were less at a later look, or not there."""
    return {
        key
        for before, after in itertools.pairwise(seen)
        for key, value in before.items()
        if "in_flight" not in key[0] and after.get(key, -1) < value
    }


def logged(running: Running) -> list[str]:
    assert not list(running.payloads.glob(".*"))
    parts = [pq.read_table(each) for each in running.payloads.glob("*.parquet")]
    return [f"{row['request']} {row['row']}" for part in parts for row in part.to_pylist()]


def total(counted: dict[tuple[str, str], float], name: str, label: str = "") -> float:
    return counted[f"modelyard_{name}", label]


def test_a_worker_that_dies_is_replaced_and_nothing_that_was_counted_is_lost(
    artifact: Artifact, tmp_path: Path
):
    answers, stop = Counter[str](), threading.Event()
    seen: list[dict[tuple[str, str], float]] = []
    with serving(artifact, tmp_path, *WORKERS) as running:
        first = workers(running)
        seen.append(counts(running))
        threads = [
            threading.Thread(target=send_many, args=(running, f"{at}", answers, stop))
            for at in range(6)
        ]
        threads.append(threading.Thread(target=watch, args=(running, seen, stop)))
        for each in threads:
            each.start()
        # Each of the two takes a part of the connections.
        until(lambda: all(now > first[pid] + 0.05 for pid, now in workers(running).items()))
        os.kill(min(first), signal.SIGKILL)
        until(lambda: "is replaced" in running.log.read_text(), running.process)
        until(lambda: len(workers(running)) == 2, running.process)
        before = answers["200"]
        until(lambda: answers["200"] > before + 30, running.process)
        stop.set()
        for each in threads:
            each.join()
        # What the one that died had not answered is counted by the one that replaces it.
        until(lambda: not total(counts(running), "requests_in_flight"), running.process)
        seen.append(counts(running))
    after = seen[-1]
    assert set(answers) <= {"200", "lost"}
    assert not fallen(seen)
    assert total(after, "start_time_seconds") == total(seen[0], "start_time_seconds")
    assert total(after, "model_info") == 1
    good, bad = (total(after, "requests_total", kind) for kind in ("2xx", "5xx"))
    # A request of the one that died may have had its rows counted, and not yet its own answer.
    cut_short = total(after, "rows_total") / 2 - good
    assert 0 <= cut_short <= answers["lost"]
    assert total(after, "request_seconds_count") == good + bad
    # One that was answered and counted may be lost on its way.
    assert answers["200"] <= good <= answers["200"] + answers["lost"]
    assert bad <= answers["lost"] <= 6
    rows = logged(running)
    assert len(set(rows)) == len(rows)
    assert len(rows) <= 2 * (good + cut_short)


@pytest.mark.long
def test_a_refusal_ends_all_workers_and_is_told_as_that_of_one_process(
    artifact: Artifact, tmp_path: Path
):
    pinned = artifact[0], "sha256:" + "0" * 64
    code, said = serve_to_the_end(pinned, tmp_path, free_port(f"{tmp_path}"), *WORKERS)
    assert code == 3
    assert any(line.startswith("error: artifact") and "0000" in line for line in said.splitlines())


@pytest.mark.long
def test_a_fault_of_the_model_ends_all_workers_and_blames_the_version(
    artifact: Artifact, tmp_path: Path
):
    drifted = changed(artifact, tmp_path / "changed", 1e-4)
    code, said = serve_to_the_end(drifted, tmp_path, free_port(f"{tmp_path}"), *WORKERS)
    assert code == 4
    assert "error: model late: golden scores differ by up to 0.0001" in said


@pytest.mark.long
@pytest.mark.parametrize("workers", ["1", "2"], ids="workers {}".format)
def test_a_port_that_another_process_has_is_named_and_is_no_refusal(
    artifact: Artifact, tmp_path: Path, workers: str
):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code, said = serve_to_the_end(artifact, tmp_path, port, "--workers", workers)
    assert code == 1
    assert f"error: 127.0.0.1:{port}: cannot be listened on" in said


@pytest.mark.long
def test_a_model_that_differs_is_given_no_end_while_it_waits_for_other_workers(
    artifact: Artifact, tmp_path: Path
):
    folder, digest = changed(artifact, tmp_path / "changed", 1e-4)
    running: list[threading.Timer] = []

    def when_loaded() -> None:
        running.extend(each for each in threading.enumerate() if isinstance(each, threading.Timer))
        for each in running:
            each.cancel()
        raise InterruptedError

    settings = server.Settings(
        model=MODEL.name,
        version="v1",
        release="r1",
        artifact=digest,
        folder=folder,
        port=0,
        trusted_types=TRUSTED,
    )
    try:
        with pytest.raises(InterruptedError):
            server._serve(settings, None, CollectorRegistry(), when_loaded=when_loaded)
    finally:
        gc.unfreeze()
        enable_created_metrics()
    assert not running


def test_workers_end_with_the_process_that_started_them(artifact: Artifact, tmp_path: Path):
    with serving(artifact, tmp_path, *WORKERS) as running:
        started = [psutil.Process(pid) for pid in workers(running)]
        assert len(started) == 2
        running.infer(request(rows=3))
        os.kill(running.process.pid, signal.SIGKILL)
        until(lambda: not any(each.is_running() for each in started))
    assert len(logged(running)) == 3
