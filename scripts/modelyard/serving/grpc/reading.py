"""Reads the message of a call, within limits of time and of what clients hold meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from modelyard.errors import Refused
from modelyard.serving.grpc.cost import SMALL_BYTES, refuse_costly
from modelyard.serving.grpc.messages import message_class
from modelyard.serving.grpc.tensors import document_of
from modelyard.serving.http.bodies import (
    BODY_SECONDS,
    MAX_BYTES,
    MAX_HELD_BYTES,
    SPARE_INPUTS,
    RequestError,
)
from modelyard.serving.inputs import InferenceRequest, read_request

if TYPE_CHECKING:
    import grpc.aio

    from modelyard.serving.documents import Serving

PROMPT_SECONDS = 1.0
"""Within which a message comes that holds no memory to speak of: it is small, or its line fast."""

MOST_SLOW = MAX_HELD_BYTES // MAX_BYTES
"""Messages that may take longer at one time: their size is not known before they are there."""

MOST_READING = 1000
"""Messages that are waited for at one time."""

_TURN_SECONDS = 0.05  # for the loop to read what has come while it was busy
_PASSED = 0.0  # on the loop's clock
_AT_ONCE = 2**17  # as of a body: what is parsed on the event loop


class AnotherModelError(Exception):
    """The call is for a model, or a version, that is not served here."""


class MessageReader:
    """Reads the messages of one server.

    gRPC tells the size of a message only when it is there. So what may take a while is counted as
    if each were of the largest size.

    Args:
        serving: The contract that requests are read by.
        model: The model's name.
        version: Its version.
    """

    def __init__(self, serving: Serving, model: str, version: str) -> None:
        self._serving, self._model, self._version = serving, model, version
        self._reading = self._slow = 0
        self._thread = ThreadPoolExecutor(1, "read-grpc")

    async def read(self, context: grpc.aio.ServicerContext, kind: str) -> Any:
        """The message of a call that is no inference.

        Raises:
            RequestError: As `read_inference`.
        """
        message = await self._receive(context)
        if len(message) > SMALL_BYTES:
            raise RequestError(400, f"request: expected at most {SMALL_BYTES} bytes")
        return parse_message(kind, message)

    async def read_inference(
        self, context: grpc.aio.ServicerContext
    ) -> tuple[InferenceRequest, bool]:
        """The request of a call, and whether its values were raw.

        Raises:
            RequestError: It is too slow, costs too much, or breaks the contract.
            AnotherModelError: It is for another model or version.
        """
        message = await self._receive(context)
        parse = partial(self._parse_inference, message)
        if len(message) <= _AT_ONCE:
            return parse()
        return await asyncio.get_running_loop().run_in_executor(self._thread, parse)

    def refuse_another_model(self, name: str, version: str) -> None:
        """Raise unless a model is the one that is served; a client may leave the version out."""
        if name != self._model:
            raise AnotherModelError(f"{name[:80]!a}: expected the model {self._model}")
        if version not in {"", self._version}:
            raise AnotherModelError(
                f"model {self._model} {version[:80]!a}: expected the version {self._version}"
            )

    def _parse_inference(self, message: bytes) -> tuple[InferenceRequest, bool]:
        inputs = self._serving.inputs
        try:
            refuse_costly(message, len(inputs) + SPARE_INPUTS)
            request = parse_message("ModelInferRequest", message)
            self.refuse_another_model(request.model_name, request.model_version)
            document = document_of(request)
            parsed = read_request(document, inputs, output=self._serving.output.name)
        except Refused as refusal:
            raise RequestError(400, refusal.message) from refusal
        return parsed, bool(request.raw_input_contents)

    async def _receive(self, context: grpc.aio.ServicerContext) -> bytes:
        if self._reading >= MOST_READING:
            raise _too_many(f"{MOST_READING} requests are being read")
        self._reading += 1
        try:
            async with asyncio.timeout(BODY_SECONDS) as limit:
                with self._counted_if_slow(limit):
                    message = await context.read()
        except TimeoutError as error:
            if limit.when() != _PASSED:
                raise RequestError(
                    408, f"request: its message did not arrive within {BODY_SECONDS:.0f} s"
                ) from error
            raise _too_many(f"{MOST_SLOW} requests of slow clients are being read") from error
        finally:
            self._reading -= 1
        if not isinstance(message, bytes):  # the end of the call
            raise RequestError(499, "request: the client left before its message was read")
        return message

    @contextmanager
    def _counted_if_slow(self, limit: asyncio.Timeout) -> Iterator[None]:
        """Count what is read here as slow after a second, and end it if too much is."""
        loop = asyncio.get_running_loop()
        timers: list[asyncio.TimerHandle] = []
        is_slow = False

        def count() -> None:
            nonlocal is_slow
            if self._slow >= MOST_SLOW:
                limit.reschedule(_PASSED)
            else:
                is_slow = True
                self._slow += 1

        def look_again() -> None:
            timers.append(loop.call_later(_TURN_SECONDS, count))

        timers.append(loop.call_later(PROMPT_SECONDS, look_again))
        try:
            yield
        finally:
            for timer in timers:
                timer.cancel()
            self._slow -= is_slow


def parse_message(kind: str, message: bytes) -> Any:
    """The message of a kind in some bytes.

    Raises:
        RequestError: They are none.
    """
    try:
        return message_class(kind).FromString(message)
    except Exception as error:  # each implementation of protobuf has its own
        raise RequestError(400, f"request: expected a {kind} of protobuf") from error


def _too_many(what: str) -> RequestError:
    return RequestError(429, f"request: {what}; send it again later")
