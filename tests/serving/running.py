"""Real server processes, for whoever tests with one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from built_once import AT_START, built_once, run_process
from modelyard.adapters.cluster.local_servers import free_port
from modelyard.adapters.processes.preloaded import READ_ONCE
from modelyard.adapters.processes.process_table import Started
from modelyard.adapters.processes.start import (
    is_process_alive,
    run_command,
    start_modelyard,
    stop_process,
)
from modelyard.serving.documents import json_rows
from modelyard.serving.inputs import tensors_of_rows
from serving.artifacts import MODEL, TRUSTED, flights

START_SECONDS = 60.0


def preloaded_socket() -> Path:
    """The socket of one preloaded process for the whole test run."""
    return built_once("preloaded", _start_preloaded)


def _start_preloaded(folder: Path) -> Path:
    folder.mkdir()
    address = folder / "socket"
    # Libraries set more of these when they are imported, and not every worker imports them.
    environment = {
        name: value
        for name, value in os.environ.items()
        if name in AT_START or not name.startswith(READ_ONCE)
    }
    # Its stdin stays open until the run is over, whichever worker ends first.
    preloaded = subprocess.Popen(
        ["sh", "-c", '(while [ -e "$0" ] && kill -0 "$1"; do sleep 0.5; done) 2>&- | "$2" -m'
         ' modelyard preload --socket "$0"/socket', folder, run_process(), sys.executable],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    assert preloaded.stdout is not None
    assert preloaded.stdout.readline() == b"ready\n"
    preloaded.stdout.close()
    preloaded.returncode = 0  # it outlives this process, of which Popen would complain
    return address


@dataclass(frozen=True, kw_only=True)
class Running:
    """A server process and a client of it."""

    process: Started
    client: httpx.Client
    payloads: Path
    log: Path

    def infer(self, document: object = None, **options: Any) -> httpx.Response:
        path = f"/v2/models/{MODEL.name}/infer"
        if document is not None:
            options["json"] = document
        return self.client.post(path, **options)

    def is_ready(self) -> bool:
        try:
            return self.client.get(f"/v2/models/{MODEL.name}/ready").status_code == 200
        except httpx.TransportError:
            return False


@contextmanager
def serving(
    artifact: tuple[Path, str],
    folder: Path,
    *options: str,
    version: str = "v1",
    release: str = "r1",
    wait: bool = True,
) -> Iterator[Running]:
    """Run `modelyard serve` on an artifact; stopped at the end if it still runs."""
    port = free_port(f"{folder}")
    arguments = _arguments(artifact, folder, port, *options, version=version, release=release)
    process = start_modelyard(arguments, cwd=folder, log=folder / "log")
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        running = Running(
            process=process, client=client, payloads=folder / "payloads", log=folder / "log"
        )
        try:
            if wait:
                until(running.is_ready, process)
            yield running
        finally:
            stop_process(process, grace_seconds=10)


def serve_to_the_end(
    artifact: tuple[Path, str], folder: Path, port: int, *options: str
) -> tuple[int, str]:
    """Run `modelyard serve` until it ends by itself; its exit code, and what it said."""
    code = run_command(
        ["modelyard", *_arguments(artifact, folder, port, *options)],
        cwd=folder,
        environment=os.environ,
        output=folder / "log",
        timeout=2 * START_SECONDS,
    )
    return code, (folder / "log").read_text()


def _arguments(
    artifact: tuple[Path, str],
    folder: Path,
    port: int,
    *options: str,
    version: str = "v1",
    release: str = "r1",
) -> list[str]:
    return [
        *("serve", "--model", MODEL.name, "--version", version, "--release", release),
        *("--artifact", artifact[1], "--folder", str(artifact[0]), "--port", str(port)),
        *("--payload-log", str(folder / "payloads")),
        *(word for name in TRUSTED for word in ("--trusted-type", name)),
        *options,
    ]


def until(done: Any, process: Started | None = None) -> None:
    """Wait until it is so; fails when the process ends or time runs out."""
    deadline = time.monotonic() + START_SECONDS
    while not done():
        assert process is None or is_process_alive(process)
        assert time.monotonic() < deadline
        time.sleep(0.03)


def request(rows: int = 20, seed: int = 3, **changes: object) -> dict[str, Any]:
    """A good request about some flights; `changes` replace whole columns."""
    frame = flights(rows, seed=seed)
    names = [column.name for column in MODEL.inputs]
    documents = [{**row, **changes} for row in json_rows(frame, names)]
    return {"inputs": tensors_of_rows(MODEL.inputs, documents)}
