"""Gathers what `modelyard status` reports, from one look at the forge."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from modelyard.adapters.git.trees import GitTree
from modelyard.adapters.specs.reader import Specs, read
from modelyard.domain.promotion.actions import SetAlias
from modelyard.domain.promotion.branches import is_of
from modelyard.domain.promotion.facts import TrainingFacts
from modelyard.domain.promotion.plan import plan
from modelyard.domain.promotion.promote import needs_comparison, target_of
from modelyard.domain.promotion.pulls import PullRequest
from modelyard.domain.promotion.training import workflow_name
from modelyard.domain.promotion.world import PastRelease, Run, World
from modelyard.domain.specs.paths import ENVIRONMENTS, model_file, model_folder
from modelyard.domain.verdict import Verdict
from modelyard.errors import CannotAnswer
from modelyard.operations.reconcile.collect import collect, outcome_of
from modelyard.operations.workspace import Workspace
from modelyard.ports import WorkflowStatus


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """One look at some models.

    Args:
        commit: The main branch's.
        problems: Files of it that cannot be read.
        worlds: The models' worlds; past releases only where a pull request is open.
        workflows: By (model, version) without a record.
        pulls: Every open pull request to report.
        aliases: What the registry says, by (environment, model); empty when it was not asked.
        wrong: The (environment, model) whose alias reconcile would move.
        unsound: Models that reconcile refuses to plan for.
    """

    commit: str
    problems: int
    worlds: tuple[World, ...]
    workflows: Mapping[tuple[str, str], WorkflowStatus]
    pulls: tuple[PullRequest, ...]
    aliases: Mapping[tuple[str, str], str | None] = field(default_factory=dict)
    wrong: frozenset[tuple[str, str]] = frozenset()
    unsound: frozenset[str] = frozenset()


def look(workspace: Workspace, model: str | None, *, with_registry: bool = False) -> Outlook:
    """Look at a model, or at every model of the main branch.

    Raises:
        CannotAnswer: The main branch has no such model.
    """
    commit = workspace.main()
    specs = read(GitTree(workspace.git, commit))
    names = _names(specs, model)
    pulls = workspace.services.pulls.list()
    workflows: dict[tuple[str, str], WorkflowStatus] = {}
    worlds = []
    for world in _worlds(workspace, specs, names, pulls):
        found = dict(_workflows(workspace, world))
        workflows |= {(world.model, version): status for version, status in found.items()}
        full = replace(world, runs=_runs(workspace, found), past=_past(workspace, world))
        worlds.append(replace(full, comparisons=_comparisons(workspace, full)))
    seen = Outlook(
        commit=commit,
        problems=len({problem.file for problem in specs.problems}),
        worlds=tuple(worlds),
        workflows=workflows,
        pulls=tuple(pull for pull in pulls if model is None or is_of(pull.branch, model)),
        unsound=frozenset(name for name in names if _is_unsound(specs, name)),
    )
    return _with_aliases(workspace, seen) if with_registry else seen


def _names(specs: Specs, model: str | None) -> list[str]:
    known = sorted(specs.catalog.models)
    if model is None:
        return known
    if model not in known:
        listed = ", ".join(known) or "none"
        raise CannotAnswer(
            f"the main branch has no valid {model_file(model)}; it has {listed}",
            hint="modelyard validate",
        )
    return [model]


def _worlds(
    workspace: Workspace, specs: Specs, names: Iterable[str], pulls: tuple[PullRequest, ...]
) -> Iterator[World]:
    snapshot = workspace.facts.snapshot()
    now = workspace.services.clock.now()
    for model in names:
        yield World(
            model=model,
            catalog=specs.catalog,
            now=now,
            bot=workspace.services.repository.bot,
            facts={env: facts for (env, name), facts in snapshot.releases.items() if name == model},
            model_facts=snapshot.model(model),
            freezes=snapshot.freezes,
            pulls=tuple(pull for pull in pulls if is_of(pull.branch, model)),
        )


def _is_unsound(specs: Specs, model: str) -> bool:
    """Whether a spec that reconcile needs for the model cannot be read."""
    places = (model_folder(model), ENVIRONMENTS)
    return any(problem.file.startswith(places) for problem in specs.problems)


def _workflows(workspace: Workspace, world: World) -> Iterator[tuple[str, WorkflowStatus]]:
    for spec in world.catalog.versions_of(world.model):
        if world.record(spec.version) is None:
            status = workspace.services.orchestrator.status(workflow_of(world, spec.version))
            if status is not None:
                yield spec.version, status


def workflow_of(world: World, version: str) -> str:
    """Name of the workflow of the version's current attempt."""
    known = world.model_facts.training.get(version, TrainingFacts())
    digest = world.catalog.digests[world.model, version]
    return workflow_name(world.model, version, spec=digest, attempt=known.attempt)


def _runs(workspace: Workspace, workflows: Mapping[str, WorkflowStatus]) -> dict[str, Run]:
    runs = {}
    for version, status in workflows.items():
        over = status.phase.is_over
        outcome = outcome_of(workspace.store, status.name) if over else None
        runs[version] = Run(is_over=over, outcome=outcome, message=status.message)
    return runs


def _past(workspace: Workspace, world: World) -> dict[str, tuple[PastRelease, ...]]:
    """Past releases where a pull request is open: whether there is a way back may block it."""
    targets = {target[0].name for pull in world.pulls if (target := target_of(world, pull))}
    return {name: workspace.past(name, world.model) for name in sorted(targets)}


def _comparisons(workspace: Workspace, world: World) -> dict[tuple[str, str], Verdict]:
    """The gate's answers that an open pull request may wait for, from the kept scores."""
    targets = [target for pull in world.pulls if (target := target_of(world, pull))]
    pairs = {pair for _, version in targets if (pair := needs_comparison(world, version))}
    answers = {}
    for version, champion in sorted(pairs):
        from modelyard.operations.gate import compare

        try:
            answer = compare(workspace.store, world.catalog, world.model, version, champion)
        except CannotAnswer:
            continue  # the pull request then waits for this very verdict, and says so
        if answer is not None:
            answers[version, champion] = answer
    return answers


def _with_aliases(workspace: Workspace, seen: Outlook) -> Outlook:
    aliases: dict[tuple[str, str], str | None] = {}
    wrong = set()
    for model in (world.model for world in seen.worlds):
        world = collect(workspace, model)
        aliases |= {(env, model): world.aliases.get(env) for env in world.catalog.environments}
        moved = [action for action in plan(world) if isinstance(action, SetAlias)]
        wrong |= {(action.alias, model) for action in moved}
    return replace(seen, aliases=aliases, wrong=frozenset(wrong))
