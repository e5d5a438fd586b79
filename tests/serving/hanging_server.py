"""A stand-in for a model server that is ready until it hangs, in the way that a file names.

Run as `python hanging_server.py FILE serve --model=... --port=... --claim=... --release=...`.
"""

from __future__ import annotations

import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

from modelyard.adapters.cluster.claim import hold_claim

OK = b"HTTP/1.1 200 OK\r\nx-modelyard-release: %s\r\nContent-Length: 2\r\n\r\n{}"
REFUSED = b"HTTP/1.1 503 No\r\nx-modelyard-release: %s\r\nContent-Length: 2\r\n\r\n{}"

ANSWERS = {"says 503": REFUSED, "answers nonsense": b"\x00\xff %s", "hangs up": b""}


def serve(file: Path, options: dict[str, str]) -> None:
    if "never takes its claim" in hang(file):
        time.sleep(3600)
    release, port = options["release"].encode(), int(options["port"])
    with hold_claim(Path(options["claim"]), port=port):
        if "never listens" in hang(file):
            time.sleep(3600)
        listener, how = socket.create_server(("127.0.0.1", port)), ""
        while True:
            client, _ = listener.accept()
            with client:
                how = how or hang(file)  # it never recovers
                if how == "never answers":
                    time.sleep(3600)
                if how == "listens no more":
                    listener.close()
                    time.sleep(3600)
                if how == "is busy":
                    time.sleep(0.5)
                client.recv(4096)
                with suppress(ConnectionError):
                    client.sendall(ANSWERS.get(how, OK).replace(b"%s", release))


def hang(file: Path) -> str:
    return file.read_text() if file.exists() else ""


if __name__ == "__main__":
    words = [word.removeprefix("--").partition("=") for word in sys.argv[3:]]
    serve(Path(sys.argv[1]), {name: value for name, _, value in words})
