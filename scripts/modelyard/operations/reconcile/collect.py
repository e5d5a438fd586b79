"""Reads one model's world: Git, facts, the forge, the orchestrator and the registry."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TypeVar

from modelyard.adapters.git.remote_refs import one_snapshot
from modelyard.adapters.git.trees import GitTree
from modelyard.adapters.specs.documents import structure
from modelyard.adapters.specs.json_documents import leave_out
from modelyard.adapters.specs.reader import sound
from modelyard.adapters.store.artifacts import Store
from modelyard.domain.promotion.branches import is_of
from modelyard.domain.promotion.facts import TrainingFacts
from modelyard.domain.promotion.promote import needs_comparison
from modelyard.domain.promotion.training import workflow_name
from modelyard.domain.promotion.world import Run, World
from modelyard.domain.specs.paths import model_file
from modelyard.domain.specs.record import Record
from modelyard.domain.verdict import Verdict
from modelyard.errors import CannotAnswer, YardError
from modelyard.operations.training.job import OUTCOME
from modelyard.operations.workspace import Workspace

logger = logging.getLogger(__name__)

T = TypeVar("T")


@one_snapshot()
def collect(workspace: Workspace, model: str, *, with_registry: bool = True) -> World:
    """One model's world now.

    What only promotions need may be out of reach: then it is unknown, and rollbacks go on. So are
    the facts of one environment that cannot be read, and rollbacks in the others go on.

    Raises:
        CannotAnswer: The main branch has no such model, or its holds cannot be read.
        Refused: One of its specs, or an environment, is not valid: deciding without it could
            promote past a gate.
    """
    commit = workspace.main()
    catalog = workspace.once(
        "sound", commit, lambda: sound(GitTree(workspace.git, commit), models={model}), model
    )
    if model not in catalog.models:
        raise CannotAnswer(
            f"the main branch has no valid {model_file(model)}",
            hint="modelyard validate",
        )
    snapshot = workspace.facts.snapshot(model, missed=leave_out)
    world = World(
        model=model,
        catalog=catalog,
        now=workspace.services.clock.now(),
        bot=workspace.services.repository.bot,
        facts={env: facts for (env, name), facts in snapshot.releases.items() if name == model},
        unknown=frozenset(env for env, _ in snapshot.unknown),
        model_facts=workspace.facts.read_model(model)[0],
        freezes=snapshot.freezes,
        pulls=tuple(p for p in workspace.services.pulls.list(every=True) if is_of(p.branch, model)),
        past={env: workspace.past(env, model) for env in catalog.environments},
        aliases=_or_unknown(lambda: workspace.registry.aliases(model), {}) if with_registry else {},
    )
    world = replace(world, runs=_runs(workspace, world))
    return replace(world, comparisons=_comparisons(workspace, world))


def outcome_of(store: Store, workflow: str) -> Record | None:
    """The record a workflow made, if it made one."""
    document = store.run_document(workflow, OUTCOME)
    return None if document is None else structure(Record, document)


def _runs(workspace: Workspace, world: World) -> Mapping[str, Run]:
    runs: dict[str, Run] = {}
    for spec in world.catalog.versions_of(world.model):
        if world.record(spec.version) is not None:
            continue
        known = world.model_facts.training.get(spec.version, TrainingFacts())
        name = workflow_name(
            world.model,
            spec.version,
            spec=world.catalog.digests[world.model, spec.version],
            attempt=known.attempt,
        )
        run = _run(workspace, name)
        if run is not None:
            runs[spec.version] = run
    return runs


def _run(workspace: Workspace, workflow: str) -> Run | None:
    """A workflow's state; its outcome is told by the store alone, and so is that it is over.

    Without an answer it counts as running: that neither starts nor retries anything.
    """
    unknown = Run(is_over=False)
    forgotten: Run | None = unknown
    try:
        status = workspace.services.orchestrator.status(workflow)
    except CannotAnswer as error:
        logger.warning("%s", error.message)
        return _or_unknown(lambda: _forgotten(workspace, workflow), None) or unknown
    if status is None:  # never started, or cleaned up after it ended
        return _or_unknown(lambda: _forgotten(workspace, workflow), forgotten)
    if not status.phase.is_over:
        return replace(unknown, message=status.message)
    return _or_unknown(
        lambda: Run(
            is_over=True, outcome=outcome_of(workspace.store, workflow), message=status.message
        ),
        unknown,
    )


def _forgotten(workspace: Workspace, workflow: str) -> Run | None:
    outcome = outcome_of(workspace.store, workflow)
    return None if outcome is None else Run(is_over=True, outcome=outcome)


def _or_unknown(answer: Callable[[], T], unknown: T) -> T:
    try:
        return answer()
    except YardError as error:
        logger.warning("%s", error.message)
        return unknown


def _comparisons(workspace: Workspace, world: World) -> Mapping[tuple[str, str], Verdict]:
    """The gate's answers that records do not hold, computed again from the kept scores."""
    wanted = {
        pair
        for (_, model), release in world.catalog.releases.items()
        if model == world.model and (pair := needs_comparison(world, release.version))
    }
    if not wanted:
        return {}
    from modelyard.operations.gate import compare

    answers: dict[tuple[str, str], Verdict] = {}
    for version, champion in sorted(wanted):
        answer = _or_unknown(
            partial(compare, workspace.store, world.catalog, world.model, version, champion), None
        )
        if answer is not None:
            answers[version, champion] = answer
    return answers
