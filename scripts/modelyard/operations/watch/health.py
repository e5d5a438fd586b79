"""What the watcher says of itself over HTTP: whether it gets anywhere, and what it did."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from modelyard.adapters.bounded_http import BoundedServer
from modelyard.domain.promotion.notice import Kind, Notice

if TYPE_CHECKING:
    from modelyard.operations.watch.pass_once import Looked

SLACK = 4
"""Looks that may fail, or last that much longer, before the watcher counts as unwell."""

LEAST_SECONDS = 60.0


class WatchHealth:
    """Counts looks; well while the last success, or turn to stand by, is not too long ago.

    Only a look at all models is a success: one that is busy must not hide that others fail. Some
    models that fail for good are told of by a metric of their own: no restart would mend them.

    Args:
        interval: Seconds between two looks.
    """

    def __init__(self, interval: float) -> None:
        self._limit = max(SLACK * interval, LEAST_SECONDS)
        self._well_at: float | None = None
        self._models: set[str] = set()
        self.registry = CollectorRegistry()
        self._looks = Counter("modelyard_watch_looks", "Looks.", ["result"], registry=self.registry)
        self._seconds = Histogram(
            "modelyard_watch_look_seconds",
            "How long a look took.",
            buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
            registry=self.registry,
        )
        self._last_success = Gauge(
            "modelyard_watch_last_success_timestamp_seconds",
            "When a look last did all it had to; 0 before the first.",
            registry=self.registry,
        )
        self._failing = Gauge(
            "modelyard_watch_model_failing",
            "1 for a model the last look at which failed; it is neither promoted nor rolled back.",
            ["model"],
            registry=self.registry,
        )
        self._unreadable = Gauge(
            "modelyard_watch_unreadable_documents",
            "Documents of pull requests, statuses and facts that the last look could not read.",
            registry=self.registry,
        )
        self._leads = Gauge(
            "modelyard_watch_is_leader", "1 for the one that acts.", registry=self.registry
        )
        self._rollbacks = Counter(
            "modelyard_rollbacks", "Rollbacks.", ["model", "environment"], registry=self.registry
        )
        self._incidents = Counter(
            "modelyard_incidents", "Incidents.", ["model"], registry=self.registry
        )
        self._holds = Counter("modelyard_holds", "Holds.", ["model"], registry=self.registry)
        for result in ("success", "failure"):
            self._looks.labels(result=result)  # there from the start: nothing is not missing

    def looked(self, *, seconds: float, looked: Looked | None, at_all: bool = True) -> None:
        """Count one look, at all models or at some; None for one that did not get so far."""
        succeeded = looked is not None and looked.got_through
        self._leads.set(1)
        self._seconds.observe(seconds)
        self._looks.labels(result="success" if succeeded else "failure").inc()
        if succeeded and at_all:
            self._last_success.set_to_current_time()
            self._well_at = time.monotonic()
        if looked is not None:
            self._say_failing(looked)
            if looked.unreadable is not None:
                self._unreadable.set(looked.unreadable)
            if at_all:
                self._forget_all_but(looked.models)

    def _say_failing(self, looked: Looked) -> None:
        for model in looked.models:
            self._failing.labels(model=model).set(model in looked.failing)
        self._models.update(looked.models)

    def _forget_all_but(self, models: Iterable[str]) -> None:
        """What is gone fails no more."""
        for gone in self._models.difference(models):
            self._failing.remove(gone)
        self._models.intersection_update(models)

    def stands_by(self, *, heard: bool = True) -> None:
        """Say that another watcher acts: as well as acting, as long as it is heard who does."""
        self._leads.set(0)
        self._forget_all_but(())  # whoever acts knows
        self._unreadable.set(0)
        if heard:
            self._well_at = time.monotonic()

    def told(self, notice: Notice) -> None:
        """Count what people were told."""
        match notice.kind:
            case Kind.ROLLBACK:
                place = {"model": notice.model, "environment": notice.environment or ""}
                self._rollbacks.labels(**place).inc()
            case Kind.INCIDENT:
                self._incidents.labels(model=notice.model).inc()
            case Kind.HOLD:
                self._holds.labels(model=notice.model).inc()

    def is_well(self) -> bool:
        """Whether the last success is recent enough."""
        return self._well_at is not None and time.monotonic() - self._well_at < self._limit

    def serve(self, host: str, port: int) -> BoundedServer:
        """Answer `/healthz` and `/metrics` in a thread of its own."""
        routes = [Route("/healthz", self._report_health), Route("/metrics", self._report_metrics)]
        server = BoundedServer(host, port, Starlette(routes=routes))
        server.start()
        return server

    async def _report_health(self, _: Request) -> Response:
        if self.is_well():
            return PlainTextResponse("well\n")
        return PlainTextResponse("no success for too long\n", 503)

    async def _report_metrics(self, _: Request) -> Response:
        return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)
