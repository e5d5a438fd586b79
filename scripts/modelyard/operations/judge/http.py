"""Where the judge sits: which path gets which reply, and what is counted of it."""

from __future__ import annotations

import re
import time
from importlib import import_module

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from modelyard.domain.specs.names import is_name
from modelyard.domain.specs.repository import Orchestrator
from modelyard.domain.verdict import Outcome, Verdict
from modelyard.operations.judge.answers import Question, Verdicts
from modelyard.operations.judge.evidence import IMPORTED_LATE
from modelyard.operations.judge.git_reader import GitReader, known
from modelyard.operations.workspace import Workspace

IDENTITY = re.compile(r"[0-9a-f]{8,64}")
"""What `Release.identity` may look like."""

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_PLACE = "/v1/verdicts/"
_WORDS = 3


class Bench:
    """What answers each path.

    Args:
        workspace: What it works with; nobody else may use it.
    """

    def __init__(self, workspace: Workspace) -> None:
        in_a_cluster = workspace.services.repository.orchestrator is Orchestrator.ARGO
        for name in (*IMPORTED_LATE, *(("kubernetes",) if in_a_cluster else ())):
            import_module(name)
        self._meter = Meter()
        self._lookout = GitReader(workspace, self._meter.git_failed)
        self._verdicts = Verdicts(known(workspace), self._lookout, self._meter.failed)
        self._meter.watch(self._lookout)

    def start(self) -> None:
        """Begin to read Git, and to answer."""
        self._lookout.start()
        self._verdicts.start()

    def app(self) -> Starlette:
        """The application that answers `/healthz`, `/metrics` and `/v1/verdicts/...`."""
        return Starlette(
            routes=[
                Route("/healthz", self._health),
                Route("/metrics", self._metrics),
                Route(f"{_PLACE}{{place:path}}", self._verdict),
            ]
        )

    async def _health(self, _: Request) -> Response:
        if not (self._lookout.is_alive and self._verdicts.is_alive):
            return PlainTextResponse("a thread has ended\n", 503)
        if not self._lookout.has_seen:
            return PlainTextResponse("Git was not read yet\n", 503)
        return PlainTextResponse("ok\n")

    async def _metrics(self, _: Request) -> Response:
        return Response(self._meter.exposition(), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    async def _verdict(self, request: Request) -> Response:
        # The raw path, so that an encoded slash stays a part of the name it is in.
        place = request.scope["raw_path"].decode("ascii").removeprefix(_PLACE)
        try:
            asked = question(place)
        except ValueError as error:
            return PlainTextResponse(f"{error}\n", 400)
        if asked is None:
            return PlainTextResponse("not found\n", 404)
        began = time.monotonic()
        verdict = await self._verdicts.ask(asked)
        self._meter.answered(verdict, time.monotonic() - began)
        return JSONResponse(
            {
                "outcome": verdict.outcome,
                "reason": verdict.reason,
                "environment": asked.environment,
                "model": asked.model,
                "release": asked.release,
                "numbers": dict(verdict.numbers),
                "columns": list(verdict.columns),
            }
        )


class Meter:
    """What is counted, under the names that alert rules read."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._verdicts = Counter(
            "modelyard_judge_verdicts", "Answers.", ["outcome"], registry=self._registry
        )
        self._errors = Counter(
            "modelyard_judge_errors",
            "What was out of reach, or went wrong.",
            ["what"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "modelyard_judge_seconds", "To an answer.", buckets=SECONDS, registry=self._registry
        )
        for outcome in Outcome:
            self._verdicts.labels(outcome)
        for what in ("git", "judging"):
            self._errors.labels(what)

    def watch(self, lookout: GitReader) -> None:
        """Tell how old what Git said is, too."""
        age = Gauge(
            "modelyard_judge_git_age_seconds", "Since Git was read.", registry=self._registry
        )
        age.set_function(lambda: lookout.age)

    def answered(self, verdict: Verdict, seconds: float) -> None:
        """Count an answer."""
        self._verdicts.labels(verdict.outcome).inc()
        self._seconds.observe(seconds)

    def git_failed(self) -> None:
        """Count a reading of Git that failed."""
        self._errors.labels("git").inc()

    def failed(self) -> None:
        """Count something that kept the judge from judging by all there is."""
        self._errors.labels("judging").inc()

    def exposition(self) -> bytes:
        """All of it, in the format that Prometheus reads."""
        return generate_latest(self._registry)


def question(place: str) -> Question | None:
    """What is asked by `ENVIRONMENT/MODEL/RELEASE`; None when that are no three words.

    Raises:
        ValueError: One of them cannot be what it stands for.
    """
    words = place.split("/")
    if len(words) != _WORDS:
        return None
    environment, model, release = words
    for what, name in (("an environment", environment), ("a model", model)):
        if not is_name(name):
            raise ValueError(f"{name!r} cannot name {what}")
    if IDENTITY.fullmatch(release) is None:
        raise ValueError(f"{release!r} is not a release's identity")
    return Question(environment=environment, model=model, release=release)
