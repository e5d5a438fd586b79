"""A small HTTP server of which no client takes more than its share of time and threads."""

from __future__ import annotations

import io
import logging
import socket
import socketserver
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

logger = logging.getLogger(__name__)

MOST_THREADS = 32
READ_SECONDS = 5.0
"""For a whole request, however slowly its bytes come."""

LONGEST_PATH = 512

_BUSY = b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What is sent back."""

    body: bytes
    status: HTTPStatus = HTTPStatus.OK
    kind: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


class BoundedServer(ThreadingHTTPServer):
    """Answers GET requests, each in a thread; more than a few at a time are told to come again.

    Args:
        host: The address to listen on.
        port: The port; 0 for any that is free.
        answer: Gives the reply to a path, and must end in a few seconds.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str, port: int, answer: Callable[[str], Reply]) -> None:
        self.answer = answer
        self._free = threading.BoundedSemaphore(MOST_THREADS)
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        """Listen, without asking a name server what this machine is called."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a new thread, if one is free."""
        if not self._free.acquire(blocking=False):
            with suppress(OSError):
                request.settimeout(0.1)
                request.sendall(_BUSY)
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and give the thread back."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - its signature
        """A client that went away is no news."""
        logger.debug("a request of %s ended early", client_address[0])

    def finish(self, seconds: float) -> None:
        """Take no more requests, and let those that are being answered end."""
        self.shutdown()
        self.server_close()
        deadline = time.monotonic() + seconds
        for _ in range(MOST_THREADS):
            self._free.acquire(timeout=max(0.0, deadline - time.monotonic()))


class _Handler(BaseHTTPRequestHandler):
    server: BoundedServer
    server_version = "modelyard"
    sys_version = ""

    def setup(self) -> None:
        super().setup()
        raw = _Hurried(self.connection, time.monotonic() + READ_SECONDS)
        self.rfile = io.BufferedReader(raw)

    def do_GET(self) -> None:
        if len(self.path) > LONGEST_PATH:
            self.send_error(HTTPStatus.REQUEST_URI_TOO_LONG)
            return
        try:
            reply = self.server.answer(self.path)
        except Exception:
            logger.exception("no answer to %r", self.path)
            self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR)
            return
        self._send(reply)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002 - its signature
        """Say it in a word; a method nobody knows is one that is not allowed."""
        status = HTTPStatus(code)
        if status is HTTPStatus.NOT_IMPLEMENTED:
            status = HTTPStatus.METHOD_NOT_ALLOWED
        headers = {"Allow": "GET"} if status is HTTPStatus.METHOD_NOT_ALLOWED else {}
        text = f"{status.phrase}\n".encode()
        self._send(Reply(body=text, status=status, kind="text/plain", headers=headers))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its signature
        logger.debug("%s %s", self.client_address[0], format % args)

    def _send(self, reply: Reply) -> None:
        self.connection.settimeout(READ_SECONDS)
        self.send_response(reply.status)
        headers = {"Content-Type": reply.kind, "Cache-Control": "no-store", **reply.headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)


class _Hurried(io.RawIOBase):
    """What a socket gives until a deadline."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)
