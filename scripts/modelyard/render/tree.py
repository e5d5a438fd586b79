"""A release's rendered files, their digest, and the check that they are up to date."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol, TypeAlias

from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.environment import Environment
from modelyard.domain.specs.model import Model
from modelyard.domain.specs.paths import (
    ENVIRONMENTS,
    manifests_folder,
    parse_manifests_path,
    parse_spec_path,
)
from modelyard.domain.specs.release import RENDERER, Release
from modelyard.render.analysis import analysis_template
from modelyard.render.identity import Document, Identity
from modelyard.render.network import (
    render_disruption_budget,
    render_monitor,
    render_network_policy,
    render_services,
)
from modelyard.render.rollout import render_rollout
from modelyard.render.router import render_route
from modelyard.yaml_writer import HEADER, yaml_bytes

Place: TypeAlias = "tuple[str | None, str | None]"
"""An environment and a model; None for any."""

Restored: TypeAlias = "Callable[[Release], Catalog | None]"
"""The specs as they were when a rollback restored a release; None for one that none restored."""


class Tree(Protocol):
    """Files of a checkout or a commit."""

    def paths(self, prefix: str = "") -> tuple[str, ...]:
        """The paths below a prefix, sorted."""
        ...

    def read(self, path: str) -> bytes:
        """A file's bytes."""
        ...


def render_manifests(
    release: Release, *, model: Model, environment: Environment
) -> Mapping[str, Sequence[Document]]:
    """The Kubernetes documents of a release, by file name.

    Args:
        release: The pin.
        model: Its model.
        environment: Where it runs.
    """
    environment = _with_replicas(environment, model)
    identity = Identity(model=release.model, environment=environment)
    files: dict[str, Sequence[Document]] = {
        "availability.yaml": [
            render_disruption_budget(identity),
            render_network_policy(identity, has_grpc=model.server.grpc),
        ],
        "monitor.yaml": [render_monitor(identity)],
        "rollout.yaml": [render_rollout(release, model=model, identity=identity)],
        "services.yaml": render_services(
            identity, is_shadowed=model.canary.shadow > 0, has_grpc=model.server.grpc
        ),
    }
    if environment.rollout.router is not None:
        files["route.yaml"] = [render_route(identity, environment.rollout.router)]
    if environment.rollout.judged:
        files["analysis.yaml"] = [analysis_template(identity)]
    return dict(sorted(files.items()))


def _with_replicas(environment: Environment, model: Model) -> Environment:
    """The environment with as many servers as the model asks for there."""
    replicas = model.server.replicas.get(environment.name, environment.rollout.replicas)
    return replace(environment, rollout=replace(environment.rollout, replicas=replicas))


def rendered_tree(
    release: Release, *, model: Model, environment: Environment
) -> Mapping[str, bytes]:
    """The release's rendered files, by name inside its manifests folder.

    The same release, model and environment give the same bytes.
    """
    files = render_manifests(release, model=model, environment=environment)
    return {name: HEADER + yaml_bytes(docs, sort_keys=True) for name, docs in files.items()}


def tree_digest(files: Mapping[str, bytes]) -> str:
    """SHA-256 over the sorted lines `<sha256 of the file>  <name>`, in hexadecimal."""
    lines = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files.items()]
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def release_folder(release: Release) -> str:
    """The folder of its rendered files in the repository; ends in a slash."""
    return manifests_folder(release.environment, release.model)


def committed_tree(tree: Tree, folder: str) -> Mapping[str, bytes]:
    """The files of a manifests folder, by name inside it."""
    return {path.removeprefix(folder): tree.read(path) for path in tree.paths(folder)}


def stale_manifests(
    tree: Tree,
    catalog: Catalog,
    changed: Collection[str] | None = None,
    *,
    restored: Restored = lambda _: None,
) -> list[str]:
    """The problems of the rendered files, in sentences that name the file.

    The files of every release must have the digest that it pins. Those of the current renderer must
    also equal what it renders now; older ones stay as they are, so that a restored tree is valid.
    So is one that a rollback restored byte for byte from before its model or environment changed,
    until they change again.

    Args:
        tree: The files.
        catalog: The specs of the same files.
        changed: Check only releases that one of these paths belongs to; None for all.
        restored: Tells what a rollback restored.
    """
    places = None if changed is None else {place for path in changed if (place := place_of(path))}
    concerned = (
        release
        for release in catalog.releases.values()
        if places is None or not places.isdisjoint(_places_of(release))
    )
    found = stale_releases(tree, catalog, concerned, restored=restored)
    return found + stray_manifests(tree, catalog, places)


def stale_releases(
    tree: Tree, catalog: Catalog, releases: Iterable[Release], *, restored: Restored
) -> list[str]:
    """The problems of the rendered files of these releases, see `stale_manifests`."""
    return [
        sentence
        for release in releases
        for sentence in _stale(
            release, committed_tree(tree, release_folder(release)), catalog, restored
        )
    ]


def place_of(path: str) -> Place | None:
    """The environment and the model whose rendered files depend on a path, None for any."""
    if owner := parse_manifests_path(path):
        return owner
    kind, key = parse_spec_path(path) or ("", ())
    if kind == "Release":
        return key[0], key[1]
    if kind == "Environment":
        return key[0], None
    return (None, key[0]) if kind == "Model" else None


def _places_of(release: Release) -> tuple[Place, ...]:
    environment, model = release.environment, release.model
    return (environment, model), (environment, None), (None, model)


def _stale(
    release: Release, committed: Mapping[str, bytes], catalog: Catalog, restored: Restored
) -> list[str]:
    folder = release_folder(release)
    if release.model not in catalog.models or release.environment not in catalog.environments:
        return [f"{folder}: its model or environment is missing"]
    is_pinned = tree_digest(committed) == release.manifests
    if release.renderer == RENDERER:  # an older one is no longer here to compare with
        wanted = _render_with(release, catalog)
        differing = [
            name
            for name in sorted(wanted.keys() | committed.keys())
            if wanted.get(name) != committed.get(name)
        ]
        if differing and not (is_pinned and _is_left_as_restored(release, wanted, restored)):
            return [f"{folder}{name} is not what its release renders to" for name in differing]
    if not is_pinned:
        return [f"{folder} does not have the digest its release pins, {release.manifests[:12]}"]
    return []


def _is_left_as_restored(release: Release, wanted: Mapping[str, bytes], restored: Restored) -> bool:
    """Whether a rollback restored it, and nothing that it is rendered from changed since."""
    then = restored(release)
    if then is None or release.model not in then.models:
        return False
    return release.environment in then.environments and _render_with(release, then) == wanted


def _render_with(release: Release, catalog: Catalog) -> Mapping[str, bytes]:
    model, environment = catalog.models[release.model], catalog.environments[release.environment]
    return rendered_tree(release, model=model, environment=environment)


def stray_manifests(
    tree: Tree, catalog: Catalog, places: Collection[Place] | None = None
) -> list[str]:
    """The manifests folders without a release: what they describe would run for ever."""
    if places is None:
        found = {
            owner for path in tree.paths(ENVIRONMENTS) if (owner := parse_manifests_path(path))
        }
    else:
        both = {(one, other) for one, other in places if one is not None and other is not None}
        found = {each for each in both if tree.paths(manifests_folder(*each))}
    folders = (manifests_folder(*each) for each in found - catalog.releases.keys())
    return [f"{folder} belongs to no release" for folder in sorted(folders)]
