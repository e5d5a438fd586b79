"""How fast the model server answers, beside the servers that a user would pick instead.

The same model, the same client and the same machine, in interleaved rounds: what disturbs the
machine disturbs all of them. CPU seconds say more than times where others use the machine too.

Run it as a script; it prints JSON. `--against mlflow,mlserver` adds `mlflow models serve` and
MLServer with its batching, which uv installs in a folder of `--cache` the first time. `--minutes N`
adds the memory of our server under load.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil
import threadpoolctl
from closed_loop import Load, send_load
from served_flights import Candidate, candidates, make_artifact, sample_rows

from modelyard.adapters.cluster.local_servers import free_port
from modelyard.artifact_digest import artifact_digest
from modelyard.serving.predictor import load_predictor

CELLS = ((1, 1), (8, 1), (32, 1), (1, 1000), (8, 1000))
"""Connections and rows a request."""

START_SECONDS = 300.0

_TURN_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class Started:
    """A running server."""

    candidate: Candidate
    port: int
    process: psutil.Process
    start_cpu: float

    @property
    def processes(self) -> list[psutil.Process]:
        """It and its children."""
        return [self.process, *self.process.children(recursive=True)]

    @property
    def cpu_seconds(self) -> float:
        """What all of them used until now."""
        times = [process.cpu_times() for process in self.processes]
        return sum(each.user + each.system for each in times)

    @property
    def megabytes(self) -> float:
        """The memory of all of them."""
        return sum(each.memory_info().rss for each in self.processes) / 2**20


@contextmanager
def started(candidate: Candidate, cache: Path) -> Iterator[Started]:
    """Start a server; it has answered its health check and one request."""
    ports = [free_port(f"{candidate.name}-{number}") for number in range(3)]
    names = {"port": str(ports[0]), "port1": str(ports[1]), "port2": str(ports[2])}
    command = [_filled(word, names) for word in candidate.command]
    template = cache / "mlserver-settings" / "settings.template"
    if candidate.name == "mlserver":
        (template.parent / "settings.json").write_text(_filled(template.read_text(), names))
    with (cache / f"{candidate.name}.log").open("wb") as log:
        # MLflow starts uvicorn by its name.
        path = f"{Path(command[0]).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "PATH": path}
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=cache)
    try:
        _wait(process, candidate, ports[0])
        server = Started(
            candidate=candidate, port=ports[0], process=psutil.Process(process.pid), start_cpu=0.0
        )
        yield Started(**{**vars(server), "start_cpu": server.cpu_seconds})
    finally:
        if process.poll() is None:
            for each in [*psutil.Process(process.pid).children(recursive=True), process]:
                each.terminate()
            process.wait(30)


def _filled(text: str, names: dict[str, str]) -> str:
    for name, value in names.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def _wait(process: subprocess.Popen[bytes], candidate: Candidate, port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            load = send_load(port, candidate.request(1), connections=1, seconds=0.0001)
            if not load.refused:
                return
        except (OSError, EOFError):
            pass
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"{candidate.name} does not start: see its log in the cache")
        time.sleep(0.1)


def measure(server: Started, *, connections: int, rows: int, seconds: float) -> dict[str, float]:
    """One cell of one round."""
    check = server.candidate.check if connections > 8 else None
    before = server.cpu_seconds
    load = send_load(
        server.port,
        server.candidate.request(rows),
        connections=connections,
        seconds=seconds,
        health=check,
    )
    found = figures_of(load, name=server.candidate.name, cpu_seconds=server.cpu_seconds - before)
    if load.health:
        found["health_p99_ms"] = 1000 * float(np.percentile(load.health, 99))
    return found


def figures_of(load: Load, *, name: str, cpu_seconds: float) -> dict[str, float]:
    """What a load shows of a server that used so much CPU for it."""
    if load.refused:
        raise SystemExit(f"{name}: {load.refused} answers were not 200")
    return {
        "requests_per_second": len(load.latencies) / load.seconds,
        "p50_ms": 1000 * float(np.percentile(load.latencies, 50)),
        "p99_ms": 1000 * float(np.percentile(load.latencies, 99)),
        "cpu_seconds_per_1000": 1000 * cpu_seconds / len(load.latencies),
    }


class BareModel:
    """The loaded model in this process, called with a frame that is there already."""

    def __init__(self, artifact: Path) -> None:
        predictor = load_predictor(artifact, artifact_digest(artifact), ("numpy.dtype",))
        self._answer, self._frame = predictor.answer, sample_rows(artifact)

    def cpu_seconds(self, *, rows: int, seconds: float) -> tuple[float, int]:
        """CPU seconds of so long a time of calls, and how many calls there were."""
        part, calls = self._frame.head(rows), 0
        end, before = time.perf_counter() + seconds, time.thread_time()
        with threadpoolctl.threadpool_limits(limits=1):
            while time.perf_counter() < end:
                self._answer(part)
                calls += 1
        return time.thread_time() - before, calls


def beside_bare(server: Started, bare: BareModel, *, rows: int, seconds: float) -> dict[str, float]:
    """CPU seconds a 1,000 calls of the bare model and a 1,000 requests at 1 connection.

    Both take turns of a fifth of a second: other machines slow this one down for seconds at a time.
    """
    alone, calls, requests = 0.0, 0, 0
    before = server.cpu_seconds
    for _ in range(max(1, round(seconds / _TURN_SECONDS))):
        spent, made = bare.cpu_seconds(rows=rows, seconds=_TURN_SECONDS)
        alone, calls = alone + spent, calls + made
        request = server.candidate.request(rows)
        load = send_load(server.port, request, connections=1, seconds=_TURN_SECONDS)
        requests += len(load.latencies)
    served = server.cpu_seconds - before
    return {
        "bare_cpu_seconds_per_1000": 1000 * alone / calls,
        "cpu_seconds_per_1000": 1000 * served / requests,
        "share_of_the_bare_model": alone / calls / (served / requests),
    }


def memory_over_time(server: Started, *, minutes: float) -> dict[str, float]:
    """Memory after the first and the last tenth of a load of 8 connections, 1 row, in MB."""
    tenth, found = minutes * 6, []
    for _ in range(10):
        send_load(server.port, server.candidate.request(1), connections=8, seconds=tenth)
        found.append(server.megabytes)
    return {"minutes": minutes, "first": found[0], "last": found[-1], "most": max(found)}


def main(arguments: Sequence[str]) -> None:
    """Print the results."""
    options = _options(arguments)
    options.cache.mkdir(parents=True, exist_ok=True)
    artifact = make_artifact(options.cache)
    names = ["modelyard", *filter(None, options.against.split(","))]
    bare, results = BareModel(artifact), dict[str, Any]()
    rounds: dict[tuple[str, str], list[dict[str, float]]] = {}
    with ExitStack() as stack:
        servers = [
            stack.enter_context(started(each, options.cache))
            for each in candidates(options.cache, artifact, names)
        ]
        results["start_cpu_seconds"] = {s.candidate.name: round(s.start_cpu, 2) for s in servers}
        results["megabytes_after_load"] = {s.candidate.name: round(s.megabytes) for s in servers}
        results["beside_the_bare_model"] = {
            f"1 connections, {rows} rows": median_of(
                [
                    beside_bare(servers[0], bare, rows=rows, seconds=options.seconds)
                    for _ in range(options.rounds)
                ]
            )
            for rows in (1, 1000)
        }
        for number in range(options.rounds):
            for connections, rows in CELLS:
                for server in servers if number % 2 else reversed(servers):
                    found = measure(
                        server, connections=connections, rows=rows, seconds=options.seconds
                    )
                    cell = f"{connections} connections, {rows} rows"
                    rounds.setdefault((cell, server.candidate.name), []).append(found)
        if options.minutes:
            results["memory"] = memory_over_time(servers[0], minutes=options.minutes)
    results["cells"] = summarize(rounds)
    json.dump(results, sys.stdout, indent=1)
    print()


def median_of(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
    """The median of each figure."""
    return {key: round(median(each[key] for each in rounds), 3) for key in rounds[0]}


def summarize(
    rounds: dict[tuple[str, str], list[dict[str, float]]],
) -> dict[str, dict[str, dict[str, float]]]:
    """The median of the rounds, and for others the median of our figure divided by theirs."""
    cells: dict[str, dict[str, dict[str, float]]] = {}
    for (cell, name), found in rounds.items():
        ours = rounds[cell, "modelyard"]
        figures = cells.setdefault(cell, {}).setdefault(name, {})
        for key in found[0]:
            figures[key] = round(median(each[key] for each in found), 3)
            if name != "modelyard":
                ratios = [mine[key] / theirs[key] for mine, theirs in zip(ours, found, strict=True)]
                figures[f"ours/theirs {key}"] = round(median(ratios), 3)
    return cells


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", default="", help="mlflow, mlserver, or both with a comma")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each cell in each round")
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/modelyard-bench").expanduser())
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
