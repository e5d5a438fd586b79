"""What an answer that is no success says, whoever gave it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from modelyard.adapters.metrics.replay import Sent, ServiceTraffic


class Answering(BaseHTTPRequestHandler):
    """Answers each request with 400 and what it was sent."""

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(400)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b'{"error": "column x is missing"}', "column x is missing"),
        (b'{"error": null}', ""),
        (b"[]", ""),
        (b"<html>", ""),
        (b"\xff", ""),
        (b"[" * 100_000, ""),
    ],
    ids=["error", "null", "list", "page", "bytes", "deep"],
)
def test_an_answer_says_its_error_and_any_other_content_nothing(
    url: str, content: bytes, fault: str
):
    sent = ServiceTraffic(url, model="m", versions={}).send(content, at=0.5)
    assert sent == Sent(code="400", release=None, version=None, fault=fault)
