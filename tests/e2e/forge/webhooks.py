"""A receiver of webhooks that keeps what arrived, and tells whether it is signed."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One request: its headers in lower case, and its bytes."""

    headers: Mapping[str, str]
    body: bytes

    @property
    def event(self) -> str:
        return self.headers["x-github-event"]

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    def is_signed(self, secret: str) -> bool:
        """Whether the signature is that of the body, as GitHub makes it."""
        expected = hmac.new(secret.encode(), self.body, hashlib.sha256).hexdigest()
        return hmac.compare_digest(self.headers["x-hub-signature-256"], f"sha256={expected}")


@dataclass(kw_only=True)
class Receiver:
    """Where webhooks are sent, and what came."""

    url: str
    deliveries: list[Delivery] = field(default_factory=list)

    def wait_for(self, event: str, *, seconds: float = 20) -> Delivery:
        """The first delivery of this event."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := next((each for each in self.deliveries if each.event == event), None):
                return found
            time.sleep(0.02)
        events = [each.event for each in self.deliveries]
        raise AssertionError(f"no {event} within {seconds:g} s, only {events}")


@contextmanager
def receive_webhooks(address: str = "127.0.0.1") -> Iterator[Receiver]:
    """Receive on a free port until the block ends."""
    receiver = Receiver(url="")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.deliveries.append(Delivery(headers=headers, body=body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer((address, 0), Handler) as server:
        receiver.url = f"http://{address}:{server.server_address[1]}/"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()
