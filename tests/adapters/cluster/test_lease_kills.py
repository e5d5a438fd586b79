"""Watchers of two shards, each a process that stands for a Lease, of which one is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from json_answers import answer_json

SECONDS = 60.0

WATCHER = """
import sys, time
from modelyard.adapters.cluster import kubernetes_lease
from modelyard.adapters.cluster.kubernetes_api import KubernetesApi

kubernetes_lease.LEASE_SECONDS, kubernetes_lease.RENEW_SECONDS = 4, 3
kubernetes_lease.RETRY_SECONDS = 1
lease = kubernetes_lease.KubernetesLease("modelyard", sys.argv[1], KubernetesApi())
while True:
    if lease.wait(0.2):
        print("held", flush=True)
        time.sleep(3600)
"""


class Leases(ThreadingHTTPServer):
    """The Leases of an API server: a replacement of an older one than there is, is refused."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.known: dict[str, dict[str, object]] = {}
        self.holders: dict[str, list[str]] = defaultdict(list)
        self.lock = threading.Lock()

    def write(self, name: str, lease: dict[str, dict[str, str]], *, is_new: bool) -> int:
        with self.lock:
            known = self.known.get(name)
            version = None if known is None else known["metadata"]["resourceVersion"]  # type: ignore[index]
            asked = lease["metadata"].get("resourceVersion")
            if is_new != (known is None) or (asked is not None and asked != version):
                return 409
            lease["metadata"]["resourceVersion"] = str(int(version or 0) + 1)
            self.known[name] = lease  # type: ignore[assignment]
            holder = lease["spec"]["holderIdentity"]
            if self.holders[name][-1:] != [holder]:
                self.holders[name].append(holder)
            return 200


class _Handler(BaseHTTPRequestHandler):
    server: Leases

    def do_GET(self) -> None:
        lease = self.server.known.get(self.path.rsplit("/", 1)[1])
        answer_json(
            self, 404 if lease is None else 200, lease or {"code": 404, "reason": "NotFound"}
        )

    def do_POST(self) -> None:
        lease = self._sent()
        answer_json(self, self.server.write(lease["metadata"]["name"], lease, is_new=True), lease)

    def do_PUT(self) -> None:
        lease = self._sent()
        answer_json(
            self, self.server.write(self.path.rsplit("/", 1)[1], lease, is_new=False), lease
        )

    def _sent(self) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = json.loads(
            self.rfile.read(int(self.headers["Content-Length"]))
        )
        return found

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def leases() -> Iterator[Leases]:
    with Leases() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def start(leases: Leases, tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    address = f"http://127.0.0.1:{leases.server_port}"
    config = {
        "clusters": [{"name": "c", "cluster": {"server": address}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    (tmp_path / "config").write_text(json.dumps(config))
    env = {**os.environ, "KUBECONFIG": str(tmp_path / "config")}
    env.pop("KUBERNETES_SERVICE_HOST", None)
    started: list[subprocess.Popen[str]] = []

    def start_one(name: str) -> subprocess.Popen[str]:
        words = [sys.executable, "-c", WATCHER, name]
        started.append(subprocess.Popen(words, env=env, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start_one
    for each in started:
        each.kill()
        each.communicate()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def pids(holders: list[str]) -> list[int]:
    return [int(each.rsplit("_", 1)[1]) for each in holders]


@pytest.mark.long
def test_a_killed_watcher_is_taken_over_by_one_of_its_shard_alone(
    leases: Leases, start: Callable[[str], subprocess.Popen[str]]
) -> None:
    first, second = "watch-1-of-2", "watch-2-of-2"
    both = {each.pid: each for each in (start(first), start(first))}
    other = start(second)
    wait_until(lambda: bool(leases.holders[first]) and bool(leases.holders[second]))
    (killed,) = pids(leases.holders[first])
    assert both[killed].stdout is not None
    assert both[killed].stdout.readline() == "held\n"

    both[killed].send_signal(signal.SIGKILL)

    (heir,) = set(both) - {killed}
    assert both[heir].stdout is not None
    assert both[heir].stdout.readline() == "held\n"
    assert pids(leases.holders[first]) == [killed, heir]
    assert pids(leases.holders[second]) == [other.pid]
