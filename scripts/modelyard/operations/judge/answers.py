"""Answers the cluster's question what the judge says: one at a time, each shared by all who ask."""

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
from modelyard.operations.judge.evidence import verdict_on
from modelyard.operations.judge.git_reader import CachedWorkspace, GitReader

logger = logging.getLogger(__name__)

SHARED_SECONDS = 2.0
"""For so long an answer is given to whoever asks the same."""

WAIT_SECONDS = 7.0
"""Whoever asks is told that there is no answer yet, before he gives up after ten seconds."""

GIT_SECONDS = 3.0
"""For so long Git is waited for; then its last answer counts."""

MOST_ANSWERS = 256


@dataclass(frozen=True, kw_only=True)
class Question:
    """Which release somebody asks about."""

    environment: str
    model: str
    release: str


@dataclass
class _Answer:
    verdict: Future[Verdict] = field(default_factory=Future)
    given: float | None = None

    @property
    def is_old(self) -> bool:
        return self.given is not None and time.monotonic() - self.given > SHARED_SECONDS


class Verdicts:
    """Works verdicts out in one thread, since neither a workspace nor what it reads is for several.

    Args:
        workspace: What it judges with; nobody else may use it.
        lookout: What Git says.
        failed: Told about each thing that was out of reach, or went wrong.
    """

    def __init__(
        self, workspace: CachedWorkspace, lookout: GitReader, failed: Callable[[], None]
    ) -> None:
        self._workspace = workspace
        self._lookout = lookout
        self._failed = failed
        self._answers: dict[Question, _Answer] = {}
        self._waiting: queue.SimpleQueue[tuple[Question, _Answer]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._go_on, name="judge", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    async def ask(self, question: Question) -> Verdict:
        """What the judge says of a release now; never raises, and never takes long."""
        answer = self._answers.get(question)
        if answer is None or answer.is_old:
            self._forget_old_ones()
            answer = self._answers[question] = _Answer()
            self._waiting.put((question, answer))
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                # Shielded: others wait for the same answer when this one gives up.
                return await asyncio.shield(asyncio.wrap_future(answer.verdict))
        except TimeoutError:
            self._failed()
            logger.warning("%s: no verdict after %g s", question, WAIT_SECONDS)
            return inconclusive_verdict(f"still being worked out after {WAIT_SECONDS:g} s")

    def _forget_old_ones(self) -> None:
        if len(self._answers) > MOST_ANSWERS:
            young = {asked: each for asked, each in self._answers.items() if not each.is_old}
            self._answers = young

    def _go_on(self) -> None:
        while True:
            question, answer = self._waiting.get()
            verdict = self._worked_out(question)
            answer.given = time.monotonic()
            answer.verdict.set_result(verdict)

    def _worked_out(self, question: Question) -> Verdict:
        try:
            return self._decided(question)
        except YardError as error:
            self._missed(error)
            return inconclusive_verdict(error.message)
        except Exception as error:  # a crash says nothing about the release
            logger.exception("%s", question)
            self._failed()
            return inconclusive_verdict(f"unexpected {type(error).__name__}, see the judge's log")

    def _decided(self, question: Question) -> Verdict:
        sight = self._lookout.look(wait=GIT_SECONDS)
        workspace, catalog = self._workspace, sight.catalog
        workspace.facts.sight = sight
        facts = sight.facts.release(question.environment, question.model)
        environment = catalog.environments.get(question.environment)
        release = catalog.releases.get((question.environment, question.model))
        if question.model not in catalog.models:
            release = None
        early = answer_from_facts(question.release, facts, release, environment)
        if early is not None:
            return early
        assert release is not None  # noqa: S101 - for the type checker: `early` says so
        assert environment is not None  # noqa: S101 - as above
        assert facts.seen_at is not None  # noqa: S101 - as above
        judged = verdict_on(
            workspace, catalog, environment, release, facts.seen_at, missed=self._missed
        )
        return require_recorded_pass(judged, facts, git=sight.problem)

    def _missed(self, error: YardError) -> None:
        self._failed()
        logger.warning("%s", error.message)
