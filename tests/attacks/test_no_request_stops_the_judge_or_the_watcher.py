"""The promise: no client stops the judge's or the watcher's pages, nor speaks in their logs."""

from __future__ import annotations

import http.client
import logging
import resource
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass

import psutil
import pytest

from modelyard.adapters import bounded_http
from modelyard.adapters.bounded_http import MOST_CONNECTIONS, BoundedServer
from modelyard.operations.judge.http import JudgeService
from modelyard.operations.watch.health import WatchHealth
from operations.yard import MODEL, SHORT, living_yard

SECONDS = 10.0
"""Far more than a quiet machine needs, for one that is busy."""


@dataclass(frozen=True)
class Pages:
    """A server's address, and a request that must always be answered."""

    port: int
    good: str

    def ask(self, target: str | None = None, **headers: str) -> tuple[int, str]:
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        with closing(link):
            link.request("GET", target or self.good, headers=headers)
            with link.getresponse() as answer:
                return answer.status, answer.read().decode()

    def send(self, content: bytes) -> bytes:
        """What is answered to these bytes until the server hangs up."""
        with self.connect() as client:
            try:
                client.sendall(content)
                return b"".join(iter(lambda: client.recv(65_536), b""))
            except ConnectionError:
                return b""

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=SECONDS)


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    yard = living_yard(tmp_path_factory.mktemp("judge") / "yard", SHORT)
    workspace = yard.workspace()
    release = workspace.catalog(workspace.main()).releases["production", MODEL].identity
    service = JudgeService(yard.workspace())
    server = BoundedServer("127.0.0.1", 0, service.make_app())
    server.start()
    service.start()
    pages = Pages(server.port, f"/v1/verdicts/production/{MODEL}/{release}")
    while pages.ask("/healthz")[0] == 503:
        time.sleep(0.05)
    yield pages
    server.stop()


@pytest.fixture(scope="module")
def watcher() -> Iterator[Pages]:
    health = WatchHealth(30.0)
    health.record_standby()
    server = health.serve_pages("127.0.0.1", 0)
    yield Pages(server.port, "/healthz")
    server.stop()


@pytest.fixture(params=["judge", "watcher"])
def pages(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[Pages]:
    """Whatever a test sends: afterwards a good request is answered, and the logs are clean."""
    found = request.getfixturevalue(request.param)
    caplog.set_level(logging.DEBUG)
    threads = threading.active_count()
    yield found
    assert found.ask()[0] == 200
    assert threading.active_count() <= threads + 1
    assert all(record.getMessage().isprintable() for record in caplog.records)
    assert not any("Traceback" in record.getMessage() for record in caplog.records)


HOST = b"Host: x\r\n"
GET = b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n"

BROKEN = {
    "a header of a megabyte": b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 2**20 + b"\r\n\r\n",
    "ten thousand headers": b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
    "a path of a megabyte": GET % (b"/" + b"a" * 2**20),
    "a path of 600 bytes": GET % (b"/" + b"a" * 600),
    "a method of 10 kB": b"G" * 10_000 + b" / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a method with a null": b"G\x00T /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "another method": b"DELETE /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "trace": b"TRACE /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "connect": b"CONNECT evil:443 HTTP/1.1\r\nHost: evil:443\r\n\r\n",
    "post with a body": b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
    "http 2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64) + b"\r\n\r\n",
    "no host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /healthz HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "control characters in a path": GET % b"/healthz\x1b[31m",
    "a null in a path": GET % b"/healthz\x00",
    "bytes that are no text": GET % b"/v1/verdicts/\xff\xfe/m/00000000",
    "a null in a header": b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n",
    "a header without a colon": b"GET /healthz HTTP/1.1\r\nHost x\r\n\r\n",
    "a folded line first": b"GET /healthz HTTP/1.1\r\n folded\r\nHost: x\r\n\r\n",
    "a negative length": b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "two lengths": b"GET /healthz HTTP/1.1\r\n" + HOST + b"Content-Length: 1, 2\r\n\r\n",
    "an unknown encoding": b"GET /healthz HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: x\r\n\r\n",
    "traversal": GET % b"/../../etc/passwd",
    "escaped traversal": GET % b"/%2e%2e/%2e%2e/etc/passwd",
    "a page below a page": GET % b"/healthz/../metrics/x",
    "a release of control characters": GET % b"/v1/verdicts/canary/m/%0a%1b[31mok",
    "a name of a path": GET % b"/v1/verdicts/..%2f..%2fetc/m/00000000",
    "a name of a fraction": GET % b"/v1/verdicts/canary/%c2%bd/00000000",
    "no name": GET % b"/v1/verdicts///00000000",
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_request_that_is_none_is_refused_or_hung_up_on(pages: Pages, what: str):
    answer = pages.send(BROKEN[what])

    assert answer == b"" or answer.split(b" ")[1][:1] == b"4", answer[:200]
    assert b"root:" not in answer
    assert b"\x1b" not in answer
    assert len(answer) < 2000


ODD = {
    "another version": b"/healthz HTTP/9.9\r\nHost: x\r\n\r\n",
    "no version": b"/healthz\r\n\r\n",
    "control characters in a query": b"/healthz?a=%0d%0aSet-Cookie:%20x=1%1b[31m",
    "a long query": b"/healthz?" + b"q" * 10_000,
    "an address for a path": b"http://evil.example/healthz",
}


@pytest.mark.parametrize("what", ODD)
def test_an_odd_request_is_answered_and_nothing_of_it_comes_back(pages: Pages, what: str):
    answer = pages.send(GET % ODD[what])

    assert answer.split(b" ")[1] in {b"200", b"400", b"404", b"414"}
    for part in (b"Set-Cookie", b"evil", b"qqq", b"\x1b"):
        assert part not in answer


def test_another_host_changes_nothing(pages: Pages):
    before = pages.ask("/healthz")

    assert pages.ask("/healthz", Host="evil.example") == before
    assert pages.ask("/healthz", **{"X-Forwarded-Host": "evil", "X-Forwarded-Proto": "x"}) == before


def test_many_requests_sent_at_once_on_one_connection_get_one_answer(pages: Pages):
    answer = pages.send((GET % b"/healthz") * 5000)

    assert answer.count(b"HTTP/1.1") <= 1


@pytest.mark.parametrize(
    "start",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nX: ",
        b"GET /",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFF\r\n",
    ],
    ids=["a header", "a path", "a body", "a chunk"],
)
def test_what_has_no_end_is_cut_off_and_costs_no_memory(pages: Pages, start: bytes):
    before = psutil.Process().memory_info().rss
    sent = 0
    with pages.connect() as client:
        client.sendall(start)
        try:
            while sent < 64 * 2**20:
                sent += client.send(b"a" * 65_536)
        except (ConnectionError, TimeoutError):
            pass

    assert sent < 64 * 2**20
    assert psutil.Process().memory_info().rss - before < 32 * 2**20


@pytest.fixture
def many_files() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("many_files")
def test_thousands_of_connections_are_dropped_and_good_requests_go_on(
    pages: Pages, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(bounded_http, "READ_SECONDS", 0.3)
    before = psutil.Process().memory_info().rss
    with ExitStack() as stack:
        for number in range(2 * MOST_CONNECTIONS):
            client = stack.enter_context(pages.connect())
            if number % 2:
                client.sendall(b"GET / HTTP/1.1\r\nX:")
        deadline = time.monotonic() + SECONDS
        while not _is_answered(pages) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert pages.ask()[0] == 200
    assert psutil.Process().memory_info().rss - before < 64 * 2**20


def _is_answered(pages: Pages) -> bool:
    try:
        return pages.ask()[0] == 200
    except (OSError, http.client.HTTPException):
        return False


@pytest.mark.long
def test_questions_about_releases_that_are_none_starve_no_other(judge: Pages):
    def flood(_: int) -> int:
        return judge.ask(f"/v1/verdicts/production/{MODEL}/{secrets.token_hex(8)}")[0]

    with ThreadPoolExecutor(32) as pool:
        flooding = pool.map(flood, range(300))
        before = time.monotonic()
        status, text = judge.ask()
        took = time.monotonic() - before
        assert set(flooding) == {200}

    assert status == 200
    assert "no verdict yet" not in text
    assert took < 7.0
