"""Plans and carries out, round after round, until nothing is missing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from modelyard.adapters.remote_refs import one_glance
from modelyard.commands.reconciling.carry_out import Say, carry_out
from modelyard.commands.reconciling.collect import Desk, collect
from modelyard.domain.actions import Merge, RollBack
from modelyard.domain.facts import TrainingFacts
from modelyard.domain.plan import plan
from modelyard.domain.training import workflow_name
from modelyard.domain.world import World
from modelyard.errors import CannotAnswer, YardError
from modelyard.ports import Phase, WorkflowStatus

logger = logging.getLogger(__name__)

MOST_ROUNDS = 60
"""More rounds than any honest chain of merges needs; reaching it is a defect, and says so."""


def every(steps: Iterable[Callable[[], object]]) -> bool:
    """Take every step, so that one model's trouble never keeps another's rollback waiting.

    True if any of them changed something. The first error is raised in the end, others are logged.
    A defect is trouble like any other: it says nothing about the steps that are left.
    """
    changed = False
    errors: list[Exception] = []
    for step in steps:
        try:
            changed |= bool(step())
        except Exception as error:  # noqa: BLE001 - raised in the end, or logged whole
            errors.append(error)
    for later in errors[1:]:
        if isinstance(later, YardError):
            logger.error("%s", later.message)
        else:
            logger.error("unexpected", exc_info=later)
    if errors:
        raise errors[0]
    return changed


def settle(desk: Desk, model: str, *, wait: bool, say: Say) -> int:
    """Reconcile one model to its fixpoint; returns how many actions changed something.

    Args:
        desk: What to work with.
        model: The model.
        wait: Follow running workflows, and go on when they end.
        say: Told every change, in one line.

    Raises:
        CannotAnswer: It did not settle.
    """
    done = 0
    for _ in range(MOST_ROUNDS):
        with one_glance():  # what is done first is done to the refs it was decided by
            world = collect(desk, model)
            changed = one_round(desk, world, say)
        done += changed
        if changed:
            continue
        names = running(world)
        if not (wait and names):
            return done
        for name in names:
            desk.services.orchestrator.wait(name, progress=_progress(say))
    raise CannotAnswer(
        f"{model} did not settle within {MOST_ROUNDS} rounds",
        hint=f"modelyard reconcile {model} --dry-run shows what it would do next",
    )


def one_round(desk: Desk, world: World, say: Say) -> int:
    """Carry one plan out; stops after the first change of the main branch, which outdates it."""
    changed = 0
    for action in plan(world):
        if not carry_out(action, desk, world, say):
            continue
        changed += 1
        if isinstance(action, Merge | RollBack):
            break
    return changed


def running(world: World) -> tuple[str, ...]:
    """Names of the workflows that are not over."""
    names = []
    for version, run in world.runs.items():
        if not run.is_over:
            known = world.model_facts.training.get(version, TrainingFacts())
            spec = world.catalog.digests[world.model, version]
            names.append(workflow_name(world.model, version, spec=spec, attempt=known.attempt))
    return tuple(names)


def _progress(say: Say) -> Callable[[WorkflowStatus], None]:
    told: dict[str, Phase] = {}

    def progress(status: WorkflowStatus) -> None:
        for step, phase in status.steps.items():
            if told.get(step) is not phase and phase is not Phase.PENDING:
                told[step] = phase
                say(f"  {status.name} {step}: {phase}")

    return progress
