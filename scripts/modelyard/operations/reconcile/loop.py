"""Plans and carries out, round after round, until nothing is missing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from modelyard.adapters.git.remote_refs import one_snapshot
from modelyard.domain.promotion.actions import Action, Merge, PlaceHold, RaiseIncident, RollBack
from modelyard.domain.promotion.plan import plan
from modelyard.domain.promotion.world import World
from modelyard.errors import CannotAnswer, YardError
from modelyard.operations.reconcile.apply import Report, apply_action
from modelyard.operations.reconcile.collect import collect_world
from modelyard.operations.workspace import Workspace
from modelyard.ports import Phase, WorkflowStatus

logger = logging.getLogger(__name__)

Whose = TypeVar("Whose")

MOST_ROUNDS = 60
"""More rounds than any honest chain of merges needs; reaching it is a defect, and says so."""


def run_all(steps: Iterable[Callable[[], object]]) -> bool:
    """Take every step, so that one model's trouble never keeps another's rollback waiting.

    True if any of them changed something. The first error is raised in the end, others are logged.
    """
    changed, failures = run_each((None, step) for step in steps)
    raise_first([error for _, error in failures])
    return changed


def run_each(
    steps: Iterable[tuple[Whose, Callable[[], object]]],
) -> tuple[bool, tuple[tuple[Whose, Exception], ...]]:
    """Take every step; says whether any changed something, and what failed, with whose step it was.

    A defect is trouble like any other: it says nothing about the steps that are left.
    """
    changed = False
    failures: list[tuple[Whose, Exception]] = []
    for whose, step in steps:
        try:
            changed |= bool(step())
        except Exception as error:  # noqa: BLE001 - whoever asked raises it, or logs it whole
            failures.append((whose, error))
    return changed, tuple(failures)


def raise_first(errors: Sequence[Exception]) -> None:
    """Log all errors but the first, and raise that one, if there is any."""
    for later in errors[1:]:
        log_error(later)
    if errors:
        raise errors[0]


def log_error(error: Exception) -> None:
    """Log what a person can act on in one line, and a defect with its traceback."""
    if isinstance(error, YardError):
        logger.error("%s", error.message)
    else:
        logger.error("unexpected", exc_info=error)


def reconcile_model(workspace: Workspace, model: str, *, wait: bool, report: Report) -> int:
    """Reconcile one model to its fixpoint; returns how many actions changed something.

    What failed is tried again in every round, and raised once nothing else changes.

    Args:
        workspace: What to work with.
        model: The model.
        wait: Follow running workflows, and go on when they end.
        report: Called with one line for every change.

    Raises:
        CannotAnswer: It did not settle.
        Exception: The first thing that failed in the last round.
    """
    done = 0
    for _ in range(MOST_ROUNDS):
        with one_snapshot():  # what is done first is done to the refs it was decided by
            world = collect_world(workspace, model)
            changed, errors = apply_plan(workspace, world, report)
        done += changed
        if changed:
            for error in errors:
                log_error(error)
            continue
        raise_first(errors)
        names = running_workflows(world)
        if not (wait and names):
            return done
        for name in names:
            workspace.services.orchestrator.wait(name, progress=_progress(report))
    raise CannotAnswer(
        f"{model} did not settle within {MOST_ROUNDS} rounds",
        hint=f"modelyard reconcile {model} --dry-run shows what it would do next",
    )


def apply_plan(workspace: Workspace, world: World, report: Report) -> tuple[int, list[Exception]]:
    """Carry one plan out; says how many actions changed something, and what failed.

    Stops after the first change of the main branch, which outdates the plan. After a failure only
    what makes things safer is still done: whatever else the plan holds may count on what failed.
    """
    changed = 0
    failed: list[tuple[Action, Exception]] = []
    actions = plan(world)
    placed = {each.version for each in actions if isinstance(each, PlaceHold)}
    held = frozenset(world.model_facts.holds) | placed
    for action in actions:
        if any(not _is_safe_after(tried, action, held) for tried, _ in failed):
            continue
        try:
            if not apply_action(action, workspace, world, report):
                continue
        except Exception as error:  # noqa: BLE001 - handed back, and raised or logged by `reconcile_model`
            failed.append((action, error))
            continue
        changed += 1
        if isinstance(action, Merge | RollBack):
            break
    return changed, [error for _, error in failed]


def _is_safe_after(failed: Action, action: Action, held: frozenset[str]) -> bool:
    """Whether the action may follow one that failed.

    A version goes back only once its hold is written. One without a hold goes back in what joins an
    environment first: once the environment names another version, nothing would find the reason.
    """
    if isinstance(action, RollBack) and isinstance(failed, PlaceHold | RollBack):
        is_another = failed.version != action.version
        return is_another or (isinstance(failed, RollBack) and action.version in held)
    return isinstance(action, PlaceHold | RollBack | RaiseIncident)


def running_workflows(world: World) -> tuple[str, ...]:
    """Names of the workflows that are not over."""
    runs = world.runs.items()
    return tuple(world.workflow_name(version) for version, run in runs if not run.is_over)


def _progress(report: Report) -> Callable[[WorkflowStatus], None]:
    told: dict[str, Phase] = {}

    def progress(status: WorkflowStatus) -> None:
        for step, phase in status.steps.items():
            if told.get(step) is not phase and phase is not Phase.PENDING:
                told[step] = phase
                report(f"  {status.name} {step}: {phase}")

    return progress
