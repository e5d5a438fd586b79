"""The server's own routes, with the limits of a request and the status of each answer."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from fastapi import FastAPI, Request, Response
from mlflow.exceptions import MlflowException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modelyard.domain.server_fault import FAULT_HEADER, Blame
from modelyard.serving.batches import OverloadedError
from modelyard.serving.counters import Counters, Outcome
from modelyard.serving.http.bodies import BodyReader, RequestError
from modelyard.serving.inputs import InferenceRequest
from modelyard.serving.outliers import OutlierError
from modelyard.serving.payload_log import PayloadLog
from modelyard.serving.payload_parts import Payload

if TYPE_CHECKING:
    from kserve.protocol.dataplane import DataPlane

    from modelyard.serving.predictor import Scores
    from modelyard.serving.served_model import Answer, ServedModel

RELEASE_HEADER = "x-modelyard-release"

RETRY_SECONDS = "1"
"""When a client that found the queue full may come again."""

_LOGGER = logging.getLogger(__name__)
_SCHEMA_ERROR = "INVALID_PARAMETER_VALUE"  # the signature was compared with the contract at load
_SHOWN = 80
_OPEN = frozenset(
    {"/", "/metrics", "/v2", "/v2/", "/v2/health/live", "/v2/health/ready", "/v2/models"}
)


class Routes:
    """Inference, readiness and metadata of one model.

    Args:
        dataplane: kserve's data plane, which the model is registered with.
        model: The model.
        labels: `model`, `version`, `release` and `digest`.
        counters: Counts the requests.
        log: Logs the rows; None for no log.
    """

    def __init__(
        self,
        dataplane: DataPlane,
        model: ServedModel,
        labels: Mapping[str, str],
        counters: Counters,
        log: PayloadLog | None,
    ) -> None:
        self._dataplane = dataplane
        self._model = model
        self._labels = labels
        self._counters = counters
        self._log = log
        self._bodies = BodyReader(model.predictor.serving)

    def add_to(self, app: FastAPI) -> None:
        """Add the routes before kserve adds its own, which it does when the server starts."""
        path = f"/v2/models/{self._model.name}"
        app.add_route(path, self.metadata, methods=["GET"])
        for ready in (f"{path}/ready", "/v2/health/ready"):  # kserve's own always reports ready
            app.add_route(ready, self.ready, methods=["GET"])
        app.add_route(f"{path}/infer", self.infer, methods=["POST"])

    async def metadata(self, request: Request) -> Response:
        """The model's metadata from the contract, with the digest of the artifact."""
        del request
        document = await self._dataplane.model_metadata(self._model.name)
        labels = {name: self._labels[name] for name in ("release", "digest")}
        if self._model.alone_because:
            labels["unbatched"] = self._model.alone_because
        versions = [self._labels["version"]]
        return _json({**document, "platform": "mlflow", "versions": versions, "parameters": labels})

    async def ready(self, request: Request) -> Response:
        """Whether the model is ready, and if not, why."""
        del request
        if await self._dataplane.model_ready(self._model.name):
            return _json({"name": self._model.name, "ready": True})
        answer = _json(
            {"name": self._model.name, "ready": False, "error": self._not_ready_reason()}, 503
        )
        if self._model.golden_problem:
            answer.headers[FAULT_HEADER] = Blame.VERSION
        return answer

    async def infer(self, request: Request) -> Response:
        """Answer one request: 4xx if its client can correct it, 5xx if the model fails."""
        with self._counters.count_request() as outcome:
            outcome.status, document = await self._answer(request, outcome)
            answer = _json(document, outcome.status)
            if outcome.is_overloaded:
                answer.headers["retry-after"] = RETRY_SECONDS
            return answer

    async def _answer(self, request: Request, outcome: Outcome) -> tuple[int, Mapping[str, Any]]:
        parsed: InferenceRequest | None = None
        try:
            parsed = await self._read(request)
            document, answer = await self._predict(parsed)
        except RequestError as failure:
            outcome.is_overloaded = failure.is_overloaded
            self._log_payload(parsed, failure.status, error=str(failure))
            return failure.status, {"error": str(failure)}
        self._counters.count_answer(parsed, answer.scores)
        self._log_payload(parsed, 200, scores=answer.scores)
        return 200, document

    async def _read(self, request: Request) -> InferenceRequest:
        parsed = await self._bodies.read(request)
        if not self._model.ready:
            raise RequestError(503, self._not_ready_reason())
        return parsed

    async def _predict(self, parsed: InferenceRequest) -> tuple[Mapping[str, Any], Answer]:
        try:
            (document, answer), _ = await self._dataplane.infer(self._model.name, parsed)
        except MlflowException as error:
            if error.error_code != _SCHEMA_ERROR:
                raise self._crash(error) from error
            raise RequestError(400, error.message) from error
        except OutlierError as refusal:
            raise RequestError(422, refusal.message) from refusal
        except OverloadedError as error:
            busy = f"model {self._model.name} is busy: too many requests wait; send it again later"
            raise RequestError(503, busy, is_overloaded=True) from error
        except Exception as error:
            raise self._crash(error) from error
        return document, answer

    def _crash(self, error: Exception) -> RequestError:
        _LOGGER.error("model %s failed", self._model.name, exc_info=error)
        return RequestError(500, f"model {self._model.name} failed: {type(error).__name__}")

    def _not_ready_reason(self) -> str:
        return f"model {self._model.name} is not ready: {self._model.golden_problem or 'stopping'}"

    def _log_payload(
        self,
        parsed: InferenceRequest | None,
        status: int,
        *,
        scores: Scores | None = None,
        error: str | None = None,
    ) -> None:
        if self._log is not None:
            self._log.put(
                Payload(
                    at=datetime.now(UTC),
                    status=status,
                    inputs=parsed,
                    scores=scores,
                    error=error,
                )
            )


class ProtocolFilter:
    """Passes only the inference protocol on: kserve's app could also unload the model.

    Args:
        app: The application to pass requests on to.
        model: The model's name.
        release: Identity of the release; sent with every answer, so that a client knows its source.
        infer: Answers inference requests, which skip the application's routing.
        closing: A file; while it exists, every answer ends its connection. None for never.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        model: str,
        release: str,
        infer: Callable[[Request], Awaitable[Response]],
        closing: Path | None = None,
    ) -> None:
        self._app, self._closing = app, closing
        path = f"/v2/models/{model}"
        self._infer_path, self._infer = f"{path}/infer", infer
        self._open = _OPEN | {path, f"{path}/ready", self._infer_path}
        self._header = (RELEASE_HEADER.encode(), release.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 404."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_release(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], self._header, *self._closing_headers()]
            await send(message)

        if scope["path"] == self._infer_path and scope["method"] == "POST":
            await (await self._infer(Request(scope, receive)))(scope, receive, send_with_release)
        elif scope["path"] in self._open:
            await self._app(scope, receive, send_with_release)
        else:
            path = scope["path"][:_SHOWN]
            await _json({"error": f"{path}: no such path"}, 404)(scope, receive, send_with_release)

    def _closing_headers(self) -> list[tuple[bytes, bytes]]:
        if self._closing is None or not self._closing.exists():
            return []
        return [(b"connection", b"close")]


def _json(document: Mapping[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(document), status_code=status, media_type="application/json")
