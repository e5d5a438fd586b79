"""Collects the worlds of models from Git, facts, the forge, the orchestrator and the registry."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TypeVar

from modelyard.adapters.facts.documents import FactsSnapshot
from modelyard.adapters.git.remote_refs import one_snapshot, retry_on_conflict
from modelyard.adapters.git.trees import GitTree
from modelyard.adapters.specs.json_documents import warn_left_out
from modelyard.domain.canary.rollout import begin_again
from modelyard.domain.promotion.actions import PlaceHold, RollBack
from modelyard.domain.promotion.change import parse_branch
from modelyard.domain.promotion.promote import needs_comparison
from modelyard.domain.promotion.pulls import PullRequest, Pulls, PullSummary, group_by_model
from modelyard.domain.promotion.rollback import plan_holds, plan_rollbacks
from modelyard.domain.promotion.world import Proposal, World
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.environment import Environment
from modelyard.domain.specs.paths import (
    ENVIRONMENTS,
    environment_names,
    manifests_folder,
)
from modelyard.domain.verdict import Verdict
from modelyard.errors import Refused
from modelyard.operations.reconcile.landings import find_landed
from modelyard.operations.reconcile.proposals import read_proposals, with_currency
from modelyard.operations.reconcile.reviews import with_reviewed_past, with_reviews
from modelyard.operations.reconcile.runs import or_unknown, read_runs
from modelyard.operations.workspace import Workspace

logger = logging.getLogger(__name__)

T = TypeVar("T")


@one_snapshot()
def collect_world(
    workspace: Workspace, model: str, *, with_registry: bool = True, may_lack_specs: bool = False
) -> World:
    """The world of one model now, with everything that `plan` depends on.

    What only promotions need is unknown if it is out of reach, and so are the facts of an
    environment that cannot be read. Rollbacks go on without them.

    Raises:
        CannotAnswer: The main branch has no such model, or its holds cannot be read.
        Refused: One of its specs, or an environment, is not valid, and the world may not lack
            it: a promotion without it could pass a gate. `plan` knows what it may do without.
    """
    commit = workspace.main()
    specs = workspace.specs_of(commit, model)
    catalog, refusal = specs.catalog, specs.refusal() if specs.problems else None
    if refusal is not None and (model not in catalog.models or not may_lack_specs):
        raise refusal
    if model not in catalog.models:
        _refuse_stray_manifests(workspace, commit, model)
        workspace.catalog(commit).require_model(model)  # it names the models that there are
    workspace.facts.read_model(model)  # raises if the holds cannot be read
    facts = workspace.facts.read_snapshot(model, missed=warn_left_out)
    every = read_pulls(workspace)
    pulls = pulls_of(workspace, every, model)
    world = core_world(workspace, model, catalog, facts, pulls, {})
    if refusal is not None:
        world = replace(world, unreadable=refusal.message)
    (world,) = with_reviews(workspace, [world], every)
    # The forge keeps the heads of closed pull requests, which show what a person declined.
    read_from = (*world.open_pulls, *world.declined_pulls)
    proposals = read_proposals(workspace, catalog, read_from)
    named = {r.version for (_, name), r in catalog.releases.items() if name == model}
    world = with_makers(workspace, world, _to_be_approved(replace(world, proposals=proposals)))
    world = replace(world, proposals=with_currency(workspace, world, proposals))
    world = completed_world(workspace, world, environments=catalog.environments, versions=named)
    return with_aliases(workspace, world) if with_registry else world


def _refuse_stray_manifests(workspace: Workspace, commit: str, model: str) -> None:
    """Raise if there are manifests of a model that there is none of: Argo CD applies them."""
    tree = GitTree(workspace.git, commit)
    for environment in environment_names(tree.folders(ENVIRONMENTS)):
        folder = manifests_folder(environment, model)
        if tree.part([folder]).paths():
            raise Refused(
                f"{folder} is on the main branch, but there is no model {model}: Argo CD applies "
                "what is in it",
                hint=f"`git log -- {folder}` names the commit; revert it",
            )


def _to_be_approved(world: World) -> set[str]:
    """The versions of promotions that are open or due where approvals are asked for."""
    # None at rest: who made a version takes several walks through the history.
    held = (world.proposal_of(pull).release for pull in world.open_pulls)
    found = {release.version for release in held if release is not None}
    for environment in world.catalog.environments.values():
        source = world.release(environment.promotes_from or "")
        current = world.release(environment.name)
        if source and environment.approvals.needed:
            is_there = current is not None and current.version == source.version
            found |= set() if is_there else {source.version}
    return found


def with_makers(workspace: Workspace, world: World, versions: Collection[str]) -> World:
    """The world with who made these versions, if an environment asks for approvals."""
    if not any(each.approvals.needed for each in world.catalog.environments.values()):
        return world
    commit, model = workspace.main(), world.model
    found = {
        version: workspace.once(
            "makers",
            commit,
            partial(workspace.services.pulls.version_makers, commit, model=model, version=version),
            model,
            version,
        )
        for version in sorted(versions)
    }
    return replace(world, version_makers={**world.version_makers, **found})


@one_snapshot()
def owes_rollback(workspace: Workspace, model: str) -> bool:
    """Whether Git and the facts alone show that a release has to be taken back.

    The forge is asked nothing, so what came without a review is not seen.
    """
    catalog = workspace.specs_of(workspace.main(), model).catalog
    facts = workspace.facts.read_snapshot(model, missed=warn_left_out)
    world = core_world(workspace, model, catalog, facts, Pulls(), {})
    world = replace(
        world, past={name: workspace.past(name, model) for name in catalog.environments}
    )
    planned = (*plan_holds(world), *plan_rollbacks(world))
    return any(isinstance(each, PlaceHold | RollBack) for each in planned)


@one_snapshot()
def collect_reviews(
    workspace: Workspace, catalog: Catalog, models: Collection[str]
) -> tuple[World, ...]:
    """The part of each model's world that shows which of its releases are reviewed."""
    every = read_pulls(workspace)
    pulls = _by_model(every)
    facts = workspace.facts.read_snapshot(missed=warn_left_out)
    cores = [
        core_world(
            workspace,
            model,
            catalog,
            facts,
            pulls[model],
            {},
        )
        for model in models
    ]
    worlds = []
    for world in with_reviews(workspace, cores, every):
        # Each costs a `git log`, and most releases are verified already.
        wanted = {each.promotes_from for each in _unverified(world)} - {None}
        past = {name: workspace.past(name, world.model) for name in sorted(filter(None, wanted))}
        worlds.append(replace(world, past=past))
    return tuple(worlds)


def _unverified(world: World) -> Iterator[Environment]:
    """The environments whose release was not verified there yet."""
    for environment in world.catalog.environments.values():
        release = world.release(environment.name)
        if release and release.identity not in world.facts_of(environment.name).verified:
            yield environment


def read_pulls(workspace: Workspace) -> Pulls:
    """Every pull request, after fetching the heads of the tool's open ones."""

    def attempt() -> Pulls:
        # In this order: what is merged in between is in both lists rather than in neither.
        still_open = workspace.services.pulls.open()
        # What a person closed is not proposed again.
        closed = workspace.services.pulls.closed()
        # A fleet of years has tens of thousands, and asks for each of its models.
        found = workspace.derive(
            "pulls", (still_open, closed), partial(_joined, still_open, closed)
        )
        workspace.ensure(pull.head for pull in found.open if parse_branch(pull.branch))
        return found

    return retry_on_conflict(attempt)


def _joined(still_open: tuple[PullRequest, ...], closed: tuple[PullSummary, ...]) -> Pulls:
    over = {pull.number for pull in closed}
    return Pulls(open=tuple(each for each in still_open if each.number not in over), closed=closed)


def pulls_of(workspace: Workspace, every: Pulls, model: str) -> Pulls:
    """The pull requests of the tool's branches that are about this model."""
    found = workspace.derive("pulls by model", every, partial(_by_model, every))
    return found.get(model, Pulls())


def _by_model(pulls: Pulls) -> Mapping[str, Pulls]:
    """The pull requests of the tool's branches; every other model has none."""
    still_open, closed = group_by_model(pulls.open), group_by_model(pulls.closed)
    found: dict[str, Pulls] = defaultdict(Pulls)
    for model in {*still_open, *closed}:
        found[model] = Pulls(open=tuple(still_open[model]), closed=tuple(closed[model]))
    return found


def core_world(
    workspace: Workspace,
    model: str,
    catalog: Catalog,
    facts: FactsSnapshot,
    pulls: Pulls,
    proposals: Mapping[int, Proposal],
) -> World:
    """The part of a world that comes from what is read for all models at once."""
    clock = workspace.services.clock
    now, even_since = clock.now(), clock.even_since()
    # The watcher writes down later that they begin again, and nothing is decided before.
    begun = {
        name: begin_again(each, now=now, even_since=even_since)
        for name, each in facts.releases_of(model).items()
    }
    return World(
        model=model,
        catalog=catalog,
        now=now,
        bot=workspace.services.repository.bot,
        facts=begun,
        unknown=facts.unknown_of(model, catalog.environments),
        model_facts=facts.model_facts(model),
        freezes=facts.freezes_of(catalog.environments, now=now),
        open_pulls=pulls.open,
        closed_pulls=pulls.closed,
        proposals=proposals,
        landed=find_landed(workspace, pulls.every),
    )


def completed_world(
    workspace: Workspace, world: World, *, environments: Collection[str], versions: Collection[str]
) -> World:
    """The world with what costs a process or a request for each model.

    Args:
        workspace: What to read with.
        world: The model's world so far.
        environments: Environments to read the past releases of.
        versions: Versions to compare with the current champion, if their records do not.
    """
    past = {name: workspace.past(name, world.model) for name in sorted(environments)}
    world = with_reviewed_past(workspace, replace(world, past=past))
    world = replace(world, runs=read_runs(workspace, world))
    return replace(world, comparisons=_comparisons(workspace, world, versions))


def with_aliases(workspace: Workspace, world: World) -> World:
    """The world with the registry's aliases; without them if it does not answer."""
    return replace(
        world, aliases=or_unknown(lambda: workspace.registry.read_aliases(world.model), {})
    )


def _comparisons(
    workspace: Workspace, world: World, versions: Collection[str]
) -> Mapping[tuple[str, str], Verdict]:
    """The verdicts against the current champion that records lack, from the stored scores."""
    wanted = {pair for version in versions if (pair := needs_comparison(world, version))}
    if not wanted:
        return {}
    # It imports numpy, which `modelyard status` must not wait for.
    from modelyard.operations.gate import compare_versions

    answers: dict[tuple[str, str], Verdict] = {}
    for version, champion in sorted(wanted):
        answer = or_unknown(
            partial(
                compare_versions, workspace.store, world.catalog, world.model, version, champion
            ),
            None,
        )
        if answer is not None:
            answers[version, champion] = answer
    return answers
