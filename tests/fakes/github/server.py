"""The loopback HTTP server: REST below `/`, Git below `/<owner>/<name>.git/`."""

from __future__ import annotations

import contextlib
import socket
import threading
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from fakes.github.git.requests import answer_git
from fakes.github.rest import RawAnswer, Request, answer_rest

if TYPE_CHECKING:
    from fakes.github.fake import FakeGitHub


class _Handler(BaseHTTPRequestHandler):
    """Reads a request, has it answered, and writes the answer in one piece."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # header and body in one packet: two would wait for each other
    server: Server

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            super().finish()
        self.server.connections.discard(self.connection)

    def handle(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # the client or the test went away
            super().handle()

    def log_message(self, *arguments: object) -> None:
        """Say nothing: the fake keeps its own log."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def _serve(self) -> None:
        url = urlsplit(self.path)
        request = Request(
            method=self.command,
            path=url.path,
            query=url.query,
            headers={name.lower(): value for name, value in self.headers.items()},
            body=self._body(),
        )
        is_git = ".git/" in unquote(url.path)
        try:
            answer = (answer_git if is_git else answer_rest)(self.server.fake, request)
        except Exception:  # noqa: BLE001 - the test is told, whatever it was
            self.server.fake.problem(f"{self.command} {url.path}: {traceback.format_exc()}")
            answer = RawAnswer(
                status=500,
                headers=[("Content-Type", "application/json")],
                body=b'{"message": "The fake broke"}',
            )
        self._write(answer)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _write(self, answer: RawAnswer) -> None:
        if answer.drop:
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        if answer.status not in {204, 304}:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD" and answer.status not in {204, 304}:
            self.wfile.write(answer.body)


class Server(ThreadingHTTPServer):
    """Serves one fake on a free port until it is stopped.

    Args:
        fake: What answers.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, fake: FakeGitHub) -> None:
        self.fake = fake
        self.connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)
        self._thread = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def stop(self) -> None:
        """Stop, and hang up on who is still connected."""
        self.shutdown()
        self.server_close()
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join(timeout=10)
