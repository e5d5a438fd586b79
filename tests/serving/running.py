"""Real server processes, for whoever tests with one."""

from __future__ import annotations

import atexit
import functools
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from modelyard.adapters.cluster.local_servers import free_port
from modelyard.adapters.processes.process_table import Started
from modelyard.adapters.processes.start import is_process_alive, start_modelyard, stop_process
from modelyard.serving.documents import json_rows
from modelyard.serving.inputs import tensors_of_rows
from serving.artifacts import MODEL, TRUSTED, flights, shared_artifact

START_SECONDS = 60.0


@functools.cache
def preloaded_socket() -> Path:
    """The socket of one preloaded process for the whole test run."""
    # Importing scikit-learn sets variables that a preloaded process must have had from its start.
    shared_artifact()
    folder = Path(tempfile.mkdtemp(prefix="modelyard-preloaded-"))
    address = folder / "socket"
    preloaded = subprocess.Popen(
        [sys.executable, "-m", "modelyard", "preload", "--socket", str(address)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )

    def end() -> None:
        assert preloaded.stdin is not None
        preloaded.stdin.close()
        preloaded.wait(10)
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(end)
    assert preloaded.stdout is not None
    assert preloaded.stdout.readline() == b"ready\n"
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
    arguments = [
        *("serve", "--model", MODEL.name, "--version", version, "--release", release),
        *("--artifact", artifact[1], "--folder", str(artifact[0]), "--port", str(port)),
        *("--payload-log", str(folder / "payloads")),
        *(word for name in TRUSTED for word in ("--trusted-type", name)),
        *options,
    ]
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
