"""A server of a linear model, and what an attacker does to it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pandas as pd
import psutil
import pytest

from built_once import built_once
from serving.artifacts import MINUTES, flights, make_artifact
from serving.running import Running, preloaded_socket, serving

PATH = "/v2/models/late/infer"
MEGABYTE = 2**20


@contextmanager
def attacked_server(folder: Path) -> Iterator[Running]:
    """A server of a linear model, which divides by small numbers and so overflows easily."""
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MODELYARD_PRELOADED", str(preloaded_socket()))
            artifact = built_once("overflowing-artifact", _make_overflowing)
            running = stack.enter_context(serving(artifact, folder))
        yield running


def _make_overflowing(folder: Path) -> tuple[Path, str]:
    def small(rows: int = 400, seed: int = 0) -> pd.DataFrame:
        frame = flights(rows, seed)
        return frame.assign(temp=frame["temp"] / 1000, dep_delay=frame["dep_delay"] / 1000)

    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("serving.artifacts.flights", small)
        return folder, make_artifact(folder, model=MINUTES)


def address(running: Running) -> tuple[str, int]:
    return "127.0.0.1", int(running.client.base_url.port or 0)


def failures(running: Running) -> float:
    """How many requests count against the release."""
    lines = running.client.get("/metrics").text.splitlines()
    found = [line for line in lines if line.startswith("modelyard_requests_total{")]
    return sum(float(line.rsplit(" ", 1)[1]) for line in found if 'code_class="5xx"' in line)


@contextmanager
def watched(running: Running) -> Iterator[list[float]]:
    """Ask for readiness all the time; yields how long each answer took, in seconds.

    Without what others took of the machine meanwhile: no server answers while it may not run.
    """
    took: list[float] = []
    over = threading.Event()
    server = psutil.Process(running.process.pid)

    def busy() -> float:
        times = server.cpu_times()
        return times.user + times.system

    def ask() -> None:
        while not over.is_set():
            before, busy_before = time.perf_counter(), busy()
            with httpx.Client(base_url=running.client.base_url, timeout=30) as client:
                assert client.get("/v2/health/ready").status_code == 200
            took.append(min(time.perf_counter() - before, busy() - busy_before))
            time.sleep(0.02)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield took
    finally:
        over.set()
        thread.join()


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
