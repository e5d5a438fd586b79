"""What a connection does when its server stops, and when its client takes nothing."""

from __future__ import annotations

import asyncio

import pytest
import uvicorn

from modelyard.serving.http import connections
from modelyard.serving.http.connections import LINGER_SECONDS, LimitedProtocol, StoppingState

HEAD = b"GET /health HTTP/1.1\r\nhost: here\r\n\r\n"


async def answer_yes(scope, receive, send):
    del scope, receive
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"yes"})


async def stop_after(*parts: bytes, accepted_late: bool = False) -> bytes:
    """All that a client reads that sends each part, with the stop after the first."""
    config, state = uvicorn.Config(answer_yes, log_config=None), StoppingState()
    config.load()
    loop = asyncio.get_running_loop()
    state.is_stopping = accepted_late
    came = asyncio.Event()

    class Watched(LimitedProtocol):
        def connection_made(self, transport):
            super().connection_made(transport)
            if not parts[0]:
                came.set()

        def data_received(self, data):
            super().data_received(data)
            came.set()

    server = await loop.create_server(
        lambda: Watched(config=config, server_state=state, app_state={}), "127.0.0.1", 0
    )
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(parts[0])
        await came.wait()
        if not accepted_late:
            state.is_stopping = True
            for connection in [*state.connections]:
                connection.shutdown()
        for part in parts[1:]:
            await asyncio.sleep(2 * LINGER_SECONDS)
            writer.write(part)
        read = await asyncio.wait_for(reader.read(), 10)
        writer.close()
    return read


@pytest.mark.parametrize("sent", [HEAD, b""], ids=["with a request", "idle"])
def test_a_connection_accepted_in_the_moment_of_the_stop_ends_with_its_answer(sent):
    read = asyncio.run(stop_after(sent, accepted_late=True))

    assert read.count(b"200 OK") == (1 if sent else 0)
    assert (b"connection: close" in read) == bool(sent)


def test_a_head_that_is_half_sent_when_the_server_stops_is_answered():
    read = asyncio.run(stop_after(HEAD[:20], HEAD[20:]))

    assert read.count(b"200 OK") == 1
    assert b"connection: close" in read


def test_a_kept_connection_that_is_idle_is_closed_without_another_answer():
    read = asyncio.run(stop_after(HEAD))

    assert read.count(b"200 OK") == 1
    assert b"connection: close" not in read


LARGE = b"x" * 2**25  # more than the machine's buffers hold


async def answer_much(scope, receive, send):
    del scope, receive
    headers = [(b"content-length", str(len(LARGE)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": LARGE})


async def dropped(sent: bytes) -> None:
    """Return once a client that sends this and takes nothing has no connection any more."""
    config, over = uvicorn.Config(answer_much, log_config=None), asyncio.Event()
    config.load()

    class Watched(LimitedProtocol):
        def connection_lost(self, exc):
            super().connection_lost(exc)
            over.set()

    server = await asyncio.get_running_loop().create_server(
        lambda: Watched(config=config, server_state=StoppingState(), app_state={}), "127.0.0.1", 0
    )
    async with server:
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname(), limit=1)
        writer.write(sent)
        await over.wait()
        writer.transport.abort()
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    "sent",
    [HEAD, HEAD + HEAD, HEAD[:-2] + b"connection: close\r\n\r\n"],
    ids=["once", "twice", "and closes"],
)
def test_a_client_that_does_not_take_its_answer_is_dropped(sent, monkeypatch):
    monkeypatch.setattr(connections, "ANSWER_SECONDS", 0.1)

    asyncio.run(asyncio.wait_for(dropped(sent), 20))
