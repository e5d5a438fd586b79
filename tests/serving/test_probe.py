"""What measures a server does not believe that it ends its answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from modelyard.domain.server_arguments import RELEASE_HEADER
from modelyard.domain.specs.contract import Column
from modelyard.serving.probe import Probe

COLUMNS = (Column(name="x", type="number", description=""),)


class Endless(BaseHTTPRequestHandler):
    sent = 0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header(RELEASE_HEADER, "r")
        self.end_headers()
        with suppress(OSError):
            while Endless.sent < 1 << 30:
                Endless.sent += self.wfile.write(b" " * (1 << 20))

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Endless) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_an_answer_without_an_end_is_a_fault_of_the_server(url: str):
    with pytest.raises(ValueError, match="its answer has more than 8 MB"):
        Probe(url, "m", "r").p95_ms(COLUMNS, [{"x": 1.0}], requests=1)
    assert Endless.sent < 1 << 28
