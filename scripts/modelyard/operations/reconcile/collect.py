"""Reads one model's world: Git, facts, the forge, the orchestrator and the registry."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, TypeVar

from modelyard.adapters.facts import FactStore
from modelyard.adapters.git.remote_refs import RemoteRefs, one_snapshot, retry_on_conflict
from modelyard.adapters.git.repository import Git
from modelyard.adapters.git.trees import GitTree
from modelyard.adapters.specs.documents import read as read_document
from modelyard.adapters.specs.documents import structure
from modelyard.adapters.specs.json_documents import leave_out
from modelyard.adapters.specs.reader import read, sound
from modelyard.adapters.store.artifacts import Store
from modelyard.adapters.store.registry import Registry
from modelyard.domain.promotion.branches import is_of
from modelyard.domain.promotion.facts import TrainingFacts
from modelyard.domain.promotion.promote import needs_comparison
from modelyard.domain.promotion.training import workflow_name
from modelyard.domain.promotion.world import PastRelease, Run, World
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.record import Record
from modelyard.domain.specs.release import Release
from modelyard.domain.verdict import Verdict
from modelyard.errors import CannotAnswer, YardError
from modelyard.operations.training.job import OUTCOME
from modelyard.ports import Services

logger = logging.getLogger(__name__)

LONGEST_PAST = 30
MOST_KNOWN = 200
"""Answers about commits a workspace remembers before it starts afresh."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """Everything the shell of reconcile works with.

    Args:
        services: The outside world.
        facts: The fact store.
        store: The artifact store.
    """

    services: Services
    facts: FactStore
    store: Store

    @cached_property
    def git(self) -> Git:
        """The checkout's repository."""
        return Git(self.services.root)

    @cached_property
    def registry(self) -> Registry:
        """The model registry."""
        return Registry(self.services.repository.tracking_uri, self.services.root)

    @cached_property
    def _remote(self) -> RemoteRefs:
        return RemoteRefs(self.git, self.services.repository.remote)

    @cached_property
    def _known(self) -> dict[tuple[str, ...], Any]:
        return {}

    def main(self) -> str:
        """The main branch's commit at the forge, its objects here."""
        return retry_on_conflict(lambda: self._remote.tip(self.services.repository.main))

    def models(self) -> tuple[str, ...]:
        """The names of all models of the main branch, valid or not, sorted."""
        paths = GitTree(self.git, self.main()).paths("models/")
        words = [path.split("/") for path in paths if path.endswith("/model.yaml")]
        return tuple(sorted(name for _, name, *rest in words if len(rest) == 1))

    def past(self, environment: str, model: str) -> tuple[PastRelease, ...]:
        """What the main branch named there, newest first; the present is the first."""
        return _past(self, self.main(), environment, model)

    def catalog(self, commit: str) -> Catalog:
        """The specs of a commit; those with problems are left out, and validate names them."""
        return self.once("catalog", commit, lambda: read(GitTree(self.git, commit)).catalog)

    def once(self, what: str, commit: str, look: Callable[[], T], *names: str) -> T:
        """What a look at a commit, or a digest, says, taken once: it never says anything else."""
        if len(self._known) > MOST_KNOWN:
            self._known.clear()
        key = (what, commit, *names)
        if key not in self._known:
            self._known[key] = look()
        found: T = self._known[key]
        return found


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
            f"the main branch has no valid models/{model}/model.yaml",
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
        past={env: _past(workspace, commit, env, model) for env in catalog.environments},
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


def _past(
    workspace: Workspace, commit: str, environment: str, model: str
) -> tuple[PastRelease, ...]:
    return workspace.once(
        "past", commit, lambda: _named(workspace, commit, environment, model), environment, model
    )


def _named(
    workspace: Workspace, commit: str, environment: str, model: str
) -> tuple[PastRelease, ...]:
    path = f"environments/{environment}/releases/{model}.yaml"
    entries = workspace.git.log(commit, path=path, first_parent=True, limit=LONGEST_PAST)
    contents = workspace.git.read_many([f"{entry.sha}:{path}" for entry in entries])
    past = []
    for entry in entries:
        content = contents[f"{entry.sha}:{path}"]
        if content is not None:
            try:
                release = read_document(Release, content, name=path)
            except YardError as error:  # nothing to go back to, and no reason not to go further
                logger.warning("%s, as of %s", error.message, entry.sha[:10])
                continue
            number = entry.trailers.get("Modelyard-Pull", "")
            pull = int(number) if number.isdecimal() else None
            past.append(PastRelease(release=release, commit=entry.sha, pull=pull))
    return tuple(past)


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
