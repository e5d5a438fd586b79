"""A small HTTP server of which no client takes more than its share of time and connections."""

from __future__ import annotations

import asyncio
import socket
import threading

import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from modelyard.errors import CannotAnswer

MOST_CONNECTIONS = 512
"""Half of the file descriptors that a process may usually have: the rest is for its work."""

READ_SECONDS = 5.0
"""For the head of a request, however slowly its bytes come."""

WHOLE_SECONDS = 20.0
"""For a whole connection: a client that does not read its answer is hung up on, too."""

GRACE_SECONDS = 2
"""For the requests that are being answered when the server is stopped."""

LONGEST_PATH = 512

_BUSY = b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"


class BoundedServer:
    """Answers short GET requests, one per connection, in a thread of its own.

    Args:
        host: The address to listen on.
        port: The port; 0 for any that is free.
        app: Answers the requests; it must not block, since all of them share one event loop.

    Raises:
        CannotAnswer: Nothing can listen there.
    """

    def __init__(self, host: str, port: int, app: ASGIApp) -> None:
        is_v6 = ":" in host  # no name has a colon
        try:
            self._socket = socket.create_server(
                (host, port),
                family=socket.AF_INET6 if is_v6 else socket.AF_INET,
                dualstack_ipv6=is_v6 and socket.has_dualstack_ipv6(),
            )
        except OSError as error:
            raise CannotAnswer(f"cannot listen on {host}:{port}: {error}") from error
        self.host, self.port = self._socket.getsockname()[:2]
        self._server = uvicorn.Server(
            uvicorn.Config(
                _only_short_gets(app),
                http=_OneRequest,
                loop="asyncio",  # uvicorn would prefer uvloop, where it is installed
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="error",  # a client's broken request is no news
                access_log=False,
                server_header=False,
                headers=[("Cache-Control", "no-store"), ("Connection", "close")],
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
        )
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name="http", daemon=True
        )

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Take no more requests, and finish those that are being answered."""
        self._server.should_exit = True
        self._thread.join(GRACE_SECONDS + 1)


class _OneRequest(H11Protocol):
    """Adds the limits that uvicorn lacks: on connections, and on how long each may take."""

    _timers: tuple[asyncio.TimerHandle, ...] = ()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.write(_BUSY)
            transport.close()
            return
        self._timers = (
            self.loop.call_later(READ_SECONDS, self._hang_up_unless_asked),
            self.loop.call_later(WHOLE_SECONDS, transport.abort),
        )

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        for timer in self._timers:  # each would keep the connection in memory until it rings
            timer.cancel()

    def _hang_up_unless_asked(self) -> None:
        if self.cycle is None:  # uvicorn makes one for each request head
            self.transport.abort()


def _only_short_gets(app: ASGIApp) -> ASGIApp:
    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        answering = app
        if scope["method"] != "GET":
            answering = PlainTextResponse("Method Not Allowed\n", 405, {"Allow": "GET"})
        elif len(scope["raw_path"]) > LONGEST_PATH:
            answering = PlainTextResponse("Request-URI Too Long\n", 414)
        await answering(scope, receive, send)

    return guarded
