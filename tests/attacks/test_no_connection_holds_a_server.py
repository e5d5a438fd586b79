"""The promise: no bytes on a connection, and no lack of them, keep a server from answering."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import pytest

from attacks.attacked_server import address, failures, post, talk, watched
from modelyard.serving.http.connections import (
    ANSWER_SECONDS,
    HEAD_SECONDS,
    MAX_HEAD_BYTES,
    LimitedProtocol,
)
from serving.running import Running, request


@pytest.mark.long
def test_many_small_requests_in_a_row_are_all_answered(server: Running):
    body = json.dumps(request(rows=1)).encode()
    one = post(body, f"content-length: {len(body)}")
    last = post(body, f"content-length: {len(body)}", "connection: close")

    with watched(server) as took:
        answer = talk(server, one * 199 + last, seconds=30)

    assert answer.count(b"HTTP/1.1 200 OK") == 200
    assert max(took) < 1


@pytest.mark.parametrize(
    "content",
    [
        post(
            b"5\r\n     \r\n0\r\nx-late: 1\r\n\r\n",
            "transfer-encoding: chunked",
            "connection: close",
        ),
        post(b"zz\r\n", "transfer-encoding: chunked"),
        post(b"-1\r\n\r\n", "transfer-encoding: chunked"),
        post(b"ffffffffffffffffff\r\n", "transfer-encoding: chunked"),
        post(b"", "content-length: -1"),
        post(b"", "content-length: 99999999999999999999999"),
        post(b"{}", "content-length: 2", "content-length: 3"),
        post(b"{}", "content-length: 2", "transfer-encoding: chunked"),
        post(b"{}", "content-length: 2", "expect: 100-continue", "connection: close"),
        post(b"", "connection: upgrade", "upgrade: websocket", "content-length: 0"),
        post(b"", "connection: upgrade, close", "upgrade: h2c", "content-length: 0"),
        b"GET /" + b"%ff" * 100 + b" HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
    ],
)
def test_no_bytes_whatever_are_a_failure_of_the_server(server: Running, content: bytes):
    before = failures(server)

    answer = talk(server, content, seconds=1)

    assert not answer.startswith(b"HTTP/1.1 5")
    assert failures(server) == before
    assert server.is_ready()


def test_a_head_without_an_end_is_dropped(server: Running):
    endless = b"GET / HTTP/1.1\r\nhost: x\r\n" + b"".join(
        b"x-%d: %s\r\n" % (n, b"a" * 1000) for n in range(2 * MAX_HEAD_BYTES // 1000)
    )
    one_line = b"GET /" + b"a" * (2 * MAX_HEAD_BYTES)

    for content in (endless, one_line):
        before = time.monotonic()
        talk(server, content, seconds=60)
        assert time.monotonic() - before < 30


def test_heads_that_are_sent_in_half_are_dropped_and_delay_nobody(
    server: Running, monkeypatch: pytest.MonkeyPatch
):
    with ExitStack() as stack, watched(server) as took:
        half = [stack.enter_context(socket.create_connection(address(server))) for _ in range(500)]
        for connection in half:
            connection.sendall(b"POST /v2/models/late/infer HTTP/1.1\r\nhost")
        time.sleep(1)
        assert server.infer(request()).status_code == 200
    assert max(took) < 1


class Transport:
    """As much of a transport as the protocol asks for; remembers that it was aborted."""

    def __init__(self) -> None:
        self.is_aborted = self.is_closed = False
        self.written = b""

    def get_extra_info(self, name: str) -> object:
        return None

    def abort(self) -> None:
        self.is_aborted = True

    def write(self, data: bytes) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    pause_reading = resume_reading = lambda self: None


class Loop:
    """An event loop's clock and timers, which go on when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waiting: list[Any] = []

    def time(self) -> float:
        return self.now

    def call_later(self, seconds: float, call: Callable[[], None]) -> Any:
        timer = SimpleNamespace(at=self.now + seconds, call=call)
        # One that has rung may be cancelled, too.
        timer.cancel = lambda: timer in self.waiting and self.waiting.remove(timer)
        self.waiting.append(timer)
        return timer

    def passes(self, seconds: float) -> None:
        """Ring what is due, in order."""
        end = self.now + seconds
        while due := [timer for timer in self.waiting if timer.at <= end]:
            first = min(due, key=lambda timer: timer.at)
            self.now = first.at
            self.waiting.remove(first)
            first.call()
        self.now = end

    def create_task(self, coroutine: Any, **_: object) -> Any:
        coroutine.close()
        return type("Task", (), {"add_done_callback": lambda *_: None})()


HEAD = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "is_waiting"),
    [
        (b"", True),
        (HEAD[:10], True),
        (HEAD[:-1], True),
        (HEAD, False),
        (HEAD + HEAD[:5], True),
        (HEAD + HEAD, False),
        (post(b"", "content-length: 5"), False),
    ],
)
def test_a_clock_runs_while_a_head_is_awaited_and_only_then(sent: bytes, *, is_waiting: bool):
    loop, transport, protocol = connected()
    if sent:
        protocol.data_received(sent)

    loop.passes(HEAD_SECONDS - 1)
    assert not transport.is_aborted
    loop.passes(1)
    assert transport.is_aborted is is_waiting
    protocol.connection_lost(None)
    assert loop.waiting == []


def test_each_head_of_a_connection_has_the_whole_time():
    loop, transport, protocol = connected()
    loop.passes(HEAD_SECONDS - 1)
    protocol.data_received(HEAD)
    loop.passes(HEAD_SECONDS / 2)
    protocol.data_received(HEAD[:5])
    loop.passes(HEAD_SECONDS - 1)
    assert not transport.is_aborted
    loop.passes(1)
    assert transport.is_aborted


def test_a_lost_connection_leaves_no_timer():
    loop, _, protocol = connected()
    protocol.data_received(HEAD[:5])
    protocol.connection_lost(None)
    assert loop.waiting == []


def answer(protocol: LimitedProtocol) -> None:
    """Send the answer to the last request."""

    async def send() -> None:
        head = {"type": "http.response.start", "status": 200, "headers": []}
        await protocol.cycle.send(head)  # type: ignore[arg-type]
        await protocol.cycle.send({"type": "http.response.body", "body": b"yes"})  # type: ignore[typeddict-item]

    asyncio.run(send())


KEPT_SECONDS = 2 * ANSWER_SECONDS


def answered(*sent: bytes) -> tuple[Loop, Transport, LimitedProtocol]:
    """A connection whose request, the first part, was answered before the others came."""
    loop, transport, protocol = connected()
    protocol.timeout_keep_alive = KEPT_SECONDS  # type: ignore[assignment]
    protocol.data_received(sent[0])
    answer(protocol)
    for part in sent[1:]:
        loop.passes(1)
        protocol.data_received(part)
    return loop, transport, protocol


def test_an_answer_that_is_not_taken_has_a_clock_of_its_own():
    loop, transport, protocol = answered(HEAD)
    for _ in range(3):
        protocol.pause_writing()
        loop.passes(ANSWER_SECONDS - 1)
        protocol.resume_writing()
    assert not transport.is_aborted

    protocol.pause_writing()
    loop.passes(ANSWER_SECONDS)
    assert transport.is_aborted


BEGUN = post(b"", "content-length: 5")


@pytest.mark.parametrize("rest", [[], [b"x"], [b"x", b"xx", b"x"]])
def test_a_body_that_was_answered_before_its_end_has_a_clock(rest: list[bytes]):
    loop, transport, protocol = answered(BEGUN, *rest)
    protocol.pause_writing()
    protocol.resume_writing()

    loop.passes(ANSWER_SECONDS - 1 - len(rest))
    assert not transport.is_aborted
    loop.passes(1)
    assert transport.is_aborted


@pytest.mark.parametrize(
    "sent",
    [[HEAD], [BEGUN, b"xxxxx"], [BEGUN, b"xx", b"xxx"], [HEAD, b"\r\n"], [BEGUN, b"xxxxx\r\n"]],
)
def test_an_idle_connection_is_kept_so_long_and_closed(sent: list[bytes]):
    loop, transport, protocol = answered(*sent)

    loop.passes(KEPT_SECONDS - 1)
    assert not transport.is_aborted
    assert not transport.is_closed
    loop.passes(1)
    assert transport.is_aborted or transport.is_closed
    loop.passes(ANSWER_SECONDS)
    assert transport.is_aborted  # its client never took the last bytes
    protocol.connection_lost(None)
    assert loop.waiting == []


def test_the_next_request_after_a_body_that_came_late_is_answered():
    loop, transport, protocol = answered(BEGUN, b"xxxxx", HEAD)
    loop.passes(HEAD_SECONDS + ANSWER_SECONDS)
    answer(protocol)

    assert transport.written.count(b"200 OK") == 2
    assert not transport.is_aborted


UPGRADE = ("connection: Upgrade, HTTP2-Settings", "upgrade: h2c", "http2-settings: AAMAAABk")


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("asked", [UPGRADE, ("Upgrade: websocket", "Connection: upgrade"), ()])
def test_a_request_that_asks_for_another_protocol_is_read_as_the_others(
    asked: tuple[str, ...], size: int
):
    loop, transport, protocol = connected()
    for body in (b"first", b"GET / HTTP/1.1\r\nupgrade: h2c\r\n\r\n"):
        sent = post(body, f"content-length: {len(body)}", *asked)
        for start in range(0, len(sent), size):
            protocol.data_received(sent[start : start + size])
        assert bytes(protocol.cycle.body) == body
        assert not protocol.cycle.more_body
        assert (b"content-length", str(len(body)).encode()) in protocol.cycle.scope["headers"]
        answer(protocol)
    loop.passes(HEAD_SECONDS)
    assert transport.written.count(b"200 OK") == 2
    assert not transport.is_aborted


def test_many_requests_at_once_that_ask_for_another_protocol_are_all_read():
    _, transport, protocol = connected()
    protocol.data_received(post(b"", *UPGRADE) * 3000)
    assert len(protocol.pipeline) == 2999
    assert transport.written == b""


@pytest.mark.parametrize(
    "sent",
    [
        b"CONNECT h:80 HTTP/1.1\r\nhost: h\r\n\r\n",
        b"CONNECT \r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_a_tunnel_and_what_begins_as_http_2_are_refused(sent: bytes):
    _, transport, protocol = connected()
    protocol.data_received(sent)
    assert transport.written.startswith(b"HTTP/1.1 400 ")
    assert transport.is_closed


def test_what_is_no_http_is_refused_and_does_not_stay():
    loop, transport, protocol = connected()
    protocol.data_received(post(b"zz\r\n", "transfer-encoding: chunked"))
    assert transport.is_closed
    loop.passes(ANSWER_SECONDS)
    assert transport.is_aborted
    protocol.connection_lost(None)
    assert loop.waiting == []


def connected() -> tuple[Loop, Transport, LimitedProtocol]:
    """A new connection, with the loop and the transport that it has."""
    from uvicorn import Config
    from uvicorn.server import ServerState

    loop, transport = Loop(), Transport()
    config = Config(lambda *_: None, log_config=None)  # type: ignore[arg-type,return-value]
    protocol = LimitedProtocol(config, ServerState(), {}, loop)  # type: ignore[arg-type]
    protocol.connection_made(transport)  # type: ignore[arg-type]
    return loop, transport, protocol
