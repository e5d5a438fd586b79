"""The model server: the Open Inference Protocol for one verified model."""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import prometheus_client
from prometheus_client import REGISTRY, CollectorRegistry

from modelyard.domain.specs.model import DEFAULT_QUEUE, STUCK_SECONDS
from modelyard.errors import VersionFault
from modelyard.serving.counters import Counters
from modelyard.serving.documents import read_golden
from modelyard.serving.http.connections import allow_many_connections
from modelyard.serving.http.inference import Inference
from modelyard.serving.http.routes import Routes
from modelyard.serving.http.stoppable import GRACE_SECONDS, Beside, Loop, Server
from modelyard.serving.payload_log import (
    CLOSE_SECONDS,
    Limits,
    PayloadLog,
    forget_partial_parts,
)
from modelyard.serving.predictor import Predictor, load_predictor
from modelyard.serving.served_model import ServedModel
from modelyard.serving.shadow.copies import Shadow
from modelyard.serving.workers.group import Group, bound_socket, shared_by
from modelyard.serving.workers.shared import Shared

_LOGGER = logging.getLogger(__name__)
_NOT_READY_SECONDS = 20.0  # for people and probes to read why
_CALL_SECONDS = 1.0  # a worker whose model takes longer is not heard of until it has returned
_STOP_SECONDS = GRACE_SECONDS + CLOSE_SECONDS + 10.0  # for a worker, which ends before by itself


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
        stuck_after: Seconds after which a call of the model is taken for one that never returns.
        listening: The descriptor of a socket of the port; None to make one.
        shadow_share: The share of answered requests that is copied to a canary.
        shadow_to: Where canaries answer; see `shadow.copies.Shadow`.
        grpc_port: The port of gRPC; None for HTTP alone.
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
    stuck_after: float = STUCK_SECONDS
    listening: int | None = None
    shadow_share: float = 0.0
    shadow_to: tuple[str, ...] = ()
    grpc_port: int | None = None

    @property
    def labels(self) -> dict[str, str]:
        """The labels of every metric and of every logged row."""
        return {
            "model": self.model,
            "version": self.version,
            "release": self.release,
            "digest": self.artifact,
        }


def serve_model(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; then answer what is in flight and write the payload log.

    A model whose golden rows differ is reported as not ready, with the reason, and not served; a
    while later the process ends, so that a cluster learns from its exit code whose fault that is.

    Raises:
        CannotAnswer: A file of the artifact is missing or broken, or this machine lacks something.
        VersionFault: The model fails when it is opened, or differs on its golden rows.
        Refused: The artifact is not the pinned one, or is not accepted.
    """
    _forget_closing(settings)
    _serve(settings, _sockets(settings))


def serve_workers(settings: Settings, workers: int) -> None:
    """The same with so many worker processes, each with the model, its own queue and its own log.

    Raises:
        CannotAnswer: As `serve_model`; also if a worker dies before all have loaded the model.
        VersionFault: As `serve_model`.
        Refused: As `serve_model`.
    """
    if settings.formats != ("skops",):
        import mlflow.pyfunc  # noqa: F401, PLC0415 - once, for all workers
    _forget_closing(settings)

    def work(number: int, shared: Shared, listening: socket.socket) -> None:
        registry = shared.enter(number)
        _serve(
            settings,
            [listening],
            registry,
            # uvloop takes all connections that wait, whatever the socket says: see `OneAtATime`.
            loop="asyncio",
            when_loaded=lambda: shared.wait_for_all(number),
            when_well=lambda: shared.beat(number),
            replaces_stuck=lambda: shared.take_stuck(number),
        )

    def forget(process: int) -> None:
        if settings.payload_log is not None:
            forget_partial_parts(settings.payload_log, settings.release, process)

    listening = _sockets(settings) or [bound_socket(settings.host, settings.port)]
    gc.collect()
    gc.freeze()
    with listening[0], shared_by(workers) as shared:
        Group(
            workers,
            work,
            shared=shared,
            listening=listening[0],
            forget=forget,
            stop_seconds=_STOP_SECONDS,
            stuck_after=settings.stuck_after,
        ).run()


def _serve(
    settings: Settings,
    sockets: list[socket.socket] | None,
    registry: CollectorRegistry = REGISTRY,
    *,
    loop: Loop = "auto",
    when_loaded: Callable[[], None] = lambda: None,
    when_well: Callable[[], None] = lambda: None,
    replaces_stuck: Callable[[], bool] = lambda: False,
) -> None:
    predictor = load_predictor(
        settings.folder, settings.artifact, settings.trusted_types, formats=settings.formats
    )
    golden = read_golden(settings.folder)
    model = ServedModel(
        settings.model,
        settings.version,
        predictor,
        golden,
        queue=settings.queue,
        stuck_after=settings.stuck_after,
    )
    if model.alone_because:
        _LOGGER.warning("model %s is served unbatched: %s", settings.model, model.alone_because)
    if model.golden_problem:
        _LOGGER.error("model %s is not ready: %s", settings.model, model.golden_problem)
    # They are a third of each scrape, and no query reads them.
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    counters = Counters(settings.labels, predictor.serving)
    if replaces_stuck():  # not before: one that fails to load leaves it to the next
        counters.count_stuck()
    log = _payload_log(settings, predictor, counters)
    inference = Inference(model, counters, log, _shadow(settings, predictor, counters))
    app = Routes(
        model,
        settings.labels,
        counters,
        inference,
        closing=settings.closing,
        registry=registry,
    )

    def tell_if_well() -> None:
        if model.busy_seconds < _CALL_SECONDS:
            when_well()
        if given_up := model.give_up_if_stuck():
            why = model.not_ready_because
            _LOGGER.error("model %s: %s; %d requests failed", settings.model, why, given_up)

    server = Server(
        app,
        host=settings.host,
        port=settings.port,
        loop=loop,
        on_stop=model.stop,
        on_tick=tell_if_well,
        beside=_grpc(settings, model, counters, inference, is_shared=registry is not REGISTRY),
    )
    allow_many_connections()
    # What is loaded now stays: else each full collection walks all of it, and stops the server.
    gc.collect()
    gc.freeze()
    when_loaded()
    if model.golden_problem:
        # Not before: what SIGTERM ends while it waits would not say that the model differs.
        end = threading.Timer(_NOT_READY_SECONDS, os.kill, (os.getpid(), signal.SIGTERM))
        end.daemon = True
        end.start()
    try:
        server.run(sockets=sockets)
    finally:
        if log is not None:
            log.close()
    if model.golden_problem:
        raise VersionFault(f"model {settings.model}: {model.golden_problem}")


def _forget_closing(settings: Settings) -> None:
    """Delete the file that a server before this one has left in the same pod."""
    if settings.closing is not None:
        settings.closing.unlink(missing_ok=True)


def _sockets(settings: Settings) -> list[socket.socket] | None:
    return None if settings.listening is None else [socket.socket(fileno=settings.listening)]


def _shadow(settings: Settings, predictor: Predictor, counters: Counters) -> Shadow | None:
    if not settings.shadow_share or not settings.shadow_to:
        return None
    return Shadow(
        settings.shadow_share,
        settings.shadow_to,
        labels=settings.labels,
        serving=predictor.serving,
        on_pair=counters.count_pair,
        on_lost=counters.count_lost,
    )


def _grpc(
    settings: Settings,
    model: ServedModel,
    counters: Counters,
    inference: Inference,
    *,
    is_shared: bool,
) -> Beside | None:
    if settings.grpc_port is None:
        return None
    from modelyard.serving.grpc.listener import Listener  # noqa: PLC0415 - only if asked for
    from modelyard.serving.grpc.service import Service  # noqa: PLC0415 - as above

    service = Service(model, settings.labels, counters, inference)
    return Listener(service, host=settings.host, port=settings.grpc_port, is_shared=is_shared)


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
