"""Reads the body of a request within limits of bytes, of time, and of the work it makes."""

from __future__ import annotations

import asyncio
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING

import orjson
from starlette.requests import ClientDisconnect

from modelyard.errors import Refused
from modelyard.serving.http.binary import LENGTH_HEADER, put_tensors_inline
from modelyard.serving.http.invocations import JSON
from modelyard.serving.inputs import InferenceRequest, read_request
from modelyard.serving.tensor import MAX_ROWS

if TYPE_CHECKING:
    from starlette.requests import Request

    from modelyard.serving.documents import Serving
    from modelyard.serving.http.dialects import Dialect, Read

MAX_BYTES = 16 * 2**20
"""Of a body, which is held in memory as a whole."""

MAX_HELD_BYTES = 8 * MAX_BYTES
"""Of all bodies that are announced and being read at one time, small ones aside."""

BODY_SECONDS = 30.0
"""For a body to arrive: a slow client must not hold its memory for ever."""

SPARE_INPUTS = 20
"""Inputs of a full request beside the model's own, such as those of another version."""

_SMALL = 2**16
"""Bodies up to this size need no limits."""

_AT_ONCE = 2**17
"""A body up to this size is parsed on the event loop: handing it to a thread and back takes about a
millisecond, in which 24,000 numbers are parsed. 4,670 times with an offset take six."""

_SPARE_LISTS = 1000
_GZIP = "gzip"
_IDENTITY = "identity"
_ENCODINGS = {"": _IDENTITY, _IDENTITY: _IDENTITY, _GZIP: _GZIP, "x-gzip": _GZIP}
"""What a body may be packed by; RFC 9110, 8.4.1.3, has a recipient take `x-gzip` for `gzip`."""
_GZIP_BITS = 31  # zlib's word for gzip with any window


class RequestError(Exception):
    """The request gets this status and message, and no scores."""

    def __init__(self, status: int, message: str, *, is_overloaded: bool = False) -> None:
        super().__init__(message)
        self.status, self.is_overloaded = status, is_overloaded


class BodyReader:
    """Reads and parses the bodies of one server.

    Large bodies are parsed on a thread of their own, so that the event loop goes on answering.

    Args:
        serving: The contract that requests are read by.
    """

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._held = 0
        self._thread = ThreadPoolExecutor(1, "read")

    async def read(self, request: Request, dialect: Dialect) -> InferenceRequest:
        """The request that a body holds, in one of the protocols.

        Raises:
            RequestError: It is too large, too slow, costs too much, or breaks the contract.
        """
        named = request.headers.get("content-encoding", "").strip().lower()
        encoding = _ENCODINGS.get(named)
        if encoding is None:
            raise RequestError(
                415, f"request: expected gzip or no content-encoding, found {named[:40]!a}"
            )
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if not dialect.reads(kind):
            raise RequestError(415, f"request: expected {JSON}, found {kind[:40]!a}")
        announced = _announced(request)
        if self._held + _counted(announced) > MAX_HELD_BYTES:
            raise RequestError(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"request: {MAX_HELD_BYTES} bytes of other requests are being read; send it again"
                " later, or in parts",
            )
        self._held += _counted(announced)
        try:
            body = await _receive(request)
            length = request.headers.get(LENGTH_HEADER) if dialect.has_binary else None
            is_packed = encoding == _GZIP
            parse = partial(
                parse_body, body, length, self._serving, is_packed=is_packed, read=dialect.read
            )
            # A packed body is of any size; on the thread only one is unpacked at a time.
            if len(body) <= _AT_ONCE and not is_packed:
                return parse()
            return await asyncio.get_running_loop().run_in_executor(self._thread, parse)
        finally:
            self._held -= _counted(announced)


def _announced(request: Request) -> int:
    """The size of the body that the client announces; the largest if it does not."""
    length = request.headers.get("content-length", "")
    if not length.isascii() or not length.isdigit():
        return MAX_BYTES
    if len(length) > len(str(MAX_BYTES)) or int(length) > MAX_BYTES:
        raise _too_large()
    return int(length)


async def _receive(request: Request) -> bytes:
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                chunks.append(chunk)
                size += len(chunk)
                if size > MAX_BYTES:
                    raise _too_large()
    except TimeoutError as error:
        raise RequestError(
            408, f"request: its body did not arrive within {BODY_SECONDS:.0f} s"
        ) from error
    except ClientDisconnect as error:
        raise RequestError(
            499, "request: the client disconnected before its body was read"
        ) from error
    return b"".join(chunks)


def _too_large() -> RequestError:
    return RequestError(413, f"request: expected at most {MAX_BYTES} bytes, found more")


def parse_body(
    body: bytes,
    json_bytes: str | None,
    serving: Serving,
    *,
    is_packed: bool = False,
    read: Read = read_request,
) -> InferenceRequest:
    """The request in a body.

    Args:
        body: JSON, and behind it the binary tensors, if there are any.
        json_bytes: The header with the size of the JSON part; None if that is all.
        serving: The contract.
        is_packed: Whether the body is packed by gzip.
        read: Reads the parsed JSON.

    Raises:
        RequestError: It is no such request.
    """
    if is_packed:
        body = _unpack(body)
    try:
        head, binary = _split(body, json_bytes)
        _refuse_costly(head, len(serving.inputs))
        document = orjson.loads(head)
        if json_bytes is not None:
            put_tensors_inline(document, binary)
        return read(document, serving.inputs, output=serving.output.name)
    except orjson.JSONDecodeError as error:
        hint = "" if json_bytes is None or not body else f"; {LENGTH_HEADER} is {json_bytes[:20]!a}"
        raise RequestError(400, f"request: expected JSON, found {error}{hint}") from error
    except Refused as refusal:
        raise RequestError(400, refusal.message) from refusal


def _unpack(body: bytes) -> bytes:
    """The bytes in a gzip body, of which no more are unpacked than a request may have."""
    unpacker = zlib.decompressobj(wbits=_GZIP_BITS)
    try:
        content = unpacker.decompress(body, MAX_BYTES + 1)
    except zlib.error as error:
        raise RequestError(400, f"request: expected gzip, found {error}") from error
    if len(content) > MAX_BYTES:
        raise _too_large()
    if not unpacker.eof or unpacker.unused_data:
        raise RequestError(400, "request: expected one whole gzip stream, found a part or more")
    return content


def _split(body: bytes, json_bytes: str | None) -> tuple[bytes, bytes]:
    if json_bytes is None:
        return body, b""
    if (
        not json_bytes.isascii()
        or not json_bytes.isdigit()
        or len(json_bytes) > len(str(MAX_BYTES))
    ):
        raise Refused(f"{LENGTH_HEADER}: expected a number of bytes, found {json_bytes[:40]!a}")
    size = int(json_bytes)
    if size > len(body):
        raise Refused(f"{LENGTH_HEADER}: expected at most {len(body)} bytes, found {size}")
    return body[:size], body[size:]


def _refuse_costly(head: bytes, inputs: int) -> None:
    """Raise for JSON with more values or lists than any good request for so many inputs.

    Every comma and bracket counts, also those in text. A list of
    16 MiB of empty lists would take seconds to parse and 600 MB to hold.
    """
    if len(head) <= _SMALL:
        return
    # One of fewer bytes than it may have commas need not be counted.
    most = MAX_ROWS * (inputs + SPARE_INPUTS)
    if len(head) > most and (commas := _count(head, ",")) > most:
        raise RequestError(400, f"request: expected at most {most} values, found {commas} commas")
    most = MAX_ROWS * inputs + _SPARE_LISTS  # a value may come as a list of one
    if len(head) > most and (brackets := _count(head, "[") + _count(head, "{")) > most:
        raise RequestError(
            400, f"request: expected at most {most} lists, found {brackets} brackets"
        )


def _count(head: bytes, letter: str) -> int:
    """How often a letter of ASCII occurs; `bytes.count` is slow where it is often."""
    import numpy as np  # noqa: PLC0415 - the model has imported it

    return int(np.count_nonzero(np.frombuffer(head, np.uint8) == ord(letter)))


def _counted(size: int) -> int:
    """How much of a body counts for the limit of all bodies."""
    return max(0, size - _SMALL)
