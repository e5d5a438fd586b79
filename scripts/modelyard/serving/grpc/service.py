"""Answers the calls of the protocol for one model, the same way as HTTP does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import grpc
import grpc.aio

from modelyard.domain.server_arguments import RELEASE_HEADER
from modelyard.serving.grpc.messages import SERVICE, message_class
from modelyard.serving.grpc.reading import AnotherModelError, MessageReader
from modelyard.serving.grpc.tensors import write_response
from modelyard.serving.http.bodies import RequestError
from modelyard.serving.http.openapi import REQUEST_HEADER

if TYPE_CHECKING:
    from modelyard.serving.counters import Counters, Outcome
    from modelyard.serving.http.inference import Inference
    from modelyard.serving.inputs import InferenceRequest
    from modelyard.serving.served_model import ServedModel

_LOGGER = logging.getLogger(__name__)
_Context: TypeAlias = "grpc.aio.ServicerContext"

RETRY_MILLISECONDS = "1000"
"""When a client that found the server full may come again; as `Retry-After` of HTTP."""

LEFT = 499
"""The status of a call whose client left before its message was there."""

_PUSHBACK = "grpc-retry-pushback-ms"
_LONGEST_DETAILS = 2000  # clients refuse metadata of more than 8 KB

CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.UNAVAILABLE,
    LEFT: grpc.StatusCode.CANCELLED,
    503: grpc.StatusCode.UNAVAILABLE,
}
"""The status of gRPC for one of HTTP, by which requests are counted; INTERNAL for any other."""


@dataclass(frozen=True, kw_only=True)
class _Reply:
    """What a call is answered.

    Args:
        status: As it would be over HTTP.
        message: The answer's message.
        error: What is wrong, if anything is.
        given_id: The id that the request was given.
        is_overloaded: Whether it may be sent again soon.
    """

    status: int = 200
    message: bytes = b""
    error: str = ""
    given_id: str | None = None
    is_overloaded: bool = False


class Service:
    """The calls of one server.

    Args:
        model: The model.
        labels: `model`, `version`, `release` and `digest`.
        counters: Counts the requests.
        inference: Answers them.
    """

    def __init__(
        self,
        model: ServedModel,
        labels: Mapping[str, str],
        counters: Counters,
        inference: Inference,
    ) -> None:
        self._model, self._labels = model, labels
        self._counters, self._inference = counters, inference
        self._reader = MessageReader(model.predictor.serving, model.name, labels["version"])
        # Metadata is printable ASCII, or the answer cannot be sent.
        self._release = ascii(labels["release"])[1:-1]
        self._running: set[asyncio.Task[_Reply]] = set()

    def handler(self) -> grpc.GenericRpcHandler:
        """What gRPC calls.

        To a client they are calls of one message. To gRPC it is a stream, so that its messages are
        read and parsed here: within limits, and with an answer that says what is wrong with one.
        """
        calls: dict[str, Callable[[_Context], Awaitable[_Reply]]] = {
            "ServerLive": self._live,
            "ServerReady": self._server_ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server_metadata,
            "ModelMetadata": self._model_metadata,
            "ModelInfer": self._infer,
        }
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                name: grpc.stream_unary_rpc_method_handler(self._answering(name, call))
                for name, call in calls.items()
            },
        )

    async def finish(self, seconds: float) -> None:
        """Wait for requests that are still scored, though their clients may have left."""
        if self._running:
            await asyncio.wait(self._running, timeout=seconds)

    def _answering(
        self, name: str, call: Callable[[_Context], Awaitable[_Reply]]
    ) -> Callable[[object, _Context], Awaitable[bytes]]:
        async def answer(_: object, context: _Context) -> bytes:
            # A client that leaves changes nothing: over HTTP its request is counted like any other.
            running = asyncio.ensure_future(self._reply(name, call, context))
            self._running.add(running)
            running.add_done_callback(self._running.discard)
            reply = await asyncio.shield(running)
            if reply.status == LEFT:
                raise asyncio.CancelledError  # nobody can be answered
            trailing = [(RELEASE_HEADER, self._release)]
            if reply.given_id is not None:
                trailing.append((REQUEST_HEADER, reply.given_id))
            if reply.is_overloaded:
                trailing.append((_PUSHBACK, RETRY_MILLISECONDS))
            if reply.status != 200:  # noqa: PLR2004 - as HTTP's
                code = CODES.get(reply.status, grpc.StatusCode.INTERNAL)
                await context.abort(code, reply.error[:_LONGEST_DETAILS], tuple(trailing))
            context.set_trailing_metadata(tuple(trailing))
            return reply.message

        return answer

    async def _reply(
        self, name: str, call: Callable[[_Context], Awaitable[_Reply]], context: _Context
    ) -> _Reply:
        try:
            return await call(context)
        except AnotherModelError as error:
            return _Reply(status=404, error=str(error))
        except RequestError as error:
            return _failure(error)
        except Exception:  # gRPC would tell its client what it says
            _LOGGER.exception("gRPC %s failed", name)
            return _Reply(status=500, error="the server failed")

    async def _infer(self, context: _Context) -> _Reply:
        with self._counters.count_request() as outcome:
            try:
                reply = await self._scored(context, outcome)
            except AnotherModelError:
                outcome.is_for_another_model = True
                raise
            outcome.status = reply.status
            return reply

    async def _scored(self, context: _Context, outcome: Outcome) -> _Reply:
        is_raw = False

        async def read() -> InferenceRequest:
            nonlocal is_raw
            parsed, is_raw = await self._reader.read_inference(context)
            return parsed

        try:
            parsed, scores = await self._inference.score(read(), outcome)
        except RequestError as failure:
            return _failure(failure, outcome.given_id)
        document = self._model.document(parsed, scores)
        message = write_response(document, parsed, is_raw=is_raw)
        return _Reply(message=message, given_id=outcome.given_id)

    async def _live(self, context: _Context) -> _Reply:
        await self._reader.read(context, "ServerLiveRequest")
        return _message("ServerLiveResponse", live=not self._model.is_stuck)

    async def _server_ready(self, context: _Context) -> _Reply:
        await self._reader.read(context, "ServerReadyRequest")
        return _message("ServerReadyResponse", ready=self._model.is_ready)

    async def _model_ready(self, context: _Context) -> _Reply:
        request = await self._reader.read(context, "ModelReadyRequest")
        self._reader.refuse_another_model(request.name, request.version)
        return _message("ModelReadyResponse", ready=self._model.is_ready)

    async def _server_metadata(self, context: _Context) -> _Reply:
        await self._reader.read(context, "ServerMetadataRequest")
        return _message("ServerMetadataResponse", name="modelyard", version="1")

    async def _model_metadata(self, context: _Context) -> _Reply:
        request = await self._reader.read(context, "ModelMetadataRequest")
        self._reader.refuse_another_model(request.name, request.version)
        return _message(
            "ModelMetadataResponse",
            name=self._model.name,
            versions=[self._labels["version"]],
            platform="mlflow",
            inputs=self._model.input_types(),
            outputs=self._model.output_types(),
        )


def _message(kind: str, **fields: object) -> _Reply:
    return _Reply(message=message_class(kind)(**fields).SerializeToString())


def _failure(error: RequestError, given_id: str | None = None) -> _Reply:
    may_come_again = error.is_overloaded or error.status == 429  # noqa: PLR2004 - as HTTP's
    return _Reply(
        status=error.status, error=str(error), given_id=given_id, is_overloaded=may_come_again
    )
