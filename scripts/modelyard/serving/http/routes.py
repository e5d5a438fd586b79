"""The server's application: its paths, and what is answered there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from modelyard.domain.server_arguments import RELEASE_HEADER
from modelyard.domain.server_fault import FAULT_HEADER, Blame
from modelyard.serving.http.dialects import MLFLOW, OPEN_INFERENCE, Dialect
from modelyard.serving.http.inference import Inference
from modelyard.serving.http.openapi import REQUEST_HEADER, openapi_document
from modelyard.serving.shadow.copies import COPY_HEADER, SHADOW_PATH

if TYPE_CHECKING:
    from modelyard.serving.counters import Counters
    from modelyard.serving.served_model import ServedModel

RETRY_SECONDS = "1"
"""When a client that found the queue full may come again."""

_SHOWN = 80
_Answer = Callable[[Request], Awaitable[Response]]


class Routes:
    """Answers the Open Inference Protocol and MLflow's for one model, and nothing else.

    Args:
        model: The model.
        labels: `model`, `version`, `release` and `digest`; the release is sent with every answer,
            so that a client knows its source.
        counters: Counts the requests.
        inference: Answers them.
        closing: A file; while it exists, every answer ends its connection. None for never.
        registry: What `/metrics` exposes.
    """

    def __init__(
        self,
        model: ServedModel,
        labels: Mapping[str, str],
        counters: Counters,
        inference: Inference,
        *,
        closing: Path | None = None,
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        self._model, self._labels, self._counters = model, labels, counters
        self._inference = inference
        self._closing, self._registry = closing, registry
        self._header = (RELEASE_HEADER.encode(), labels["release"].encode())
        path = f"/v2/models/{model.name}"
        paths = (path, f"{path}/versions/{labels['version']}")
        self._posts: dict[str, _Answer] = {
            **{f"{each}/infer": self.infer for each in paths},
            "/invocations": self.invocations,
            SHADOW_PATH: self.copy,
        }
        self._gets: dict[str, _Answer] = {
            "/": self.live,
            "/health": self.ping,
            "/metrics": self.metrics,
            "/openapi.json": self.openapi,
            "/ping": self.ping,
            "/v2": self.server,
            "/v2/": self.server,
            "/v2/health/live": self.live,
            "/v2/health/ready": self.ready,
            "/v2/models": self.models,
            **dict.fromkeys(paths, self.metadata),
            **{f"{each}/ready": self.ready for each in paths},
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def send_with_release(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], self._header, *self._closing_headers()]
            await send(message)

        request = Request(scope, receive)
        response = await self._answer_of(scope)(request)
        await response(scope, receive, send_with_release)

    def _answer_of(self, scope: Scope) -> _Answer:
        path, method = scope["path"], scope["method"]
        for methods, answers in (({"POST"}, self._posts), ({"GET", "HEAD"}, self._gets)):
            if path in answers:
                return answers[path] if method in methods else _other_method(sorted(methods))
        return _no_path

    async def infer(self, request: Request) -> Response:
        """Answer one request: 4xx if its client can correct it, 5xx if the model fails."""
        return await self._answer(request, OPEN_INFERENCE)

    async def invocations(self, request: Request) -> Response:
        """The same for a request of MLflow's protocol."""
        return await self._answer(request, MLFLOW)

    async def copy(self, request: Request) -> Response:
        """Answer a copy of a request that another release has answered."""
        if COPY_HEADER not in request.headers:
            return await _no_path(request)
        status, document = await self._inference.answer_copy(request, self._labels)
        return _json(document, status)

    async def _answer(self, request: Request, dialect: Dialect) -> Response:
        with self._counters.count_request() as outcome:
            status, document = await self._inference.answer(request, outcome, dialect)
            answer = _json(document, status)
            outcome.status = status
            if outcome.given_id is not None:
                answer.headers[REQUEST_HEADER] = outcome.given_id
            if outcome.is_overloaded:
                answer.headers["retry-after"] = RETRY_SECONDS
            return answer

    async def live(self, request: Request) -> Response:
        """That the server answers, and its model too."""
        del request
        if self._model.is_stuck:
            return _json({"live": False, "error": self._inference.not_ready_reason()}, 503)
        return _json({"status": "alive", "live": True})

    async def ping(self, request: Request) -> Response:
        """Whether the model is ready, as MLflow's server says it."""
        if self._model.is_ready:
            return Response("\n", media_type="application/json")
        return await self.ready(request)

    async def metrics(self, request: Request) -> Response:
        """The counters, for Prometheus and the local scraper."""
        encode, kind = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(self._registry), headers={"content-type": kind})

    async def server(self, request: Request) -> Response:
        """The server's metadata."""
        del request
        return _json({"name": "modelyard", "version": "1", "extensions": ["binary_tensor_data"]})

    async def models(self, request: Request) -> Response:
        """The names of the models: one."""
        del request
        return _json({"models": [self._model.name]})

    async def metadata(self, request: Request) -> Response:
        """The model's metadata from the contract, with the digest of the artifact."""
        del request
        parameters = {name: self._labels[name] for name in ("release", "digest")}
        if self._model.alone_because:
            parameters["unbatched"] = self._model.alone_because
        return _json(
            {
                "name": self._model.name,
                "platform": "mlflow",
                "versions": [self._labels["version"]],
                "inputs": self._model.input_types(),
                "outputs": self._model.output_types(),
                "parameters": parameters,
            }
        )

    async def openapi(self, request: Request) -> Response:
        """What is answered here, as an OpenAPI document."""
        del request
        serving, version = self._model.predictor.serving, self._labels["version"]
        return _json(openapi_document(serving, model=self._model.name, version=version))

    async def ready(self, request: Request) -> Response:
        """Whether the model is ready, and if not, why."""
        del request
        if self._model.is_ready:
            return _json({"name": self._model.name, "ready": True})
        why = self._inference.not_ready_reason()
        answer = _json({"name": self._model.name, "ready": False, "error": why}, 503)
        if self._model.golden_problem:
            answer.headers[FAULT_HEADER] = Blame.VERSION
        return answer

    def _closing_headers(self) -> list[tuple[bytes, bytes]]:
        if self._closing is None or not self._closing.exists():
            return []
        return [(b"connection", b"close")]


async def _no_path(request: Request) -> Response:
    return _json({"error": f"{request.url.path[:_SHOWN]}: no such path"}, 404)


def _other_method(methods: list[str]) -> _Answer:
    async def refuse(request: Request) -> Response:
        allowed = ", ".join(methods)
        error = f"{request.method[:_SHOWN]}: expected {allowed}"
        return Response(
            orjson.dumps({"error": error}),
            status_code=405,
            headers={"allow": allowed},
            media_type="application/json",
        )

    return refuse


def _json(document: Mapping[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(document), status_code=status, media_type="application/json")
