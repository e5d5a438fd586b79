"""Computes judge verdicts one at a time; concurrent requests for one release share the result."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from modelyard.domain.canary.cluster_answer import (
    answer_from_facts,
    inconclusive_verdict,
    require_recorded_pass,
)
from modelyard.domain.verdict import Verdict
from modelyard.errors import YardError
from modelyard.operations.judge.evidence import judge_best_effort
from modelyard.operations.judge.git_reader import CachedWorkspace, GitReader

logger = logging.getLogger(__name__)

SHARED_SECONDS = 2.0
"""How long a verdict is given to later requests for the same release."""

WAIT_SECONDS = 7.0
"""How long a request waits for a verdict; Argo Rollouts gives up after ten seconds."""

GIT_SECONDS = 3.0
"""How long a verdict waits for Git before it uses the last snapshot."""

MOST_CACHED = 256
"""Kept before the expired ones are dropped, since any client can ask about any release."""


@dataclass(frozen=True, kw_only=True)
class JudgeQuestion:
    """The release that a request is about."""

    environment: str
    model: str
    release: str


@dataclass
class _CachedVerdict:
    verdict: Future[Verdict] = field(default_factory=Future)
    computed_at: float | None = None

    @property
    def is_expired(self) -> bool:
        return self.computed_at is not None and time.monotonic() - self.computed_at > SHARED_SECONDS


class VerdictCache:
    """Computes verdicts in one thread: neither a workspace nor what it reads is thread-safe.

    Args:
        workspace: What to judge with; no other thread may use it.
        git_reader: Gives the last snapshot of Git.
        on_error: Called for each thing that was out of reach or crashed.
    """

    def __init__(
        self, workspace: CachedWorkspace, git_reader: GitReader, on_error: Callable[[], None]
    ) -> None:
        self._workspace = workspace
        self._git_reader = git_reader
        self._on_error = on_error
        # Only the event loop touches it, so it needs no lock.
        self._cached: dict[JudgeQuestion, _CachedVerdict] = {}
        self._queue: queue.SimpleQueue[tuple[JudgeQuestion, _CachedVerdict]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="judge", daemon=True)

    def start(self) -> None:
        """Start computing verdicts."""
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    async def verdict_for(self, question: JudgeQuestion) -> Verdict:
        """The judge's present verdict on a release; never raises, and waits `WAIT_SECONDS`."""
        cached = self._cached.get(question)
        if cached is None or cached.is_expired:
            self._drop_expired()
            cached = self._cached[question] = _CachedVerdict()
            self._queue.put((question, cached))
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                # Shielded: other requests wait for the same verdict when this one gives up.
                return await asyncio.shield(asyncio.wrap_future(cached.verdict))
        except TimeoutError:
            self._on_error()
            logger.warning("%s: no verdict after %g s", question, WAIT_SECONDS)
            return inconclusive_verdict(f"no verdict yet after {WAIT_SECONDS:g} s")

    def _drop_expired(self) -> None:
        if len(self._cached) > MOST_CACHED:
            kept = {key: cached for key, cached in self._cached.items() if not cached.is_expired}
            self._cached = kept

    def _run(self) -> None:
        while True:
            question, cached = self._queue.get()
            verdict = self._compute(question)
            cached.computed_at = time.monotonic()
            cached.verdict.set_result(verdict)

    def _compute(self, question: JudgeQuestion) -> Verdict:
        try:
            return self._judge(question)
        except YardError as error:
            self._count_missing(error)
            return inconclusive_verdict(error.message)
        except Exception as error:  # a crash says nothing about the release
            logger.exception("%s", question)
            self._on_error()
            return inconclusive_verdict(f"unexpected {type(error).__name__}, see the judge's log")

    def _judge(self, question: JudgeQuestion) -> Verdict:
        git = self._git_reader.wait_for_snapshot(GIT_SECONDS)
        workspace, catalog = self._workspace, git.catalog
        workspace.facts.git_snapshot = git  # what it answers from until the next verdict
        facts = git.facts.release_facts(question.environment, question.model)
        environment = catalog.environments.get(question.environment)
        release = catalog.releases.get((question.environment, question.model))
        if question.model not in catalog.models:
            release = None  # its model.yaml is invalid, and with it the canary policy is unknown
        early = answer_from_facts(question.release, facts, release, environment)
        if early is not None:
            return early
        assert release is not None  # noqa: S101 - for the type checker: checked by `answer_from_facts`
        assert environment is not None  # noqa: S101 - as above
        assert facts.seen_at is not None  # noqa: S101 - as above
        verdict = judge_best_effort(
            workspace, catalog, environment, release, facts.seen_at, on_missing=self._count_missing
        )
        return require_recorded_pass(verdict, facts, git=git.doubt(question.model, facts))

    def _count_missing(self, error: YardError) -> None:
        self._on_error()
        logger.warning("%s", error.message)
