"""Leaves out of a pass the models at rest of which nothing moved since they were looked at."""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from modelyard.adapters.facts.documents import FactsSnapshot
from modelyard.adapters.git.remote_refs import one_snapshot
from modelyard.adapters.specs.json_documents import warn_left_out
from modelyard.domain.promotion.change import is_branch_of, parse_branch
from modelyard.domain.promotion.facts import ModelFacts, ReleaseFacts, TrainingFacts
from modelyard.domain.promotion.pulls import PullSummary
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.paths import (
    ENVIRONMENTS,
    MODELS,
    SETTINGS,
    environment_file,
    environment_names,
    manifests_root,
    releases_folder,
)
from modelyard.operations.sites import read_standing
from modelyard.operations.workspace import Workspace

WHOLE_SECONDS = 6 * 3600.0
"""Every model is looked at in whole after so long at most: an alias that a person moved, or a word
of the cluster that was lost, shows nowhere else. Half as often for some, so that they do not all
come at once."""


@dataclass(frozen=True, kw_only=True)
class _Resting:
    mark: str
    until: float


@dataclass
class RestingModels:
    """What is known of the models at rest; to lose it costs one pass over all models.

    A model is left out if what its world is made of in Git and on the forge is the same, byte for
    byte, as when a pass over it changed nothing, and nothing in it waits for the time to pass. Its
    servers are the caller's affair: it names the models of which they moved.
    """

    _known: dict[str, _Resting] = field(default_factory=dict)

    def without_resting(self, names: Collection[str], marks: Mapping[str, str]) -> tuple[str, ...]:
        """These names without the models that may be left out."""
        now = time.monotonic()
        return tuple(name for name in names if not self._is_resting(name, marks, now))

    def _is_resting(self, name: str, marks: Mapping[str, str], now: float) -> bool:
        known = self._known.get(name)
        return known is not None and known.mark == marks.get(name) and now < known.until

    def remember(self, names: Iterable[str], marks: Mapping[str, str]) -> None:
        """Remember these models, of which each was found at rest after its mark was read."""
        for name in names:
            if name in marks:
                # The same spread for a model each time, and another one for each model.
                share = int(hashlib.sha256(name.encode()).hexdigest()[:4], 16) / 0x10000
                until = time.monotonic() + WHOLE_SECONDS * (1 + share) / 2
                self._known[name] = _Resting(mark=marks[name], until=until)

    def forget(self, names: Collection[str] | None = None) -> None:
        """Forget these models, or all of them."""
        if names is None:
            self._known.clear()
        for name in names or ():
            self._known.pop(name, None)


@one_snapshot()
def rests(workspace: Workspace, model: str) -> bool:
    """Whether nothing about a model waits, its open pull requests included."""
    pulls = workspace.services.pulls.open()
    if any(is_branch_of(each.branch, model) for each in pulls):
        return False
    facts = workspace.facts.read_snapshot(model, missed=warn_left_out)
    catalog = workspace.specs_of(workspace.main(), model).catalog
    return is_at_rest(model, catalog, facts)


def is_at_rest(model: str, catalog: Catalog, facts: FactsSnapshot) -> bool:
    """Whether nothing about a model waits: for time, for a workflow or for a promotion.

    - Every environment has the same version, verified there, and its servers were ready.
    - Every version has a record, or never gets one.
    """
    own = facts.model_facts(model)
    if model not in catalog.models or facts.is_unknown_model(model):
        return False
    if facts.unknown_of(model, catalog.environments):
        return False
    if any(_is_awaited(catalog, own, model, each.version) for each in catalog.versions_of(model)):
        return False
    releases = [catalog.releases.get((name, model)) for name in catalog.environments]
    if len({release and release.version for release in releases}) > 1:
        return False
    return all(
        _is_settled(facts.release_facts(release.environment, model), release.identity)
        for release in releases
        if release is not None
    )


def _is_awaited(catalog: Catalog, own: ModelFacts, model: str, version: str) -> bool:
    if (model, version) in catalog.records or version in own.holds:
        return False
    return own.training.get(version, TrainingFacts()).failed is None


def _is_settled(facts: ReleaseFacts, identity: str) -> bool:
    is_seen = facts.release == identity and facts.healthy_since is not None
    return is_seen and facts.aborted is None and identity in facts.verified


@one_snapshot()
def read_marks(workspace: Workspace) -> Mapping[str, str]:
    """For each model, what identifies all that its world is made of in Git and on the forge."""
    specs = _marks_of_specs(workspace)
    parts: dict[str, list[str]] = defaultdict(list)
    for model, name in workspace.facts.list_documents():
        parts[model].append(name)
    shared = [*sorted(read_standing(workspace).mine), *parts.pop("", [])]
    for pull in (*workspace.services.pulls.open(), *workspace.services.pulls.closed()):
        if branch := parse_branch(pull.branch):
            parts[branch.model].append(_mark_of_pull(pull))
    return {
        model: hashlib.sha256("\n".join([mark, *shared, *parts[model]]).encode()).hexdigest()
        for model, mark in specs.items()
    }


def _mark_of_pull(pull: PullSummary) -> str:
    return f"{pull.number} {pull.state} {pull.head} {pull.merged_as} {pull.by_hand}"


def _marks_of_specs(workspace: Workspace) -> Mapping[str, str]:
    """The same of the main branch alone, as the objects of folders and pins."""
    commit = workspace.main()
    return workspace.derive("marks", commit, lambda: _read_marks_of_specs(workspace, commit))


def _read_marks_of_specs(workspace: Workspace, commit: str) -> Mapping[str, str]:
    git = workspace.git
    environments = environment_names(git.list_folders(commit, ENVIRONMENTS))
    files = [SETTINGS, *map(environment_file, environments)]
    shared = [found.name if found else "" for found in
              git.find_objects(f"{commit}:{file}" for file in files).values()]  # fmt: skip
    found: dict[str, list[str]] = defaultdict(list)
    for folder in _folders(environments):
        for name, object_name in git.list_children(commit, folder).items():
            found[name.removesuffix(".yaml")].append(f"{folder} {object_name}")
    return {model: "\n".join([*shared, *parts]) for model, parts in found.items()}


def _folders(environments: Collection[str]) -> Iterator[str]:
    yield MODELS
    for name in environments:
        yield releases_folder(name)
        yield manifests_root(name)
