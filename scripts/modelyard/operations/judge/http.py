"""Routes and metrics of the judge's HTTP service."""

from __future__ import annotations

import re
import time
from functools import partial
from importlib import import_module

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from modelyard.domain.specs.names import is_name
from modelyard.domain.specs.repository import OrchestratorKind
from modelyard.domain.verdict import Outcome, Verdict
from modelyard.operations.judge.evidence import IMPORTED_LATE
from modelyard.operations.judge.git_reader import GitReader, cached_workspace
from modelyard.operations.judge.verdict_cache import JudgeQuestion, VerdictCache
from modelyard.operations.workspace import Workspace

IDENTITY = re.compile(r"[0-9a-f]{8,64}")
"""The form of `Release.identity`."""

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_VERDICTS = "/v1/verdicts/"
_PARTS = 3


class JudgeService:
    """Answers `/v1/verdicts/ENVIRONMENT/MODEL/RELEASE`, `/healthz` and `/metrics`.

    Args:
        workspace: What to work with; no other thread may use it.
    """

    def __init__(self, workspace: Workspace) -> None:
        in_a_cluster = workspace.services.repository.orchestrator is OrchestratorKind.ARGO
        for name in (*IMPORTED_LATE, *(("kubernetes",) if in_a_cluster else ())):
            import_module(name)
        self._metrics = JudgeMetrics()
        self._git_reader = GitReader(workspace, self._metrics.count_git_error)
        self._verdicts = VerdictCache(
            cached_workspace(workspace), self._git_reader, self._metrics.count_judging_error
        )
        self._metrics.add_git_age(self._git_reader)

    def start(self) -> None:
        """Start reading Git and computing verdicts."""
        self._git_reader.start()
        self._verdicts.start()

    def make_app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                Route("/healthz", self._report_health),
                Route("/metrics", self._report_metrics),
                Route(f"{_VERDICTS}{{question:path}}", self._report_verdict),
            ]
        )

    async def _report_health(self, _: Request) -> Response:
        if not (self._git_reader.is_alive and self._verdicts.is_alive):
            return PlainTextResponse("a thread has ended\n", 503)
        # Only until the first read: without Git a release can still fail, so the judge stays ready.
        if not self._git_reader.has_snapshot:
            return PlainTextResponse("Git has not been read yet\n", 503)
        return PlainTextResponse("ok\n")

    async def _report_metrics(self, _: Request) -> Response:
        return Response(self._metrics.exposition(), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    async def _report_verdict(self, request: Request) -> Response:
        # The raw path: in the decoded one an escaped slash would look like a separator.
        path = request.scope["raw_path"].decode("ascii")
        try:
            question = parse_question(path.removeprefix(_VERDICTS))
        except ValueError as error:
            return PlainTextResponse(f"{error}\n", 400)
        if question is None:
            return PlainTextResponse("not found\n", 404)
        began = time.monotonic()
        verdict = await self._verdicts.verdict_for(question)
        self._metrics.count_verdict(verdict, time.monotonic() - began)
        return JSONResponse(
            {
                "outcome": verdict.outcome,
                "reason": verdict.reason,
                "environment": question.environment,
                "model": question.model,
                "release": question.release,
                "numbers": dict(verdict.numbers),
                "columns": list(verdict.columns),
            }
        )


class JudgeMetrics:
    """The judge's metrics, under the names that alert rules read."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        counter = partial(Counter, registry=self._registry)
        self._verdicts = counter("modelyard_judge_verdicts", "Verdicts given.", ["outcome"])
        self._errors = counter("modelyard_judge_errors", "Failed reads and verdicts.", ["what"])
        self._seconds = Histogram(
            "modelyard_judge_seconds",
            "Time to a verdict.",
            buckets=BUCKETS,
            registry=self._registry,
        )
        # Present from the start: an alert cannot tell an absent series from one that is zero.
        for outcome in Outcome:
            self._verdicts.labels(outcome)
        for what in ("git", "judging"):
            self._errors.labels(what)

    def add_git_age(self, git_reader: GitReader) -> None:
        """Add the age of the last snapshot of Git."""
        age = Gauge(
            "modelyard_judge_git_age_seconds", "Since the last read.", registry=self._registry
        )
        age.set_function(lambda: git_reader.age)

    def count_verdict(self, verdict: Verdict, seconds: float) -> None:
        """Count a verdict and the seconds that its request waited."""
        self._verdicts.labels(verdict.outcome).inc()
        self._seconds.observe(seconds)

    def count_git_error(self) -> None:
        """Count a read of Git that failed."""
        self._errors.labels("git").inc()

    def count_judging_error(self) -> None:
        """Count a crash, or evidence that was out of reach."""
        self._errors.labels("judging").inc()

    def exposition(self) -> bytes:
        """All metrics in Prometheus's text format."""
        return generate_latest(self._registry)


def parse_question(text: str) -> JudgeQuestion | None:
    """The question that `ENVIRONMENT/MODEL/RELEASE` asks; None if it has not three parts.

    Raises:
        ValueError: A part is not a name, or not a release's identity.
    """
    parts = text.split("/")
    if len(parts) != _PARTS:
        return None
    environment, model, release = parts
    for what, name in (("environment", environment), ("model", model)):
        if not is_name(name):
            raise ValueError(f"{name!r} is not the name of a possible {what}")
    if IDENTITY.fullmatch(release) is None:
        raise ValueError(f"{release!r} is not the identity of a release")
    return JudgeQuestion(environment=environment, model=model, release=release)
