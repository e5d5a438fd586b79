"""The loop of reconcile: collect, plan and apply until nothing changes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TypeVar

from modelyard.adapters.forge.hosted.api import KeptForRollbacks, urgent
from modelyard.adapters.git.remote_refs import (
    Overtaken,
    WaitedInVain,
    forget_snapshot,
    joined_pushes,
    one_snapshot,
    pushed_at_once,
    renew_snapshot,
)
from modelyard.adapters.workflows.patience import Patience
from modelyard.domain.promotion.actions import (
    Action,
    GiveUpTraining,
    Merge,
    PlaceHold,
    RaiseIncident,
    RetryTraining,
    RollBack,
    StartTraining,
)
from modelyard.domain.promotion.plan import plan
from modelyard.domain.promotion.world import World
from modelyard.domain.sites import Standing
from modelyard.domain.specs.repository import ForgeKind
from modelyard.errors import (
    CannotAnswer,
    LostAnswer,
    NoRoom,
    Refused,
    YardError,
    explain_disk_error,
)
from modelyard.operations.forge.deployments import keep_deployments
from modelyard.operations.forge.status_comment import keep_status_comments
from modelyard.operations.reconcile.apply import Report, apply_action
from modelyard.operations.reconcile.collect import collect_world, owes_rollback
from modelyard.operations.sites import read_standing
from modelyard.operations.workspace import Workspace
from modelyard.ports import Phase, WorkflowStatus

logger = logging.getLogger(__name__)

Owner = TypeVar("Owner")

_SAFE = (PlaceHold, RollBack, RaiseIncident)
_OF_WORKFLOWS = (StartTraining, RetryTraining, GiveUpTraining)

MOST_ROUNDS = 60
"""More rounds than any chain of merges needs; reaching it is a defect."""


def run_all(steps: Iterable[Callable[[], object]]) -> bool:
    """Run every step; True if any of them changed something.

    A failure of one model must not delay the rollback of another. So the first error is raised
    after the last step, and the others are logged.
    """
    changed, failures = run_each((None, step) for step in steps)
    raise_first([error for _, error in failures])
    return changed


def run_each(
    steps: Iterable[tuple[Owner, Callable[[], object]]],
) -> tuple[bool, tuple[tuple[Owner, Exception], ...]]:
    """Run every step; returns whether any changed something, and the failures with their owners."""
    changed = False
    failures: list[tuple[Owner, Exception]] = []
    for owner, step in steps:
        try:
            changed |= bool(step())
        except Exception as error:  # noqa: BLE001 - the caller raises it, or logs it with its traceback
            failures.append((owner, error))
    return changed, tuple(failures)


def raise_first(errors: Sequence[Exception]) -> None:
    """Raise the first error, if there is one, after logging the others."""
    for later in errors[1:]:
        log_error(later)
    if errors:
        raise errors[0]


def log_error(error: Exception, *, defect: str = "unexpected") -> None:
    """Log an error that a person can act on in one line, and a defect with its traceback.

    Args:
        error: The error.
        defect: What is said of a defect.
    """
    named = explain_disk_error(error)
    if isinstance(named, YardError):
        logger.error("%s", named.message)
    else:
        logger.error("%s", defect, exc_info=error)


def reconcile_model(workspace: Workspace, model: str, *, wait: bool, report: Report) -> int:
    """Collect, plan and apply until nothing changes; returns how many actions changed something.

    A model that owes a rollback may use the calls of the forge that are kept for that, and the room
    on the disk.

    An action that failed is tried again in every round. Its error is raised once nothing changes;
    whoever waits gives a lost answer two minutes first.

    Args:
        workspace: What to work with.
        model: The model.
        wait: Whether to wait for running workflows and go on when they end.
        report: Called with one line for every change.

    Raises:
        CannotAnswer: It still changes after `MOST_ROUNDS` rounds.
        Refused: A spec cannot be read; holds and rollbacks were applied all the same.
        Exception: The first failure of the last round.
    """
    try:
        return _reconcile(workspace, model, wait=wait, report=report)
    except KeptForRollbacks:
        if not owes_rollback(workspace, model):
            raise
    except NoRoom:
        if not (owes_rollback(workspace, model) and workspace.kept_room.give_back()):
            raise
    with urgent():
        return _reconcile(workspace, model, wait=wait, report=report, shows=False)


def _reconcile(
    workspace: Workspace, model: str, *, wait: bool, report: Report, shows: bool = True
) -> int:
    """See `reconcile_model`; `shows` is whether it keeps the forge's pages for people."""
    done, rounds, patience = 0, 0, Patience()
    while rounds < MOST_ROUNDS:
        rounds += 1
        with one_snapshot():  # until something changes, actions meet the refs they were planned by
            is_of_now = renew_snapshot()
            world = collect_world(workspace, model, may_lack_specs=True)
            if not is_of_now and _needs_refs_of_now(_planned_here(workspace, world)):
                # A hold or freeze that somebody placed meanwhile must be seen before anything is
                # done.
                forget_snapshot()
                world = collect_world(workspace, model, may_lack_specs=True)
            changed, errors = apply_plan(workspace, world, report)
        done += changed
        if changed:
            patience.renew()
            for error in errors:
                log_error(error)
            continue
        if shows and workspace.services.repository.forge is not ForgeKind.LOCAL:
            _show_on_forge(workspace, world)
        try:
            raise_first(errors)
            raise_unreadable(world)
            names = running_workflows(world)
            if not (wait and names):
                return done
            for name in names:
                workspace.services.orchestrator.wait(name, progress=_progress(report))
            patience.renew()
        except LostAnswer as error:
            # Only what runs workflows knows what became of a request: the next round asks it.
            if not (wait and patience.pause(error)):
                raise
            rounds -= 1
    raise CannotAnswer(
        f"{model} still changes after {MOST_ROUNDS} rounds",
        hint=f"modelyard reconcile {model} --dry-run shows what it would do next",
    )


def _show_on_forge(workspace: Workspace, world: World) -> None:
    """Keep what people see on the pages of a hosted forge; nothing is decided by it."""
    standing = read_standing(workspace)
    if not standing.is_foreign:
        keep_status_comments(workspace, world)
        keep_deployments(workspace, world, standing.mine)


def raise_unreadable(world: World) -> None:
    """Raise `Refused` if the plan of the world lacks what a spec that cannot be read may ask."""
    if world.unreadable is not None:
        raise Refused(
            f"{world.unreadable}; {world.model} is rolled back if it has to be, and no more",
            hint="run `modelyard validate` for all problems",
        )


def apply_plan(workspace: Workspace, world: World, report: Report) -> tuple[int, list[Exception]]:
    """Apply the plan for a world; returns how many actions changed something, and the failures.

    It stops after a merge, which outdates the plan. After a failure it only applies actions that
    make things safer: the others may depend on the one that failed.
    """
    actions = _planned_here(workspace, world)
    placed = {each.version for each in actions if isinstance(each, PlaceHold)}
    held = frozenset(world.model_facts.holds) | placed
    applied = _Applied(workspace=workspace, world=world, report=report, held=held)
    back = _first_rollback(actions)
    try:
        # A push to a forge takes a second or more, and a rollback waits for each.
        with joined_pushes():
            applied.apply_all(back)
    except Overtaken:
        applied.plan_again()
    except WaitedInVain as error:
        if not back:
            raise
        applied.changed = 0  # what waited changed nothing
        applied.failed.append((back[0], error))  # a hold, if one is placed
    with pushed_at_once():
        applied.apply_all(actions[len(back) :])
    return applied.changed, [error for _, error in applied.failed]


def _first_rollback(actions: Sequence[Action]) -> tuple[Action, ...]:
    """The holds at the beginning of a plan, with the rollback that follows them."""
    holds = tuple(takewhile(lambda each: isinstance(each, PlaceHold), actions))
    following = actions[len(holds) : len(holds) + 1]
    return (*holds, *(each for each in following if isinstance(each, RollBack)))


def _needs_refs_of_now(actions: Sequence[Action]) -> bool:
    """Whether a plan must be made again from refs that are read now.

    A rollback need not: it begins with one push of facts and its branch, which fails if somebody
    wrote to one of them since, and nothing that follows it in the plan is applied.
    """
    return bool(actions) and not any(isinstance(e, RollBack) for e in _first_rollback(actions))


@dataclass
class _Applied:
    """What became of a plan so far.

    Args:
        workspace: What to work with.
        world: The world that the plan is for.
        report: Called with one line for every change.
        held: The versions on hold, those that the plan places included.
        changed: How many actions changed something.
        failed: The actions that failed.
        is_over: Whether a merge outdated the plan.
    """

    workspace: Workspace
    world: World
    report: Report
    held: frozenset[str]
    changed: int = 0
    failed: list[tuple[Action, Exception]] = field(default_factory=list)
    is_over: bool = False

    def apply_all(self, actions: Iterable[Action]) -> None:
        """Apply these in order, as far as what failed and what was merged allows that."""
        for action in actions:
            if self.is_over:
                return
            if all(_is_safe_after(tried, action, self.held) for tried, _ in self.failed):
                self._apply(action)

    def plan_again(self) -> None:
        """Leave the rest to the next round: others wrote first, and nothing that waited is done."""
        self.changed += 1
        self.is_over = True

    def _apply(self, action: Action) -> None:
        try:
            if not apply_action(action, self.workspace, self.world, self.report):
                return
        except (Overtaken, WaitedInVain):
            raise
        except Exception as error:  # noqa: BLE001 - `reconcile_model` raises or logs it
            self.failed.append((action, error))
            return
        self.changed += 1
        self.is_over = isinstance(action, Merge | RollBack)


def _planned_here(workspace: Workspace, world: World) -> tuple[Action, ...]:
    """What this site would do now."""
    return allowed_here(plan(world), world, read_standing(workspace))


def allowed_here(actions: Iterable[Action], world: World, standing: Standing) -> tuple[Action, ...]:
    """The actions that are this site's to do.

    - A site that runs no environment only takes bad versions out, when a person asks for that.
    - Workflows are known only where they run: at the site of the first environment.
    """
    if standing.is_foreign:
        return tuple(each for each in actions if isinstance(each, _SAFE))
    path = world.catalog.path_to_production()
    if not path or path[0].name in standing.mine:
        return tuple(actions)
    return tuple(each for each in actions if not isinstance(each, _OF_WORKFLOWS))


def _is_safe_after(failed: Action, action: Action, held: frozenset[str]) -> bool:
    """Whether the action may be applied after this one failed."""
    if isinstance(action, RollBack) and isinstance(failed, PlaceHold | RollBack):
        # A version is rolled back only after its hold is written. One without a hold is rolled back
        # in production only after the environments that join it: they share its fault, and nothing
        # would show it once production has another version.
        is_another = failed.version != action.version
        return is_another or (isinstance(failed, RollBack) and action.version in held)
    return isinstance(action, _SAFE)


def running_workflows(world: World) -> tuple[str, ...]:
    """Names of the workflows that have not ended."""
    runs = world.runs.items()
    return tuple(world.workflow_name(version) for version, run in runs if not run.is_over)


def _progress(report: Report) -> Callable[[WorkflowStatus], None]:
    reported: dict[str, Phase] = {}

    def progress(status: WorkflowStatus) -> None:
        for step, phase in status.steps.items():
            if reported.get(step) is not phase and phase is not Phase.PENDING:
                reported[step] = phase
                report(f"  {status.name} {step}: {phase}")
        if status.phase.is_over and status.message:
            where = f" (log: {status.log})" if status.log else ""
            report(f"  {status.name} {status.message}{where}")

    return progress
