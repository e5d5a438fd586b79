"""Reads how far the workflow of each version without a record is, or forgets that it failed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from modelyard.adapters.specs.documents import build_spec
from modelyard.adapters.store.artifacts import Store
from modelyard.domain.promotion.facts import ModelFacts, TrainingFacts
from modelyard.domain.promotion.world import Run, World
from modelyard.domain.specs.record import Record
from modelyard.errors import CannotAnswer, Refused, YardError
from modelyard.operations.training.job import CRASH, OUTCOME
from modelyard.operations.workspace import Workspace
from modelyard.ports import Phase

logger = logging.getLogger(__name__)

T = TypeVar("T")


def read_runs(workspace: Workspace, world: World) -> Mapping[str, Run]:
    """The workflow of the current attempt, by version without a record."""
    runs: dict[str, Run] = {}
    for spec in world.catalog.versions_of(world.model):
        if world.record(spec.version) is None:
            run = _run(workspace, world.workflow_name(spec.version))
            if run is not None:
                runs[spec.version] = run
    return runs


def _run(workspace: Workspace, workflow: str) -> Run | None:
    """The state of a workflow; None if it was never started.

    If its state or its outcome is out of reach it counts as running, which starts and retries
    nothing.
    """
    try:
        status = workspace.services.orchestrator.status(workflow)
    except CannotAnswer as error:
        logger.warning("%s", error.message)
        # The store may still have the outcome, which is all that a record needs.
        unknown = Run(is_over=False, message=f"unknown: {error.message}")
        return or_unknown(lambda: _forgotten(workspace, workflow), None) or unknown
    if status is None:  # never started, or removed after it ended: only the store can tell
        forgotten: Run | None = Run(is_over=False)
        return or_unknown(lambda: _forgotten(workspace, workflow), forgotten)
    if not status.phase.is_over:
        steps = tuple(name for name, phase in status.steps.items() if phase is Phase.RUNNING)
        return Run(is_over=False, message=status.message, steps=steps)
    return or_unknown(lambda: _ended(workspace.store, workflow, status.message), Run(is_over=False))


def _ended(store: Store, workflow: str, message: str) -> Run:
    outcome = outcome_of(store, workflow)
    crash = None if outcome else store.read_run_document(workflow, CRASH)
    reason = str(crash["reason"]) if crash else None
    return Run(is_over=True, outcome=outcome, message=message, crash=reason)


def _forgotten(workspace: Workspace, workflow: str) -> Run | None:
    outcome = outcome_of(workspace.store, workflow)
    return None if outcome is None else Run(is_over=True, outcome=outcome)


def outcome_of(store: Store, workflow: str) -> Record | None:
    """The record a workflow made, if it made one."""
    document = store.read_run_document(workflow, OUTCOME)
    return None if document is None else build_spec(Record, document)


def or_unknown(answer: Callable[[], T], unknown: T) -> T:
    """The answer; where it is out of reach, what stands for unknown."""
    try:
        return answer()
    except YardError as error:
        logger.warning("%s", error.message)
        return unknown


def forget_failure(workspace: Workspace, model: str, version: str, *, dry_run: bool) -> int:
    """Forget that training a version failed, and return the next attempt.

    Raises:
        CannotAnswer: The main branch has no such version.
        Refused: It has a record, or its training has not failed.
    """
    catalog = workspace.catalog(workspace.main())
    catalog.require_version(model, version)
    if (model, version) in catalog.records:
        raise Refused(
            f"{model} {version} has a record already, and records never change",
            hint=f"modelyard version new {model} VERSION --parent {version} --reason TEXT",
        )

    def change(before: ModelFacts) -> ModelFacts:
        # Checked inside the update: reconcile may write at the same time.
        known = before.training.get(version, TrainingFacts())
        if known.failed is None:
            raise Refused(
                f"training of {model} {version} has not failed; it is at attempt {known.attempt}",
                hint=f"modelyard status {model}",
            )
        again = TrainingFacts(attempt=known.attempt + 1)
        return replace(before, training={**before.training, version: again})

    if dry_run:
        after = change(workspace.facts.read_model(model))
    else:
        after = workspace.facts.update_model(model, change)
    return after.training[version].attempt
