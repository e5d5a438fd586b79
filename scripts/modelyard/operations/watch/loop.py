"""The watcher's life: looks when something moved, and now and then anyway."""

from __future__ import annotations

import importlib
import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from modelyard.domain.specs.environment import Environment
from modelyard.domain.specs.repository import Forge
from modelyard.errors import YardError
from modelyard.operations.judge.evidence import IMPORTED_LATE
from modelyard.operations.reconcile.apply import Say
from modelyard.operations.reconcile.loop import log_error
from modelyard.operations.watch.health import WatchHealth
from modelyard.operations.watch.pass_once import look, undecided
from modelyard.operations.workspace import Workspace, workspace_of
from modelyard.ports import Services

if TYPE_CHECKING:
    from modelyard.adapters.cluster.kubernetes_lease import KubernetesLease

logger = logging.getLogger(__name__)

GIT_SECONDS = 2.0
"""How often the forge's refs are compared; one git process, and nothing when none moved."""

JUDGED_SECONDS = 5.0
"""Between two looks while a release is judged."""

MOST_IN_A_ROW = 10
"""Looks without a pause, as long as each changes something."""

PRELOADED = (
    *IMPORTED_LATE,
    "mlflow.tracking",
    "modelyard.operations.watch.pull_checks",
    "scipy.special",
)
"""What the first rollback must not wait for."""

Refs = dict[str, str]


def follow(
    services: Services,
    *,
    say: Say,
    interval: float,
    listen: tuple[str, int] | None,
    lease: str | None,
) -> None:
    """Look for ever.

    Args:
        services: The outside world.
        say: Hears every change, in one line.
        interval: Seconds between two looks when nothing happens.
        listen: Where to answer `/healthz` and `/metrics`, or nowhere.
        lease: `namespace/name` of the Lease that says who acts; None to act anyway.
    """
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # what it retries is told once, by us
    for module in PRELOADED:
        importlib.import_module(module)
    health = WatchHealth(interval)
    if listen is not None:
        health.serve(*listen)
    watcher = Watcher(workspace=workspace_of(services), health=health, interval=interval, say=say)
    held = _stood_for(lease) if lease is not None else None
    while True:
        if held is None or held.wait(1.0):
            watcher.round()
        else:
            health.stands_by(heard=held.is_heard())
            watcher.due = None


def _stood_for(lease: str) -> KubernetesLease:
    """The Lease of which the holder acts."""
    from modelyard.adapters.cluster.kubernetes_api import KubernetesApi
    from modelyard.adapters.cluster.kubernetes_lease import KubernetesLease

    namespace, _, name = lease.partition("/")
    return KubernetesLease(namespace, name, KubernetesApi())


@dataclass
class Watcher:
    """One watcher's memory, all of which it can lose.

    Args:
        workspace: What to work with.
        health: Hears how looks went.
        interval: Seconds between two looks when nothing happens.
        say: Hears every change, in one line.
        due: The models to look at next; None for all.
        environments: As last read.
        seen: The forge's refs before the last look.
        all_by: When all models are looked at again at the latest, however busy one of them is.
    """

    workspace: Workspace
    health: WatchHealth
    interval: float
    say: Say
    due: frozenset[str] | None = None
    environments: tuple[Environment, ...] = ()
    seen: Refs = field(default_factory=dict)
    all_by: float = 0.0

    def round(self) -> None:
        """Look at what is due until nothing changes, then wait until something is due."""
        before = self.seen
        for number in range(MOST_IN_A_ROW):
            self.seen = self._refs() or self.seen
            if number == 0 and self.seen != before:  # maybe about models that did not move
                self.all_by = 0.0
            if not self._look():
                break
        soon = time.monotonic() + self._pause()
        self.all_by = soon if self.due is None else min(self.all_by, soon)
        self.due = self._awaited(self.all_by)

    def _look(self) -> bool:
        """One look, whose failures the next one may find mended; True if it changed something."""
        before, looked = time.monotonic(), None
        checks = self.workspace.services.repository.forge is Forge.LOCAL
        try:
            looked = look(
                self.workspace, say=self.say, with_checks=checks, told=self.health.told,
                models=self.due,
            )  # fmt: skip
        except YardError as error:
            logger.error("%s", error.message)  # noqa: TRY400 - known errors have no traceback
        except Exception:  # the watcher outlives its defects, and its health tells of them
            logger.exception("a look failed")
        self.health.looked(
            seconds=time.monotonic() - before, looked=looked, at_all=self.due is None
        )
        for _, failure in looked.failures if looked else ():
            log_error(failure)
        return looked is not None and looked.changed

    def _awaited(self, deadline: float) -> frozenset[str] | None:
        """The models that moved; None, for all, when Git did or the time is over."""
        self._read_environments()
        while (left := deadline - time.monotonic()) > 0:
            moved = self.workspace.services.cluster.changed(
                self.environments, seconds=min(left, GIT_SECONDS)
            )
            if moved:
                return moved
            refs = self._refs()
            if refs is not None and refs != self.seen:
                return None
        return None

    def _pause(self) -> float:
        try:
            is_judged = bool(undecided(self.workspace))
        except YardError:
            is_judged = False
        except Exception:
            logger.exception("what is judged is unknown")
            is_judged = False
        return min(self.interval, JUDGED_SECONDS) if is_judged else self.interval

    def _refs(self) -> Refs | None:
        """Branches, pull requests and facts, as the forge has them now; None when it is away."""
        try:
            return self.workspace.git.ls_remote(
                self.workspace.services.repository.remote, ("refs/heads/*", "refs/modelyard/*")
            )
        except YardError as error:
            logger.warning("%s", error.message)
            return None

    def _read_environments(self) -> None:
        try:
            catalog = self.workspace.catalog(self.workspace.main())
        except YardError:
            return  # as last read
        except Exception:
            logger.exception("the environments are as last read")
            return
        self.environments = tuple(catalog.environments.values())
