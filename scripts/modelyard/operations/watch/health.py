"""The watcher's health and metrics, served over HTTP."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from modelyard.adapters.bounded_http import BoundedServer
from modelyard.domain.machines.shards import WHOLE, Shard
from modelyard.domain.promotion.notifications import Kind, Notification

if TYPE_CHECKING:
    from modelyard.operations.watch.pass_once import PassResult

SLACK = 4
"""Intervals without a success, slow or failed, before the watcher is unhealthy."""

LEAST_SECONDS = 60.0
"""The limit of a watcher with a short interval: one slow forge must not restart it."""


class WatchHealth:
    """Healthy while the last successful pass, or standby heartbeat, is recent.

    Only a pass over all models is a success: one busy model must not hide that others fail. A
    model that keeps failing has a metric of its own instead, since no restart would repair it.

    Args:
        interval: Seconds between two passes.
        shard: The part of the models that the watcher covers.
    """

    def __init__(self, interval: float, shard: Shard = WHOLE) -> None:
        self._limit = max(SLACK * interval, LEAST_SECONDS)
        self._healthy_at: float | None = None
        self._models: set[str] = set()
        self.registry = CollectorRegistry()
        counter = partial(Counter, registry=self.registry)
        gauge = partial(Gauge, registry=self.registry)
        self._passes = counter("modelyard_watch_looks", "Passes.", ["result"])
        self._seconds = Histogram(
            "modelyard_watch_look_seconds",
            "Duration of a pass.",
            buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
            registry=self.registry,
        )
        self._last_success = gauge(
            "modelyard_watch_last_success_timestamp_seconds",
            "Time of the last successful pass over all models of a shard; 0 before the first.",
            ["shard"],
        ).labels(shard=str(shard))
        gauge("modelyard_watch_shards", "Number of shards that there should be.").set(shard.count)
        self._failing = gauge(
            "modelyard_watch_model_failing",
            "1 for a model whose last pass failed; it is neither promoted nor rolled back.",
            ["model"],
        )
        self._unreadable = gauge(
            "modelyard_watch_unreadable_documents",
            "Documents of pull requests, statuses and facts that the last pass could not read.",
        )
        self._leads = gauge("modelyard_watch_is_leader", "1 for the watcher that acts.")
        self._rollbacks = counter("modelyard_rollbacks", "Rollbacks.", ["model", "environment"])
        self._incidents = counter("modelyard_incidents", "Incidents.", ["model"])
        self._holds = counter("modelyard_holds", "Holds.", ["model"])
        # Present from the start: an alert cannot tell an absent series from one that is zero.
        for result in ("success", "failure"):
            self._passes.labels(result=result)

    def record_pass(
        self, *, seconds: float, result: PassResult | None, covers_all: bool = True
    ) -> None:
        """Record a pass over all models or over some; no result if it could not even start."""
        succeeded = result is not None and result.is_success
        self._leads.set(1)
        self._seconds.observe(seconds)
        self._passes.labels(result="success" if succeeded else "failure").inc()
        if succeeded and covers_all:
            self._last_success.set_to_current_time()
            self._healthy_at = time.monotonic()
        if result is not None:
            self._mark_failing(result)
            if result.unreadable is not None:
                self._unreadable.set(result.unreadable)
            if covers_all:
                self._keep_only(result.models)

    def _mark_failing(self, result: PassResult) -> None:
        for model in result.models:
            self._failing.labels(model=model).set(model in result.failing_models)
        self._models.update(result.models)

    def _keep_only(self, models: Iterable[str]) -> None:
        """Drop the series of models that are gone: they would fail for ever."""
        for gone in self._models.difference(models):
            self._failing.remove(gone)
        self._models.intersection_update(models)

    def record_standby(self, *, is_leader_known: bool = True) -> None:
        """Record that another watcher acts: as healthy as acting, if it is known which one."""
        self._leads.set(0)
        self._keep_only(())  # the watcher that acts has these series
        self._unreadable.set(0)
        if is_leader_known:
            self._healthy_at = time.monotonic()

    def count_notification(self, notice: Notification) -> None:
        """Count a notification that was sent."""
        match notice.kind:
            case Kind.ROLLBACK:
                place = {"model": notice.model, "environment": notice.environment or ""}
                self._rollbacks.labels(**place).inc()
            case Kind.INCIDENT:
                self._incidents.labels(model=notice.model).inc()
            case Kind.HOLD:
                self._holds.labels(model=notice.model).inc()

    def is_healthy(self) -> bool:
        """Whether the last success is recent enough."""
        return self._healthy_at is not None and time.monotonic() - self._healthy_at < self._limit

    def serve_pages(self, host: str, port: int) -> BoundedServer:
        """Serve `/healthz` and `/metrics` from a thread of its own."""
        routes = [Route("/healthz", self._report_health), Route("/metrics", self._report_metrics)]
        server = BoundedServer(host, port, Starlette(routes=routes))
        server.start()
        return server

    async def _report_health(self, _: Request) -> Response:
        if self.is_healthy():
            return PlainTextResponse("ok\n")
        return PlainTextResponse("no successful pass for too long\n", 503)

    async def _report_metrics(self, _: Request) -> Response:
        return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)
