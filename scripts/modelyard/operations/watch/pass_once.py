"""One pass of the watcher: check pull requests, reconcile, observe, notify."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TypeAlias

from modelyard.adapters.git.remote_refs import (
    Waiting,
    forget_snapshot,
    joined_pushes,
    one_snapshot,
    pushed_at_once,
)
from modelyard.adapters.specs.json_documents import warn_left_out
from modelyard.domain.machines.shards import WHOLE, Shard
from modelyard.domain.promotion.facts import ReleaseFacts
from modelyard.domain.promotion.notifications import Notification
from modelyard.domain.specs.release import Release
from modelyard.domain.verdict import Outcome
from modelyard.errors import YardError
from modelyard.operations.reconcile.ahead import TOGETHER, ReadAhead
from modelyard.operations.reconcile.apply import Report
from modelyard.operations.reconcile.human_pulls import set_human_pull_statuses
from modelyard.operations.reconcile.loop import raise_first, reconcile_model, run_all, run_each
from modelyard.operations.sites import read_standing, take_standing, tell_standing
from modelyard.operations.watch.at_rest import RestingModels, read_marks, rests
from modelyard.operations.watch.merge_queue import report_merge_queue
from modelyard.operations.watch.notify import notify, pending_notifications
from modelyard.operations.watch.observe import observe_model
from modelyard.operations.watch.run_checks import run_checks
from modelyard.operations.workspace import Workspace

logger = logging.getLogger(__name__)

A_MOMENT = timedelta(minutes=2)
"""How long a server that starts has the watcher look more often; later each pass may find it."""

GOOD_SECONDS = 2.0
"""Refs that old still show that there is nothing to do; whatever is done is decided by new ones."""

Step: TypeAlias = tuple[str | None, Callable[[], object]]
"""Something to do, with the model it is about; None if it is about all of them."""


@dataclass(frozen=True, kw_only=True)
class PassResult:
    """What a pass did.

    Args:
        changed: Whether it changed anything.
        models: The models it covered.
        failures: What failed, in order, with the model it is about; None for what all models
            share: the forge, people's pull requests, notifications.
        unreadable: Number of documents of pull requests and facts that cannot be read; None if
            that is unknown, as after a pass over some of the models.
    """

    changed: bool
    models: tuple[str, ...]
    failures: tuple[tuple[str | None, Exception], ...] = ()
    unreadable: int | None = None

    @property
    def failing_models(self) -> frozenset[str]:
        """The models that failed."""
        return frozenset(model for model, _ in self.failures if model is not None)

    @property
    def is_success(self) -> bool:
        """Whether the shared steps and at least one model succeeded."""
        shared = any(model is None for model, _ in self.failures)
        return not shared and (not self.models or self.failing_models < set(self.models))

    def changed_or_raise(self) -> bool:
        """Whether it changed anything; raises the first failure if there is one."""
        raise_first([error for _, error in self.failures])
        return self.changed


def run_pass(
    workspace: Workspace,
    *,
    report: Report,
    with_checks: bool,
    on_notified: Callable[[Notification], None] = lambda _: None,
    models: frozenset[str] | None = None,
    resting: RestingModels | None = None,
    shard: Shard = WHOLE,
) -> PassResult:
    """Reconcile and observe models once, and notify people, where this site runs the servers.

    Args:
        workspace: What to work with.
        report: Called with one line for every change.
        with_checks: Whether to check open pull requests; nobody else sets that status.
        on_notified: Called with every notification that was sent.
        models: The models to cover; None for all, and for pull requests that belong to none.
        resting: The models that a pass over all of them leaves out; None for none.
        shard: The part of the models that this watcher covers.

    Raises:
        YardError: The names of the models cannot be read.
    """
    if resting is not None and models is not None:
        resting.forget(models)  # they moved, which is told once, also if this pass does not start
    with workspace.services.pulls.one_listing():
        return _run_pass(
            workspace,
            report=report,
            with_checks=with_checks,
            on_notified=on_notified,
            models=models,
            resting=resting,
            shard=shard,
        )


def _run_pass(
    workspace: Workspace,
    *,
    report: Report,
    with_checks: bool,
    on_notified: Callable[[Notification], None],
    models: frozenset[str] | None,
    resting: RestingModels | None,
    shard: Shard,
) -> PassResult:
    marks: Mapping[str, str] = {}
    with one_snapshot():
        standing = take_standing(workspace)
        tell_standing(workspace, standing, report)
        if standing.is_foreign:
            return PassResult(changed=False, models=())
        names = workspace.models()
        is_whole = models is None and shard.is_first
        shared = _shared_steps(
            workspace, report, with_checks=with_checks and shard.is_first, is_whole=is_whole
        )
        # In a pass over some models those go first: their servers moved, and may need a rollback.
        first, later = (shared, []) if models is None else ([], shared)
        result = run_each(first)
        if resting is not None and models is None:
            marks = _marks(workspace)
    covered = tuple(
        name for name in names if shard.covers(name) and (models is None or name in models)
    )
    names = covered if resting is None else resting.without_resting(covered, marks)
    if resting is not None:
        resting.forget(names)
    # Of the others nobody knows that anything about their servers is new.
    look = _reconcile_and_observe if models is None else _observe_and_reconcile
    at_rest: list[str] | None = None if resting is None or not marks else []
    results = [result, *_look_at(workspace, names, report, at_rest, look)]
    pending: list[Notification] = []
    unreadable: list[int] = []
    last: list[Step] = [(name, partial(_add_pending, workspace, name, pending)) for name in names]
    last.append((None, partial(notify, workspace, pending, on_notified)))
    if models is None:
        last.append((None, partial(_count_unreadable, workspace, unreadable)))
    with one_snapshot():
        forget_snapshot()  # a watcher's own one may be as old as what was done since
        results.append(run_each([*later, *last]))
    found = PassResult(
        changed=any(changed for changed, _ in results),
        models=covered,
        failures=tuple(failure for _, failures in results for failure in failures),
        unreadable=next(iter(unreadable), None),
    )
    # After a change the marks are older than what the pass left, and the next one looks again. What
    # failed for all may be a notification of any of them.
    shared_failed = any(model is None for model, _ in found.failures)
    if resting is not None and at_rest and not found.changed and not shared_failed:
        resting.remember((n for n in at_rest if n not in found.failing_models), marks)
    return found


def _look_at(
    workspace: Workspace,
    names: Sequence[str],
    report: Report,
    at_rest: list[str] | None,
    look: Callable[[Workspace, str, Report], bool],
) -> Iterator[tuple[bool, tuple[tuple[str | None, Exception], ...]]]:
    """Reconcile and observe these models; those found at rest are added to the list, if any."""
    ahead = ReadAhead(workspace, names)
    for first in range(0, len(names), TOGETHER):
        some = names[first : first + TOGETHER]
        with one_snapshot(lasts=GOOD_SECONDS):
            if len(names) > 1:
                ahead.read(first, some)
            steps: list[Step] = [
                (name, partial(_look_at_one, workspace, name, report, at_rest, look))
                for name in some
            ]
            yield run_each(steps)


def _look_at_one(
    workspace: Workspace,
    model: str,
    report: Report,
    at_rest: list[str] | None,
    look: Callable[[Workspace, str, Report], bool],
) -> bool:
    changed = look(workspace, model, report)
    if at_rest is not None and not changed:
        try:
            at_rest += [model] if rests(workspace, model) else []
        except YardError as error:
            logger.warning("%s is looked at again: %s", model, error.message)
    return changed


def _marks(workspace: Workspace) -> Mapping[str, str]:
    """The mark of each model; none, so that every model is looked at, without the forge."""
    try:
        return read_marks(workspace)
    except YardError as error:  # a rollback does not wait for the forge's pull requests
        logger.warning("every model is looked at: %s", error.message)
        return {}


def _shared_steps(
    workspace: Workspace, report: Report, *, with_checks: bool, is_whole: bool
) -> list[Step]:
    """What a pass does for no model in particular; in one over some models only the checks."""
    steps: list[Step] = []
    if is_whole:
        steps.append((None, workspace.facts.carry_over))
    if with_checks:
        steps.append((None, partial(run_checks, workspace, report)))
    if is_whole:
        steps.append((None, partial(set_human_pull_statuses, workspace, report)))
    if with_checks:
        steps.append((None, partial(report_merge_queue, workspace, report)))
    return steps


def _add_pending(workspace: Workspace, model: str, pending: list[Notification]) -> None:
    pending += pending_notifications(workspace, model)


def _count_unreadable(workspace: Workspace, counts: list[int]) -> None:
    """An unreadable document blocks changes without any failure, so it needs a count of its own."""
    found: list[YardError] = [*workspace.services.pulls.unreadable()]
    workspace.facts.read_snapshot(missed=found.append)
    counts.append(len(found))


@one_snapshot()
def _reconcile_and_observe(workspace: Workspace, model: str, report: Report) -> bool:
    """Do what Git asks for, observe the servers, and react to what was observed at once.

    The refs are read once: what others push meanwhile is met by the next pass, or loses the race.
    """
    reconcile = partial(reconcile_model, workspace, model, wait=False, report=report)

    def observe() -> bool:
        try:
            changed = observe_model(workspace, model, report)
        except Exception:
            reconcile()  # what was observed before the error may need a rollback
            raise
        if changed:
            reconcile()
        return changed

    return run_all([reconcile, observe])


def _observe_and_reconcile(workspace: Workspace, model: str, report: Report) -> bool:
    """Observe a model whose servers moved, then react: to a verdict before anything else.

    What is observed may be pushed with the rollback that it leads to. Where that push is lost, all
    is done once more, each with its own: nothing else may tell of what these servers did.
    """
    reconcile = partial(reconcile_model, workspace, model, wait=False, report=report)

    def look() -> bool:
        notes: list[Callable[[], object]] = []  # for people alone, so a rollback waits for none
        observe = partial(observe_model, workspace, model, report, notes=notes)
        return run_all([observe, reconcile, partial(run_all, notes)])

    waiting: Waiting | None = None
    try:
        with joined_pushes() as waiting:
            changed = look()
    except YardError:
        if waiting is None or not waiting.was_lost:
            raise
    else:
        if not waiting.was_lost:
            return changed
    with one_snapshot(), pushed_at_once():
        return look()


@one_snapshot()
def starting_releases(workspace: Workspace, shard: Shard = WHOLE) -> tuple[str, ...]:
    """A shard's releases whose servers are still starting, such as `staging: wine v1`."""
    return tuple(
        f"{release.environment}: {release.model} {release.version}"
        for release in _releases_with(workspace, shard, _may_be_starting)
        if _is_starting(workspace, release)
    )


@one_snapshot()
def is_start_awaited(workspace: Workspace, shard: Shard = WHOLE) -> bool:
    """Whether a release of a shard came a moment ago and was not seen ready yet."""
    since = workspace.services.clock.now() - A_MOMENT

    def is_new(facts: ReleaseFacts) -> bool:
        return _may_be_starting(facts) and facts.seen_at is not None and facts.seen_at > since

    return any(_releases_with(workspace, shard, is_new))


def _releases_with(
    workspace: Workspace, shard: Shard, condition: Callable[[ReleaseFacts], bool]
) -> Iterator[Release]:
    """This site's releases whose facts are like that; the specs of other models are not read."""
    commit, mine = workspace.main(), read_standing(workspace).mine
    facts = workspace.facts.read_snapshot(missed=warn_left_out)
    for (environment, model), each in sorted(facts.releases.items()):
        if environment in mine and shard.covers(model) and condition(each):
            releases = workspace.specs_of(commit, model).catalog.releases
            release = releases.get((environment, model))
            if release is not None and release.identity == each.release:
                yield release


def _may_be_starting(facts: ReleaseFacts) -> bool:
    return not (facts.aborted or facts.healthy_since)


def _is_starting(workspace: Workspace, release: Release) -> bool:
    where = workspace.environments(workspace.main()).get(release.environment)
    if where is None:
        return False
    state = workspace.services.cluster.observe(model=release.model, environment=where)
    if state is None or state.aborted:
        return state is None
    # Servers that are ready wait only for the next pass, which writes that down.
    return not (state.ready and state.release == release.identity)


@one_snapshot()
def undecided_releases(workspace: Workspace, shard: Shard = WHOLE) -> tuple[str, ...]:
    """A shard's judged releases without enough traffic for a verdict, such as `canary wine`."""
    return tuple(
        f"{release.environment} {release.model}"
        for release in _releases_with(workspace, shard, _is_undecided)
    )


def _is_undecided(facts: ReleaseFacts) -> bool:
    if facts.aborted or facts.verdict is None:
        return False
    return facts.verdict.outcome is Outcome.INCONCLUSIVE
