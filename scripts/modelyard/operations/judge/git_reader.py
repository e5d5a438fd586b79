"""Background reader of the Git remote, so callers get the last snapshot instead of blocking."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from modelyard.adapters.facts.documents import FactsSnapshot
from modelyard.adapters.facts.store import FactStore
from modelyard.adapters.git.remote_refs import one_snapshot
from modelyard.adapters.git.repository import Git
from modelyard.adapters.specs.reader import is_read_for
from modelyard.domain.promotion.facts import ReleaseFacts
from modelyard.domain.specs.catalog import Catalog
from modelyard.errors import CannotAnswer, YardError
from modelyard.operations.workspace import Workspace

logger = logging.getLogger(__name__)

FRESH_SECONDS = 2.0
"""A snapshot is not read again within this time."""

OLD_SECONDS = 10.0
"""A snapshot older than this proves nothing about the present."""

IDLE_SECONDS = 30.0
"""Between two reads that no caller asked for."""


@dataclass(frozen=True, kw_only=True)
class GitSnapshot:
    """The main branch and the facts, read at one instant.

    Args:
        commit: The main branch's commit.
        catalog: Its specs, with rules that stand in for some that cannot be read.
        stands_in: The files of those rules.
        facts: All facts.
        problem: Why this may be outdated, or None.
    """

    commit: str
    catalog: Catalog
    facts: FactsSnapshot
    stands_in: frozenset[str] = frozenset()
    problem: str | None = None

    def doubt(self, model: str, facts: ReleaseFacts) -> str | None:
        """Why what this shows is not enough for a `pass` of a model's release, or None."""
        if self.problem is not None or facts.release in facts.verified:
            return self.problem  # what was verified here and came back passes by no new rule
        unread = sorted(file for file in self.stands_in if is_read_for(file, {model}))
        return f"{unread[0]} cannot be read" if unread else None


class GitReader:
    """Reads the main branch and the facts: when a caller asks, and every `IDLE_SECONDS`.

    Args:
        workspace: What to read with; no other thread may use it.
        on_error: Called for each read that failed.
    """

    def __init__(self, workspace: Workspace, on_error: Callable[[], None]) -> None:
        self._workspace = workspace
        self._on_error = on_error
        self._changed = threading.Condition()
        self._is_wanted = True
        self._reading_since: float | None = None
        self._tried_at = -float("inf")
        self._read_at = -float("inf")
        self._problem: str | None = None
        self._snapshot: GitSnapshot | None = None
        self._thread = threading.Thread(target=self._run, name="git-reader", daemon=True)

    def start(self) -> None:
        """Start reading."""
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    @property
    def has_snapshot(self) -> bool:
        """Whether Git could be read at least once."""
        return self._snapshot is not None

    @property
    def age(self) -> float:
        """Seconds since the start of the last successful read."""
        return time.monotonic() - self._read_at

    def wait_for_snapshot(self, seconds: float) -> GitSnapshot:
        """A fresh snapshot, or the last one if none was read within so many seconds.

        Raises:
            CannotAnswer: Git was never read.
        """
        wanted = time.monotonic() - FRESH_SECONDS
        with self._changed:
            if self._tried_at < wanted:
                self._is_wanted = True
                self._changed.notify_all()
                left = seconds - self._busy_seconds()
                self._changed.wait_for(lambda: self._tried_at >= wanted, timeout=max(0.0, left))
            if self._snapshot is None:
                raise CannotAnswer(self._problem or "Git has not been read yet")
            return replace(self._snapshot, problem=self._doubt())

    def _busy_seconds(self) -> float:
        """How long the present read has taken; a slow one delays all callers together just once."""
        return 0.0 if self._reading_since is None else time.monotonic() - self._reading_since

    def _doubt(self) -> str | None:
        if self._problem is not None:
            return f"Git is out of reach ({self._problem})"
        if self.age > OLD_SECONDS:
            return f"Git has not answered for {self.age:.0f} s"
        return None

    def _run(self) -> None:
        while True:
            with self._changed:
                rest = IDLE_SECONDS if self.has_snapshot else FRESH_SECONDS
                self._changed.wait_for(lambda: self._is_wanted, timeout=rest)
                self._is_wanted = False  # before the read: a later request wants a newer one
                self._reading_since = began = time.monotonic()
            snapshot, problem = self._read()
            with self._changed:
                # Its start counts: the read may lack what was pushed while it ran.
                self._reading_since, self._tried_at, self._problem = None, began, problem
                if snapshot is not None:
                    self._snapshot, self._read_at = snapshot, began
                self._changed.notify_all()

    def _read(self) -> tuple[GitSnapshot | None, str | None]:
        try:
            with one_snapshot():
                facts = self._workspace.facts.read_snapshot(missed=self._count_unreadable)
                commit = self._workspace.main()
            specs = self._workspace.watched_specs(commit)
        except YardError as error:
            logger.warning("%s", error.message)
            problem = error.message
        except Exception as error:  # the next read may succeed, so the thread must not end
            logger.exception("reading Git")
            problem = f"unexpected {type(error).__name__}"
        else:
            unread = frozenset(specs.stands_in)
            found = GitSnapshot(commit=commit, catalog=specs.catalog, facts=facts, stands_in=unread)
            return found, None
        self._on_error()
        return None, problem

    def _count_unreadable(self, error: YardError) -> None:
        """The facts of one model cannot be read: the other models are judged all the same."""
        logger.warning("%s", error.message)
        self._on_error()


class CachedFacts(FactStore):
    """The facts of the last snapshot, read without asking Git.

    Attributes:
        git_snapshot: What they are read from.
    """

    git_snapshot: GitSnapshot

    def read_release(self, environment: str, model: str) -> ReleaseFacts:
        """The facts of a model in an environment."""
        return self.git_snapshot.facts.release_facts(environment, model)


@dataclass(frozen=True, kw_only=True)
class CachedWorkspace(Workspace):
    """A workspace that answers from the last snapshot of Git."""

    facts: CachedFacts

    def main(self) -> str:
        """The main branch's commit in the last snapshot."""
        return self.facts.git_snapshot.commit


def cached_workspace(workspace: Workspace) -> CachedWorkspace:
    """A cached copy of the workspace for another thread to use."""
    services = workspace.services
    facts = CachedFacts(Git(services.root), services.repository, services.clock)
    return CachedWorkspace(
        services=services,
        facts=facts,
        store=workspace.store,
        was_taken_away=workspace.was_taken_away,
    )
