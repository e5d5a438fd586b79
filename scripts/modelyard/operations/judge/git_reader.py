"""What Git says, read in a thread of its own: a Git server that hangs makes nobody wait."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from modelyard.adapters.facts import FactStore, Snapshot, Token
from modelyard.adapters.git.remote_refs import one_snapshot
from modelyard.adapters.git.repository import Git
from modelyard.domain.promotion.facts import ReleaseFacts
from modelyard.domain.specs.catalog import Catalog
from modelyard.errors import CannotAnswer, YardError
from modelyard.operations.workspace import Workspace

logger = logging.getLogger(__name__)

YOUNG_SECONDS = 2.0
"""What was read so lately is not read again."""

OLD_SECONDS = 10.0
"""What was read before that is no proof of what Git says now."""

IDLE_SECONDS = 30.0
"""Between two readings nobody asked for."""


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What Git said when it last could be read.

    Args:
        commit: The main branch.
        catalog: Its specs.
        facts: All facts.
        problem: Why this may be old, or None when it is not.
    """

    commit: str
    catalog: Catalog
    facts: Snapshot
    problem: str | None = None


class GitReader:
    """Reads the main branch and the facts: when asked, and now and then.

    Args:
        workspace: What it reads with; nobody else may use it.
        failed: Told about each reading that failed.
    """

    def __init__(self, workspace: Workspace, failed: Callable[[], None]) -> None:
        self._workspace = workspace
        self._failed = failed
        self._changed = threading.Condition()
        self._is_wanted = True
        self._began: float | None = None
        self._tried = -float("inf")
        self._read = -float("inf")
        self._problem: str | None = None
        self._sight: Sight | None = None
        self._thread = threading.Thread(target=self._go_on, name="lookout", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    @property
    def has_seen(self) -> bool:
        """Whether Git could be read at least once."""
        return self._sight is not None

    @property
    def age(self) -> float:
        """Seconds since the last reading that did not fail began."""
        return time.monotonic() - self._read

    def look(self, *, wait: float) -> Sight:
        """What Git says now; after so many seconds of waiting, what it said last.

        Raises:
            CannotAnswer: It was never read.
        """
        wanted = time.monotonic() - YOUNG_SECONDS
        with self._changed:
            if self._tried < wanted:
                self._is_wanted = True
                self._changed.notify_all()
                left = wait - self._busy()
                self._changed.wait_for(lambda: self._tried >= wanted, timeout=max(0.0, left))
            if self._sight is None:
                raise CannotAnswer(self._problem or "Git was not read yet")
            return replace(self._sight, problem=self._doubt())

    def _busy(self) -> float:
        """For how long it has been at the present reading; all who ask wait for a slow one once."""
        return 0.0 if self._began is None else time.monotonic() - self._began

    def _doubt(self) -> str | None:
        if self._problem is not None:
            return f"Git is out of reach ({self._problem})"
        if self.age > OLD_SECONDS:
            return f"Git has not answered for {self.age:.0f} s"
        return None

    def _go_on(self) -> None:
        while True:
            with self._changed:
                rest = IDLE_SECONDS if self.has_seen else YOUNG_SECONDS
                self._changed.wait_for(lambda: self._is_wanted, timeout=rest)
                self._is_wanted = False
                self._began = began = time.monotonic()
            sight, problem = self._reading()
            with self._changed:
                self._began, self._tried, self._problem = None, began, problem
                if sight is not None:
                    self._sight, self._read = sight, began
                self._changed.notify_all()

    def _reading(self) -> tuple[Sight | None, str | None]:
        try:
            with one_snapshot():
                facts = self._workspace.facts.snapshot(missed=self._missed)
                commit = self._workspace.main()
            sight = Sight(commit=commit, catalog=self._workspace.catalog(commit), facts=facts)
        except YardError as error:
            logger.warning("%s", error.message)
            problem = error.message
        except Exception as error:  # whatever it was, the next reading may do
            logger.exception("reading Git")
            problem = f"unexpected {type(error).__name__}"
        else:
            return sight, None
        self._failed()
        return None, problem

    def _missed(self, error: YardError) -> None:
        """What cannot be read of one model is not known; the others are judged."""
        logger.warning("%s", error.message)
        self._failed()


class KnownFacts(FactStore):
    """The facts as Git was last read, for whoever must not wait for Git.

    Attributes:
        sight: The last reading.
    """

    sight: Sight

    def read_release(self, environment: str, model: str) -> tuple[ReleaseFacts, Token]:
        """What was seen of a model in an environment."""
        return self.sight.facts.release(environment, model), None


@dataclass(frozen=True, kw_only=True)
class CachedWorkspace(Workspace):
    """A workspace that knows Git as it was last read."""

    facts: KnownFacts

    def main(self) -> str:
        """The main branch's commit, when Git was last read."""
        return self.facts.sight.commit


def known(workspace: Workspace) -> CachedWorkspace:
    """A workspace beside this one, with which another thread may work."""
    services = workspace.services
    facts = KnownFacts(Git(services.root), services.repository, services.clock)
    return CachedWorkspace(services=services, facts=facts, store=workspace.store)
