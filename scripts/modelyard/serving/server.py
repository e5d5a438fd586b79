"""The model server: kserve's inference protocol for one verified model."""

from __future__ import annotations

import gc
import logging
import os
import signal
import threading
from dataclasses import dataclass
from pathlib import Path

import kserve
import prometheus_client
from kserve.model_server import app

from modelyard.domain.specs.model import DEFAULT_QUEUE
from modelyard.errors import VersionFault
from modelyard.serving.counters import Counters
from modelyard.serving.documents import read_golden
from modelyard.serving.http.connections import LimitedProtocol, allow_many_connections
from modelyard.serving.http.routes import ProtocolFilter, Routes
from modelyard.serving.payload_log import Limits, PayloadLog
from modelyard.serving.predictor import Predictor, load_predictor
from modelyard.serving.served_model import ServedModel

_LOGGER = logging.getLogger(__name__)
_NOT_READY_SECONDS = 20.0  # for people and probes to read why
_GRACE_SECONDS = 30  # less than the pod's terminationGracePeriodSeconds; see render/pod.py


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What one server process serves, and where.

    Args:
        model: The model's name.
        version: The version's name, for metrics and answers.
        release: Identity of the release, for metrics and the header `x-modelyard-release`.
        artifact: Digest of the artifact.
        folder: The artifact's folder.
        port: The HTTP port.
        host: The address to listen on.
        payload_log: The folder to log rows to, or None.
        payload_log_megabytes: Size of that folder beyond which the oldest parts are deleted.
        trusted_types: Types that a skops file may name.
        formats: Accepted model formats.
        closing: A file that appears when the server is about to be stopped, or None. From then on
            every answer ends its connection, so that clients reconnect to another server.
        queue: Requests that may wait while the model is busy.
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
    queue: int = DEFAULT_QUEUE

    @property
    def labels(self) -> dict[str, str]:
        """The labels of every metric and of every logged row."""
        return {
            "model": self.model,
            "version": self.version,
            "release": self.release,
            "digest": self.artifact,
        }


class Server(kserve.ModelServer):  # type: ignore[misc]  # kserve ships no types
    """kserve's model server: REST only, one worker, on the given address."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(
            http_port=settings.port,
            workers=1,
            enable_grpc=False,
            enable_latency_logging=False,
            grace_period=_GRACE_SECONDS,
        )
        self._host = settings.host
        for noisy in ("uvicorn.access", "kserve.trace"):  # each logs a line per request
            logging.getLogger(noisy).setLevel(logging.WARNING)

    async def _serve(self) -> None:
        config = self._rest_server.config
        config.host, config.http = self._host, LimitedProtocol  # kserve 0.21 has no settings for it
        await super()._serve()


def serve_model(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; then answer what is in flight and write the payload log.

    A model whose golden rows differ is reported as not ready, with the reason, and not served; a
    while later the process ends, so that a cluster learns from its exit code whose fault that is.

    Raises:
        CannotAnswer: A file of the artifact is missing or broken, or this machine lacks something.
        VersionFault: The model fails when it is opened, or differs on its golden rows.
        Refused: The artifact is not the pinned one, or is not accepted.
    """
    predictor = load_predictor(
        settings.folder, settings.artifact, settings.trusted_types, formats=settings.formats
    )
    golden = read_golden(settings.folder)
    model = ServedModel(settings.model, settings.version, predictor, golden, queue=settings.queue)
    if model.alone_because:
        _LOGGER.warning("model %s is served unbatched: %s", settings.model, model.alone_because)
    if model.golden_problem:
        _LOGGER.error("model %s is not ready: %s", settings.model, model.golden_problem)
    # They are a third of each scrape, and no query reads them.
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
        ProtocolFilter,
        model=settings.model,
        release=settings.release,
        infer=routes.infer,
        closing=settings.closing,
    )
    if model.golden_problem:
        end = threading.Timer(_NOT_READY_SECONDS, os.kill, (os.getpid(), signal.SIGTERM))
        end.daemon = True
        end.start()
    allow_many_connections()
    # What is loaded now stays: else each full collection walks all of it, and stops the server.
    gc.collect()
    gc.freeze()
    try:
        server.start([])
    finally:
        if log is not None:
            log.close()
    if model.golden_problem:
        raise VersionFault(f"model {settings.model}: {model.golden_problem}")


def _payload_log(settings: Settings, predictor: Predictor, counters: Counters) -> PayloadLog | None:
    if settings.payload_log is None:
        return None
    return PayloadLog(
        settings.payload_log,
        labels=settings.labels,
        serving=predictor.serving,
        on_dropped=counters.count_dropped,
        limits=Limits(disk_bytes=settings.payload_log_megabytes * 2**20),
    )
