"""A client of HTTP/2 that sends any frames, also such as no library of gRPC would."""

from __future__ import annotations

import socket
import struct

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1
INFER = b"/inference.GRPCInferenceService/ModelInfer"
_WINDOW = 4  # the setting of a stream's window


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def headers(stream: int, path: bytes = INFER, **more: bytes) -> bytes:
    """The head of a call, in literals."""
    fields = {
        b":method": b"POST",
        b":scheme": b"http",
        b":path": path,
        b":authority": b"localhost",
        b"content-type": b"application/grpc",
        b"te": b"trailers",
        **{name.encode(): value for name, value in more.items()},
    }
    block = b"".join(
        b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value
        for name, value in fields.items()
    )
    return frame(HEADERS, END_HEADERS, stream, block)


def message(content: bytes, *, announced: int | None = None) -> bytes:
    """A message of gRPC, which may announce more than there is."""
    size = len(content) if announced is None else announced
    return b"\0" + struct.pack(">I", size) + content


def connect(port: int, *, window: int | None = None) -> socket.socket:
    """A connection; what a stream is sent waits at so many bytes, if a window is given."""
    client = socket.create_connection(("127.0.0.1", port))
    settings = b"" if window is None else struct.pack(">HI", _WINDOW, window)
    client.sendall(_PREFACE + frame(SETTINGS, 0, 0, settings) + frame(SETTINGS, ACK, 0))
    return client


def read_frames(client: socket.socket, seconds: float) -> list[tuple[int, int, bytes]]:
    """The kind, the stream and the content of what comes within some seconds, or until the end."""
    client.settimeout(seconds)
    found = b""
    try:
        while chunk := client.recv(2**16):
            found += chunk
    except (TimeoutError, ConnectionError):
        pass
    frames = []
    while len(found) >= 9:
        size = int.from_bytes(found[:3], "big")
        frames.append((found[3], int.from_bytes(found[5:9], "big"), found[9 : 9 + size]))
        found = found[9 + size :]
    return frames
