"""The model server: kserve's protocol around one verified model, judged by its golden rows."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kserve
import prometheus_client
import threadpoolctl
from kserve.model_server import app

from modelyard.domain.specs.model import OutputKind
from modelyard.serving.artifact import load
from modelyard.serving.counters import Counters
from modelyard.serving.documents import Golden, read_golden
from modelyard.serving.inputs import InferenceRequest, frame_of_rows
from modelyard.serving.payload_log import Limits, PayloadLog
from modelyard.serving.predictor import Predictor
from modelyard.serving.routes import Gate, Routes
from modelyard.serving.tensor import DATATYPES

if TYPE_CHECKING:
    from modelyard.serving.predictor import Scores

_LOGGER = logging.getLogger(__name__)
_GRACE_SECONDS = 30


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What one server process serves, and where.

    Args:
        model: The model's name.
        version: The version's name, for metrics and answers.
        release: Identity of the release, for metrics and the header `x-modelyard-release`.
        artifact: Digest of the artifact.
        folder: Where the artifact is.
        port: The HTTP port.
        host: The address it listens on.
        payload_log: Where rows are written, or None.
        payload_log_megabytes: What that folder may take; beyond it the oldest parts are deleted.
        trusted_types: Types a skops file may name.
        formats: Accepted model formats.
        closing: A file that appears when the server is about to be stopped, or None. From then on
            every answer ends its connection: a client on a kept one comes back to another server.
    """

    model: str
    version: str
    release: str
    artifact: str
    folder: Path
    port: int
    host: str = "127.0.0.1"
    payload_log: Path | None = None
    payload_log_megabytes: int = 1024
    trusted_types: tuple[str, ...] = ()
    formats: tuple[str, ...] = ("skops",)
    closing: Path | None = None

    @property
    def labels(self) -> dict[str, str]:
        """The labels of every metric and every logged row."""
        return {
            "model": self.model,
            "version": self.version,
            "release": self.release,
            "digest": self.artifact,
        }


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the model said to one request."""

    request: InferenceRequest
    scores: Scores


class ServedModel(kserve.Model):  # type: ignore[misc]  # kserve ships no types
    """One predictor behind kserve's data plane.

    Predictions run on one thread with one OpenMP thread: small requests on shared cores otherwise
    spend their time waiting for threads that are waiting for a core.

    Args:
        settings: Names for the answers.
        predictor: The loaded model.
    """

    def __init__(self, settings: Settings, predictor: Predictor) -> None:
        super().__init__(settings.model)
        self.predictor = predictor
        self._version = settings.version
        self._executor = ThreadPoolExecutor(1, "predict", initializer=_one_openmp_thread)
        self.complaint = self._golden_complaint(read_golden(settings.folder))
        self.ready = self.complaint is None

    def load(self) -> bool:
        """Whether it is ready: it was loaded before it was registered, once."""
        return bool(self.ready)

    def validate(self, payload: object) -> object:
        """The payload itself: the contract was checked when the request was read."""
        return payload

    async def preprocess(
        self, body: InferenceRequest, headers: Mapping[str, str] | None = None
    ) -> InferenceRequest:
        """The request itself: there is nothing between the contract and the model."""
        del headers
        return body

    async def predict(
        self, payload: InferenceRequest, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """The model's scores for one request."""
        del headers
        loop = asyncio.get_running_loop()
        scores = await loop.run_in_executor(self._executor, self.predictor.scores, payload.frame)
        return Answer(request=payload, scores=scores)

    async def postprocess(
        self, result: Answer, headers: Mapping[str, str] | None = None
    ) -> tuple[dict[str, Any], Answer]:
        """The answer as the protocol's document, beside the answer itself."""
        del headers
        document = {
            "model_name": self.name,
            "model_version": self._version,
            "id": result.request.identifier or uuid.uuid4().hex,
            "outputs": self._outputs(result.scores),
        }
        return document, result

    def get_input_types(self) -> list[dict[str, Any]]:
        """Name, datatype and shape of each input, as the contract says."""
        return [
            {"name": column.name, "datatype": DATATYPES[column.type], "shape": [-1]}
            for column in self.predictor.serving.inputs
        ]

    def get_output_types(self) -> list[dict[str, Any]]:
        """Name, datatype and shape of each output; for classes, scores first and then words."""
        output = self.predictor.serving.output
        if output.kind is not OutputKind.CLASS:
            return [{"name": output.name, "datatype": "FP64", "shape": [-1]}]
        return [
            {"name": output.name, "datatype": "FP64", "shape": [-1, len(output.classes)]},
            {"name": f"{output.name}_class", "datatype": "BYTES", "shape": [-1]},
        ]

    def _outputs(self, scores: Scores) -> list[dict[str, Any]]:
        output = self.predictor.serving.output
        data: list[Any] = [scores.ravel().tolist()]
        if output.kind is OutputKind.CLASS:
            data.append([output.classes[best] for best in scores.argmax(axis=1)])
        return [
            {**kind, "shape": [len(scores), *kind["shape"][1:]], "data": values}
            for kind, values in zip(self.get_output_types(), data, strict=True)
        ]

    def _golden_complaint(self, golden: Golden) -> str | None:
        import numpy as np  # noqa: PLC0415 - paid for by the model

        frame = frame_of_rows(self.predictor.serving.inputs, golden.rows)
        found = self._executor.submit(self.predictor.scores, frame).result()
        expected = np.asarray(golden.scores, dtype=np.float64)
        if found.shape != expected.shape:
            return f"golden scores have the shape {expected.shape}, the model's {found.shape}"
        worst = float(np.abs(found - expected).max())
        if worst <= golden.tolerance:
            return None
        return f"golden scores differ by up to {worst:.3g}, allowed {golden.tolerance:.3g}"


class Server(kserve.ModelServer):  # type: ignore[misc]  # as above
    """kserve's model server: REST only, one worker, on the address it was told."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(
            http_port=settings.port,
            workers=1,
            enable_grpc=False,
            enable_latency_logging=False,
            grace_period=_GRACE_SECONDS,
        )
        self._host = settings.host
        for noisy in ("uvicorn.access", "kserve.trace"):  # a line a request each
            logging.getLogger(noisy).setLevel(logging.WARNING)

    async def _serve(self) -> None:
        self._rest_server.config.host = self._host  # kserve 0.21 has no setting for it
        await super()._serve()


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; what is in flight is answered, the payload log written.

    A model whose golden rows differ is served as not ready, with the reason, and answers nothing.

    Raises:
        CannotAnswer: A file of the artifact is missing or broken.
        Refused: The artifact is not the pinned one, or not of an accepted kind.
    """
    predictor = load(
        settings.folder, settings.artifact, settings.trusted_types, formats=settings.formats
    )
    model = ServedModel(settings, predictor)
    if model.complaint:
        _LOGGER.error("model %s is not ready: %s", settings.model, model.complaint)
    # A third of what is scraped, and nobody asks for it.
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    counters = Counters(settings.labels, predictor.serving)
    log = _payload_log(settings, predictor, counters)
    server = Server(settings)
    server.register_model(model)
    routes = Routes(server.dataplane, model, settings.labels, counters, log)
    routes.add_to(app)
    if settings.closing is not None:
        settings.closing.unlink(missing_ok=True)
    app.add_middleware(
        Gate,
        model=settings.model,
        release=settings.release,
        infer=routes.infer,
        closing=settings.closing,
    )
    try:
        server.start([])
    finally:
        if log is not None:
            log.close()


def _payload_log(settings: Settings, predictor: Predictor, counters: Counters) -> PayloadLog | None:
    if settings.payload_log is None:
        return None
    return PayloadLog(
        settings.payload_log,
        labels=settings.labels,
        serving=predictor.serving,
        dropped=counters.dropped,
        limits=Limits(disk_bytes=settings.payload_log_megabytes * 2**20),
    )


def _one_openmp_thread() -> None:
    threadpoolctl.threadpool_limits(limits=1)
