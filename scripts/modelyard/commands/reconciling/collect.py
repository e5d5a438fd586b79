"""Reads one model's world: Git, facts, the forge, the orchestrator and the registry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from modelyard.adapters.checkout import GitTree
from modelyard.adapters.documents import read as read_document
from modelyard.adapters.documents import structure
from modelyard.adapters.facts import FactStore
from modelyard.adapters.git import Git
from modelyard.adapters.registry import Registry
from modelyard.adapters.specs import read, sound
from modelyard.adapters.store import Store
from modelyard.commands.steps.job import OUTCOME
from modelyard.domain.branches import parse
from modelyard.domain.catalog import Catalog
from modelyard.domain.facts import TrainingFacts
from modelyard.domain.promotion import needs_comparison
from modelyard.domain.pulls import PullRequest
from modelyard.domain.record import Record
from modelyard.domain.release import Release
from modelyard.domain.training import workflow_name
from modelyard.domain.verdict import Verdict
from modelyard.domain.world import PastRelease, Run, World
from modelyard.errors import CannotAnswer
from modelyard.ports import Services

LONGEST_PAST = 30


@dataclass(frozen=True, kw_only=True)
class Desk:
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

    def main(self) -> str:
        """The main branch's commit at the forge, fetched."""
        repository = self.services.repository
        tracking = f"refs/remotes/{repository.remote}/{repository.main}"
        self.git.fetch(repository.remote, [f"+refs/heads/{repository.main}:{tracking}"])
        return self.git.rev_parse(tracking)

    def past_releases(self, environment: str, model: str) -> tuple[Release, ...]:
        """What the main branch named there, newest first."""
        return tuple(past.release for past in _past(self, self.main(), environment, model))

    def catalog(self, commit: str) -> Catalog:
        """The specs of a commit; those with problems are left out, and validate names them."""
        return read(GitTree(self.git, commit)).catalog


def collect(desk: Desk, model: str, *, with_registry: bool = True) -> World:
    """One model's world now.

    Raises:
        CannotAnswer: The main branch has no such model.
        Refused: One of its specs, or an environment, is not valid: deciding without it could
            promote past a gate.
    """
    commit = desk.main()
    catalog = sound(GitTree(desk.git, commit), models={model})
    if model not in catalog.models:
        raise CannotAnswer(
            f"the main branch has no valid models/{model}/model.yaml",
            hint="modelyard validate",
        )
    snapshot = desk.facts.snapshot()
    model_facts = snapshot.models.get(model)
    world = World(
        model=model,
        catalog=catalog,
        now=desk.services.clock.now(),
        bot=desk.services.repository.bot,
        facts={env: facts for (env, name), facts in snapshot.releases.items() if name == model},
        freezes=snapshot.freezes,
        pulls=tuple(p for p in desk.services.pulls.list(every=True) if _is_of(p, model)),
        past={env: _past(desk, commit, env, model) for env in catalog.environments},
        aliases=desk.registry.aliases(model) if with_registry else {},
    )
    if model_facts is not None:
        world = replace(world, model_facts=model_facts)
    world = replace(world, runs=_runs(desk, world))
    return replace(world, comparisons=_comparisons(desk, world))


def outcome_of(store: Store, workflow: str) -> Record | None:
    """The record a workflow made, if it made one."""
    document = store.run_document(workflow, OUTCOME)
    return None if document is None else structure(Record, document)


def _is_of(pull: PullRequest, model: str) -> bool:
    branch = parse(pull.branch)
    return branch is not None and branch.model == model


def _runs(desk: Desk, world: World) -> Mapping[str, Run]:
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
        status = desk.services.orchestrator.status(name)
        if status is not None:
            outcome = outcome_of(desk.store, name) if status.phase.is_over else None
            over = status.phase.is_over
            runs[spec.version] = Run(is_over=over, outcome=outcome, message=status.message)
    return runs


def _past(desk: Desk, commit: str, environment: str, model: str) -> tuple[PastRelease, ...]:
    path = f"environments/{environment}/releases/{model}.yaml"
    entries = desk.git.log(commit, path=path, first_parent=True, limit=LONGEST_PAST)
    contents = desk.git.read_many([f"{entry.sha}:{path}" for entry in entries])
    past = []
    for entry in entries:
        content = contents[f"{entry.sha}:{path}"]
        if content is not None:
            release = read_document(Release, content, name=path)
            past.append(PastRelease(release=release, commit=entry.sha))
    return tuple(past)


def _comparisons(desk: Desk, world: World) -> Mapping[tuple[str, str], Verdict]:
    """The gate's answers that records do not hold, computed again from the kept scores."""
    wanted = {
        pair
        for (_, model), release in world.catalog.releases.items()
        if model == world.model and (pair := needs_comparison(world, release.version))
    }
    if not wanted:
        return {}
    from modelyard.commands.gating import compare

    answers: dict[tuple[str, str], Verdict] = {}
    for version, champion in sorted(wanted):
        answer = compare(desk.store, world.catalog, world.model, version, champion)
        if answer is not None:
            answers[version, champion] = answer
    return answers
