from __future__ import annotations

import asyncio
import http.client
import socket
import threading
import time
from contextlib import ExitStack, closing, contextmanager, suppress

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from modelyard.adapters import bounded_http
from modelyard.adapters.bounded_http import BoundedServer
from modelyard.errors import CannotAnswer

HALF = b"GET / HTTP/1.1\r\nHost:"


async def answer(_):
    return PlainTextResponse("here")


@contextmanager
def serving(endpoint=answer):
    server = BoundedServer("127.0.0.1", 0, Starlette(routes=[Route("/", endpoint)]))
    server.start()
    try:
        yield server
    finally:
        server.stop()


def connect(server):
    return closing(socket.create_connection(("127.0.0.1", server.port), timeout=30))


def get(server):
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)) as connection:
        connection.request("GET", "/")
        with connection.getresponse() as found:
            return found.status, found.read()


def is_hung_up_on(client):
    try:
        return client.recv(100) == b""
    except ConnectionResetError:  # what it had sent was still unread
        return True


def test_clients_that_never_finish_a_request_block_no_other_and_are_disconnected(monkeypatch):
    monkeypatch.setattr(bounded_http, "READ_SECONDS", 1.0)
    with serving() as server, ExitStack() as stack:
        idle = [stack.enter_context(connect(server)) for _ in range(200)]
        for each in idle[::2]:
            with suppress(OSError):  # on a slow machine its time is over already
                each.sendall(HALF)
        wait_until_all_are_taken(server)

        # A request that a slow machine sends late is not what this is about.
        monkeypatch.setattr(bounded_http, "READ_SECONDS", 10.0)
        assert {get(server) for _ in range(20)} == {(200, b"here")}
        assert {is_hung_up_on(each) for each in idle} == {True}


def wait_until_all_are_taken(server):
    """Connections are taken in order, so the answer to one says that no other waits before it."""
    with connect(server) as last, suppress(ConnectionResetError):
        last.sendall(HALF + b" x\r\n\r\n")
        last.recv(100)


def drip(client, content):
    for byte in content:
        client.sendall(bytes([byte]))
        time.sleep(0.02)


def test_a_client_that_sends_its_head_byte_by_byte_is_hung_up_on(monkeypatch):
    monkeypatch.setattr(bounded_http, "READ_SECONDS", 0.3)
    with serving() as server, connect(server) as slow:
        with pytest.raises(OSError, match=r"reset|[Bb]roken pipe"):
            drip(slow, HALF * 100)
        assert get(server) == (200, b"here")


def test_a_head_that_is_too_long_is_refused():
    with serving() as server, connect(server) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 2**17)
        assert client.recv(100).startswith(b"HTTP/1.1 400 ")


def test_a_body_is_never_waited_for():
    with serving() as server, connect(server) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 200 ")


def test_a_connection_ends_whatever_it_waits_for(monkeypatch):
    monkeypatch.setattr(bounded_http, "WHOLE_SECONDS", 0.3)

    async def never(_):
        await asyncio.sleep(1.0)

    with serving(never) as server, connect(server) as client:
        client.sendall(HALF + b" x\r\n\r\n")
        assert client.recv(100) == b""


def test_each_connection_is_for_one_request():
    with serving() as server, connect(server) as client:
        client.sendall((HALF + b" x\r\n\r\n") * 2)
        with client.makefile("rb") as answers:
            assert answers.read().count(b"HTTP/1.1 200 ") == 1


def test_what_is_being_answered_is_finished_before_the_server_stops():
    asked = threading.Event()

    async def slow(_):
        asked.set()
        await asyncio.sleep(0.3)
        return PlainTextResponse("late")

    with serving(slow) as server, connect(server) as client:
        client.sendall(HALF + b" x\r\n\r\n")
        assert asked.wait(10)
        server.stop()
        with client.makefile("rb") as found:
            assert found.read().endswith(b"late")


def test_a_port_that_is_taken_is_no_defect():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotAnswer, match=f"cannot listen on 127.0.0.1:{port}: "):
            BoundedServer("127.0.0.1", port, Starlette())
