"""Collects the worlds of one model or of all, as far as `modelyard status` shows them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from modelyard.adapters.facts.documents import FactsSnapshot
from modelyard.adapters.git.remote_refs import one_snapshot
from modelyard.adapters.git.trees import GitTree, ListedTree
from modelyard.adapters.specs.json_documents import warn_left_out
from modelyard.adapters.specs.reader import Specs, find_strays, is_read_for, read_specs
from modelyard.adapters.specs.split import join_catalogs
from modelyard.domain.problem import Problem
from modelyard.domain.promotion.change import is_branch_of, parse_branch
from modelyard.domain.promotion.facts import Freeze
from modelyard.domain.promotion.promote import promotion_target
from modelyard.domain.promotion.pulls import PullRequest, Pulls
from modelyard.domain.promotion.world import Proposal, World
from modelyard.domain.review.pushed_rules import PushedRule
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.names import is_name
from modelyard.domain.specs.paths import (
    ENVIRONMENTS,
    MODELS,
    SETTINGS,
    environment_file,
    model_of_spec,
    releases_folder,
)
from modelyard.operations.reconcile.ahead import TOGETHER, ReadAhead
from modelyard.operations.reconcile.collect import (
    completed_world,
    core_world,
    pulls_of,
    read_pulls,
    with_aliases,
)
from modelyard.operations.reconcile.proposals import read_proposals
from modelyard.operations.reconcile.reviews import with_reviews
from modelyard.operations.reconcile.rule_reviews import find_pushed_rules
from modelyard.operations.status.concerned_pulls import find_concerned
from modelyard.operations.workspace import Workspace

_MANIFESTS = "manifests"


@dataclass(frozen=True, kw_only=True)
class CollectedWorlds:
    """The worlds of some models at one instant.

    Args:
        commit: The commit of the main branch.
        unreadable: The first problem of each of its files that cannot be read.
        stands_in: The files among them that count as before a commit, with that commit, for what
            goes back.
        worlds: One for each model, with the past releases and comparisons of open pull requests
            only. The catalog of each has that model alone.
        pulls: The open pull requests of these models, people's included if all were asked for.
        refused: What is missing where `collect_world` would raise, by model.
        has_aliases: Whether the registry was asked.
        now: The time.
        freezes: By environment.
        rules: The rules that a push changed, whichever models they concern.
        addresses: Where people act on the pull requests, by number; none if by commands.
        catalog: The specs of all of them, and of models whose model.yaml cannot be read.
    """

    commit: str
    unreadable: tuple[Problem, ...]
    stands_in: Mapping[str, str]
    worlds: tuple[World, ...]
    pulls: tuple[PullRequest, ...]
    refused: Mapping[str, str]
    has_aliases: bool
    now: datetime
    freezes: Mapping[str, Freeze] = field(default_factory=dict)
    rules: tuple[PushedRule, ...] = ()
    addresses: Mapping[int, str] = field(default_factory=dict)
    catalog: Catalog = field(default_factory=Catalog)


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What is read once for all models.

    Args:
        commit: The commit of the main branch.
        every: All pull requests.
        shown: The open ones that are shown.
        proposals: What these hold, by number.
        has_aliases: Whether the registry is asked.
        missing: The problem of settings that are not there, which is one of each model.
    """

    commit: str
    every: Pulls
    shown: tuple[PullRequest, ...]
    proposals: Mapping[int, Proposal]
    has_aliases: bool = False
    missing: tuple[Problem, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ReadModel:
    """What was read of one name.

    Args:
        name: The name.
        specs: Its specs, with those of all models.
        world: Its world; None if there is no model.yaml that can be read.
        refused: What is missing where `collect_world` would raise.
    """

    name: str
    specs: Specs
    world: World | None
    refused: str | None


@one_snapshot()
def collect_worlds(
    workspace: Workspace, model: str | None = None, *, with_registry: bool = False
) -> CollectedWorlds:
    """The worlds of one model or of all, from one snapshot.

    A model for which `collect_world` would raise is included, as far as it can be read.

    Raises:
        CannotAnswer: The main branch has no such model.
    """
    commit = workspace.main()
    tree = None
    strays: tuple[Problem, ...] = ()
    names: tuple[str, ...]
    if model is None:
        tree = list_fleet(workspace, commit)
        strays, names = tuple(find_strays(tree)), find_names(tree)
    else:
        _require_model(workspace, commit, model)
        names = (model,)
    shared = read_shared(workspace, commit, model, strays=strays, with_registry=with_registry)
    facts = workspace.facts.read_snapshot(model, missed=warn_left_out)
    worlds, catalogs = list[World](), list[Catalog]()
    problems, refused = set(strays), dict[str, str]()
    stands_in = dict[str, str]()
    for each in read_models(workspace, shared, names, dict.fromkeys(names, facts), tree):
        catalogs.append(each.specs.catalog)
        problems |= {*each.specs.problems}
        stands_in |= each.specs.stands_in
        worlds += [each.world] if each.world else []
        refused |= {each.name: each.refused} if each.world and each.refused else {}
    found = collect_shared(workspace, shared, facts)
    return replace(
        found,
        unreadable=first_of_each_file(problems),
        stands_in=stands_in,
        worlds=tuple(worlds),
        refused=refused,
        catalog=replace(join_catalogs(catalogs), environments=found.catalog.environments),
    )


def collect_shared(workspace: Workspace, shared: Shared, facts: FactsSnapshot) -> CollectedWorlds:
    """What is not about one model, without any world."""
    now = workspace.services.clock.now()
    environments = workspace.environments(shared.commit)
    return CollectedWorlds(
        commit=shared.commit,
        unreadable=(),
        stands_in={},
        worlds=(),
        pulls=shared.shown,
        refused={},
        has_aliases=shared.has_aliases,
        now=now,
        freezes=facts.freezes_of(environments, now=now),
        rules=find_pushed_rules(workspace, shared.every),
        addresses=find_addresses(workspace, shared.shown),
        catalog=Catalog(environments=environments),
    )


def first_of_each_file(problems: Collection[Problem]) -> tuple[Problem, ...]:
    """One problem of each file, in reading order."""
    last_first = sorted(problems, key=lambda problem: problem.sort_key, reverse=True)
    return tuple({problem.file: problem for problem in last_first}.values())[::-1]


def _require_model(workspace: Workspace, commit: str, model: str) -> None:
    """Raise `CannotAnswer` with the models that there are if this one is none."""
    if not is_name(model) or model not in workspace.specs_of(commit, model).catalog.models:
        read_specs(GitTree(workspace.git, commit)).catalog.require_model(model)


def list_fleet(workspace: Workspace, commit: str) -> ListedTree:
    """The tree of a commit, listed once without the manifests, which are most files."""
    places = {SETTINGS, MODELS}
    for name in workspace.git.list_folders(commit, ENVIRONMENTS):
        folder = f"{ENVIRONMENTS}{name}/"
        inside = workspace.git.list_children(commit, folder)
        places |= {environment_file(name), releases_folder(name)}
        places |= {f"{folder}{each}" for each in inside if each != _MANIFESTS}
    return ListedTree(workspace.git, commit, places)


def find_names(tree: GitTree) -> tuple[str, ...]:
    """The names that specs are about, whether or not there is a model of that name; sorted."""
    found = {model_of_spec(path) for path in tree.paths()}
    return tuple(sorted(name for name in found if name is not None))


def read_shared(
    workspace: Workspace,
    commit: str,
    model: str | None = None,
    *,
    strays: Collection[Problem] = (),
    with_registry: bool = False,
) -> Shared:
    """What is read once for one model or for all."""
    every = read_pulls(workspace)
    shown = every.open
    if model is not None:
        mine = [pull for pull in every.open if is_branch_of(pull.branch, model)]
        theirs = [pull for pull in every.open if parse_branch(pull.branch) is None]
        shown = (*mine, *find_concerned(workspace, model, theirs))
    catalog = Catalog(environments=workspace.environments(commit))
    return Shared(
        commit=commit,
        every=every,
        shown=tuple(sorted(shown, key=lambda pull: pull.number)),
        proposals=read_proposals(workspace, catalog, shown),
        has_aliases=with_registry,
        missing=tuple(each for each in strays if each.file == SETTINGS),
    )


def find_addresses(workspace: Workspace, pulls: Iterable[PullRequest]) -> dict[int, str]:
    """Where people act on these pull requests, by number."""
    desk = workspace.services.desk
    return {pull.number: page for pull in pulls if (page := desk.address(pull.number)) is not None}


def read_models(
    workspace: Workspace,
    shared: Shared,
    names: Collection[str],
    facts: Mapping[str, FactsSnapshot],
    tree: ListedTree | None = None,
) -> Iterator[ReadModel]:
    """Read these names, some at once: one after the other they cost git processes.

    Args:
        workspace: What to read with.
        shared: What was read for all of them.
        names: The names.
        facts: The facts that each depends on, with those of all models or without.
        tree: The tree of the commit, if all is listed.
    """
    named = tuple(names)
    ahead = ReadAhead(workspace, named, tree=tree, with_past=False)
    for first in range(0, len(named), TOGETHER):
        some = named[first : first + TOGETHER]
        if len(named) > 1:
            ahead.read(first, some)
        specs = {name: workspace.specs_of(shared.commit, name) for name in some}
        worlds = _worlds_of(workspace, shared, specs, facts)
        for name, each in specs.items():
            full = replace(each, problems=(*each.problems, *shared.missing))
            refused = _why_refused(full, facts[name], name)
            yield ReadModel(name=name, specs=full, world=worlds.get(name), refused=refused)


def _worlds_of(
    workspace: Workspace,
    shared: Shared,
    specs: Mapping[str, Specs],
    facts: Mapping[str, FactsSnapshot],
) -> dict[str, World]:
    cores = [
        core_world(
            workspace,
            name,
            each.catalog,
            facts[name],
            pulls_of(workspace, shared.every, name),
            shared.proposals,
        )
        for name, each in specs.items()
        if name in each.catalog.models
    ]
    worlds = with_reviews(workspace, cores, shared.every)
    full = (_completed(workspace, each, with_registry=shared.has_aliases) for each in worlds)
    return {world.model: world for world in full}


def _completed(workspace: Workspace, world: World, *, with_registry: bool) -> World:
    targets = [target for pull in world.open_pulls if (target := promotion_target(world, pull))]
    # A fault blocks a pull request only if it can be rolled back, which past releases show. An
    # environment that joins production shares the faults of production.
    wanted = {where for each, _ in targets for where in (each.name, each.joins) if where}
    # Each environment costs a `git log`; only aliases need those of all environments.
    environments = world.catalog.environments if with_registry else wanted
    versions = {version for _, version in targets}
    world = completed_world(workspace, world, environments=environments, versions=versions)
    return with_aliases(workspace, world) if with_registry else world


def _why_refused(specs: Specs, facts: FactsSnapshot, model: str) -> str | None:
    """What is missing where `collect_world` would raise; None if it would not."""
    if any(is_read_for(problem.file, {model}) for problem in specs.problems):
        return "valid specs on the main branch: modelyard validate"
    if facts.is_unknown_model(model):
        return "holds and incidents that can be read: modelyard doctor"
    return None
