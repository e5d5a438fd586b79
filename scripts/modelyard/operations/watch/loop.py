"""The watcher's loop: a pass when something moved, and at least one per interval."""

from __future__ import annotations

import importlib
import logging
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from modelyard.adapters.git.packing import pack_objects
from modelyard.adapters.git.remote_refs import one_snapshot
from modelyard.domain.machines.shards import WHOLE, Shard
from modelyard.domain.specs.environment import Environment
from modelyard.errors import YardError
from modelyard.operations.judge.evidence import IMPORTED_LATE
from modelyard.operations.open_workspace import workspace_of
from modelyard.operations.reconcile.apply import Report
from modelyard.operations.reconcile.loop import log_error
from modelyard.operations.watch.at_rest import RestingModels
from modelyard.operations.watch.disk_news import DiskNews
from modelyard.operations.watch.forge_pace import first_pause, next_pause
from modelyard.operations.watch.health import WatchHealth
from modelyard.operations.watch.pass_once import (
    GOOD_SECONDS,
    is_start_awaited,
    run_pass,
    undecided_releases,
)
from modelyard.operations.workspace import Workspace
from modelyard.ports import Services

if TYPE_CHECKING:
    from modelyard.adapters.cluster.kubernetes_lease import KubernetesLease
    from modelyard.operations.watch.pages import LivePages

logger = logging.getLogger(__name__)

JUDGED_SECONDS = 5.0
"""Between two passes while a release is judged."""

STARTING_SECONDS = 1.0
"""Between two passes while a server starts that sends no notice of it."""

PACKING_PAUSE_SECONDS = 600.0
"""Between two times at which the checkout's objects are packed; each write of facts adds some."""

MOST_IN_A_ROW = 10
"""Passes without a pause, as long as each changes something."""

PRELOADED = (
    *IMPORTED_LATE,
    "mlflow.tracking",
    "modelyard.operations.watch.pull_checks",
    "scipy.special",
)
"""Imported at the start, so that the first rollback does not wait for them."""

Refs = dict[str, str]

_PULSE = "pulse"
"""No ref's name: what the forge says of its pull requests."""

_WORKFLOWS = "workflows"
"""No ref's name either: what the orchestrator says of its workflows."""

_PULSES = (_PULSE, _WORKFLOWS)


def watch_forever(
    services: Services,
    *,
    report: Report,
    interval: float,
    listen: tuple[str, int] | None,
    lease: str | None,
    pages: tuple[str, int] | None = None,
    shard: Shard = WHOLE,
) -> None:
    """Run passes until the process ends.

    Args:
        services: The outside world.
        report: Called with one line for every change.
        interval: Seconds between two passes when nothing happens.
        listen: Where to serve `/healthz` and `/metrics`; None for nowhere.
        lease: `namespace/name` of the Lease to hold while acting; None to act without one.
        pages: Where to serve the pages of the site; None for nowhere.
        shard: The part of the models to cover; each part has a Lease of its own.
    """
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # our own errors name what it retries
    for module in PRELOADED:
        importlib.import_module(module)
    health = WatchHealth(interval, shard)
    if listen is not None:
        health.serve_pages(*listen)
    workspace = workspace_of(services)
    watcher = Watcher(
        workspace=workspace, health=health, interval=interval, report=report, shard=shard
    )
    if pages is not None:
        watcher.pages = _serve_pages(services, pages, report)
    held = _stand_for(shard.lease(lease)) if lease is not None else None
    while True:
        if held is None or held.wait(1.0):
            watcher.run_passes_and_wait()
        else:
            health.record_standby(is_leader_known=held.is_answered())
            watcher.resting.forget()
            watcher.due = None  # once it acts it knows nothing: its first pass covers all models


def _serve_pages(services: Services, address: tuple[str, int], report: Report) -> LivePages:
    from modelyard.operations.services import services_for
    from modelyard.operations.watch.pages import LivePages

    # Adapters of its own: those of the passes keep what they read, and know one thread.
    served = LivePages(workspace_of(services_for(services.root)), *address)
    report(f"pages are at http://{served.server.host}:{served.server.port}/")
    return served


def _stand_for(lease: str) -> KubernetesLease:
    """The Lease whose holder acts."""
    from modelyard.adapters.cluster.kubernetes_api import KubernetesApi
    from modelyard.adapters.cluster.kubernetes_lease import KubernetesLease

    namespace, _, name = lease.partition("/")
    return KubernetesLease(namespace, name, KubernetesApi())


@dataclass
class Watcher:
    """What a watcher remembers between passes; losing it costs one pass over all models.

    Args:
        workspace: What to work with.
        health: Records how each pass went.
        interval: Seconds between two passes when nothing happens.
        report: Called with one line for every change.
        due: The models of the next pass; None for all.
        environments: As last read.
        seen: The forge's refs before the last pass.
        all_by: When the next pass over all models is due, however busy one of them is.
        pack_by: When the checkout's objects are packed next.
        pages: The pages that it serves, if it serves any.
        resting: The models at rest, which a pass over all models leaves out.
        shard: The part of the models that it covers.
        disk_news: What people know of the disks.
    """

    workspace: Workspace
    health: WatchHealth
    interval: float
    report: Report
    due: frozenset[str] | None = None
    environments: tuple[Environment, ...] = ()
    seen: Refs = field(default_factory=dict)
    all_by: float = 0.0
    pack_by: float = 0.0
    pages: LivePages | None = None
    resting: RestingModels = field(default_factory=RestingModels)
    shard: Shard = WHOLE
    disk_news: DiskNews = field(default_factory=DiskNews)

    def run_passes_and_wait(self) -> None:
        """Run passes until one changes nothing, then wait until something is due."""
        before, has_acted = self.seen, False
        for number in range(MOST_IN_A_ROW):
            # Servers moved: a rollback waits for the refs alone, and its pass asks no second time.
            may_hurry = number == 0 and self.due is not None
            with one_snapshot(lasts=GOOD_SECONDS) if may_hurry else nullcontext():
                # Read before the pass, so that a push during it starts another one.
                self.seen = self._read_refs(with_pulses=not may_hurry) or self.seen
                if _is_news(self.seen, before, with_refs=number == 0):
                    self.all_by = 0.0  # it may be about a model that is not due
                changed = self._run_pass()
            has_acted = has_acted or changed
            if not changed:
                break
        if self.pages is not None:
            self.pages.refresh(self._read_refs() or self.seen)
        self.workspace.kept_room.keep()
        pause = self._pause_seconds()
        if pause == self.interval:
            self._pack_objects()
        if has_acted and self.due is not None:
            # A push about another model, between its own, was taken for one of its own.
            pause = min(pause, JUDGED_SECONDS)
        soon = time.monotonic() + pause
        self.all_by = soon if self.due is None else min(self.all_by, soon)
        self.due = self._wait_for_due(self.all_by)

    def _run_pass(self) -> bool:
        """True if the pass changed something; its failures may be gone in the next one."""
        before, result, failed = time.monotonic(), None, list[Exception]()
        try:
            result = run_pass(
                self.workspace,
                report=self.report,
                with_checks=True,
                on_notified=self.health.count_notification,
                models=self.due,
                resting=self.resting if self._hears_servers() else None,
                shard=self.shard,
            )
        except Exception as error:  # noqa: BLE001 - it survives defects, and its health shows them
            failed.append(error)
            log_error(error, defect="a pass failed")
        self.health.record_pass(
            seconds=time.monotonic() - before, result=result, covers_all=self.due is None
        )
        failures = [failure for _, failure in result.failures] if result else failed
        for failure in failures if result else ():
            log_error(failure)
        self.disk_news.tell_stuck(self.workspace.stuck_in_traffic)
        self.disk_news.tell(failures, is_whole=self.due is None and result is not None)
        return result is not None and result.changed

    def _hears_servers(self) -> bool:
        """Whether the models of which servers move are told, so that the others may be left out."""
        is_heard = self.workspace.services.cluster.tells_changes()
        if not is_heard:
            self.resting.forget()
        return is_heard

    def _wait_for_due(self, deadline: float) -> frozenset[str] | None:
        """The models that moved; None, for all, once Git moved or the deadline passed."""
        self._read_environments()
        pause = first_pause(self.workspace.git, self.workspace.services.repository.remote)
        while (left := deadline - time.monotonic()) > 0:
            moved = self.workspace.services.cluster.changed(
                self.environments, seconds=min(left, pause)
            )
            if mine := frozenset(filter(self.shard.covers, moved)):
                return mine
            before = time.monotonic()
            refs = self._read_refs()
            if refs is not None and refs != self.seen:
                return None
            pause = next_pause(pause, time.monotonic() - before)
        return None

    def _pack_objects(self) -> None:
        """Pack the checkout's objects now and then, while nothing changes and nothing is judged."""
        if time.monotonic() < self.pack_by:
            return
        self.pack_by = time.monotonic() + PACKING_PAUSE_SECONDS
        try:
            pack_objects(self.workspace.git)
        except YardError as error:  # only the disk fills; nothing waits for it
            logger.warning("the objects of the checkout stay unpacked: %s", error.message)

    def _pause_seconds(self) -> float:
        # While nothing can be written down, nobody knows what is judged.
        if self.disk_news.lasts:
            return min(self.interval, JUDGED_SECONDS)
        # More traffic wakes nobody, and a process that becomes ready does not either.
        try:
            if not self._hears_servers() and is_start_awaited(self.workspace, self.shard):
                return min(self.interval, STARTING_SECONDS)
            if undecided_releases(self.workspace, self.shard):
                return min(self.interval, JUDGED_SECONDS)
        except YardError:
            pass  # the pass that failed has said why
        except Exception as error:  # noqa: BLE001 - as above
            log_error(error, defect="cannot tell whether a release starts or is judged")
        return self.interval

    def _read_refs(self, *, with_pulses: bool = True) -> Refs | None:
        """The forge's branches, facts among them, and pull requests; None if it does not answer.

        Without its pulses, what is not asked for is as last read.
        """
        try:
            refs = self.workspace.read_refs()
        except YardError as error:
            logger.warning("%s", error.message)
            return None
        if not with_pulses:
            return {**refs, **{each: self.seen[each] for each in _PULSES if each in self.seen}}
        # A review on a page moves no ref, and neither does a workflow that ends.
        return {**refs, _PULSE: self._read_pulse(), _WORKFLOWS: self._read_ended_workflows()}

    def _read_pulse(self) -> str:
        """What the forge says of its pull requests; as last said if it says nothing now."""
        try:
            return self.workspace.services.pulls.pulse()
        except YardError as error:  # with its limit reached, pushes wake the watcher all the same
            logger.info("%s", error.message)
            return self.seen.get(_PULSE, "")

    def _read_ended_workflows(self) -> str:
        """What changes when a workflow ends; as last read if it cannot be read now."""
        try:
            return self.workspace.services.orchestrator.pulse()
        except Exception as error:  # noqa: BLE001 - as in a pass
            log_error(error, defect="cannot read which workflows are over")
        return self.seen.get(_WORKFLOWS, "")

    def _read_environments(self) -> None:
        try:
            environments = self.workspace.environments(self.workspace.main())
        except YardError:
            return  # as last read
        except Exception:
            logger.exception("the environments stay as last read")
            return
        self.environments = tuple(environments.values())


def _is_news(seen: Refs, before: Refs, *, with_refs: bool) -> bool:
    """Whether something moved that this process did not move; its own pushes move refs, too."""
    if with_refs:
        return seen != before
    return any(seen.get(each) != before.get(each) for each in _PULSES)
