"""Renders releases and workflows into the working tree, or finds stale files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.adapters.git.trees import GitTree, Tree, WorkingTree
from modelyard.adapters.processes.shared_work import share_work
from modelyard.adapters.replaced_file import replace_file
from modelyard.adapters.specs.documents import dump_documents, dump_spec
from modelyard.adapters.specs.reader import read_specs, read_valid_catalog
from modelyard.adapters.workflows.sources import rendered_workflows
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.paths import (
    DASHBOARD,
    ENVIRONMENTS,
    WORKFLOW_TEMPLATES,
    environment_names,
    manifests_folder,
    release_file,
)
from modelyard.domain.specs.release import RENDERER, Release
from modelyard.errors import CannotAnswer
from modelyard.operations.services import repository_of
from modelyard.operations.validation import find_changes
from modelyard.render.dashboard import dashboard_manifest
from modelyard.render.tree import (
    Restored,
    place_of,
    release_folder,
    rendered_tree,
    stale_manifests,
    stale_releases,
    stray_manifests,
    tree_digest,
)

if TYPE_CHECKING:
    from modelyard.adapters.git.repository import Git

Files = Mapping[str, bytes | None]
"""Content by path; None removes the file."""

_KINDS = frozenset({"Model", "Environment", "Release", "Repository"})
"""What manifests are rendered from; `validate` reads the others too."""

_WORTH_A_PROCESS = 1000
"""Releases that take longer to render than it takes to start a process for them."""


def read_rendered(tree: Tree) -> Catalog:
    """Return all specs that manifests are rendered from.

    Raises:
        Refused: One of them is not valid.
    """
    return read_valid_catalog(tree, kinds=_KINDS)


def choose_releases(
    catalog: Catalog, environment: str | None, model: str | None
) -> tuple[Release, ...]:
    """Return the releases of an environment and a model; None is all of them.

    Raises:
        CannotAnswer: A name is unknown.
    """
    if environment is not None:
        catalog.require_environment(environment, where="the checkout")
    if model is not None:
        catalog.require_model(model, where="the checkout")
    return tuple(
        release
        for key, release in sorted(catalog.releases.items())
        if environment in {None, key[0]} and model in {None, key[1]}
    )


def find_stale_since(root: Path, ref: str) -> list[str]:
    """Return what is wrong with the manifests that depend on what changed since `ref`.

    It reads the specs of the models that are concerned, and no others.

    Raises:
        CannotAnswer: The ref or the history up to it is not here.
        Refused: One of these specs is not valid.
    """
    changed, _ = find_changes(root, ref)
    places = {place for path in changed if (place := place_of(path))}
    if not places:
        return []
    tree = WorkingTree(root)
    if any(model is None for _, model in places):  # an environment is about every model
        return stale_manifests(tree, read_rendered(tree), changed, restored=_restored_here(root))
    models = {model for _, model in places if model is not None}
    catalog = read_valid_catalog(tree, models=models)
    environments = environment_names(tree.folders(ENVIRONMENTS))
    folders = [manifests_folder(name, model) for name in environments for model in models]
    part = tree.part(folders)
    return stale_manifests(part, catalog, changed, restored=_restored_here(root))


def find_stale(root: Path, catalog: Catalog, chosen: Sequence[Release]) -> list[str]:
    """Return what is wrong with the manifests of these releases in a checkout, in sentences."""
    tree, restored = WorkingTree(root), _restored_here(root)
    if len(chosen) < len(catalog.releases):
        pins = {release_file(release.environment, release.model) for release in chosen}
        return stale_manifests(tree, catalog, pins, restored=restored)
    # A check of everything also finds manifests without a release. They come first: this lists the
    # files once, for every process.
    strays = stray_manifests(tree, catalog)
    found = share_work(
        chosen,
        lambda some: stale_releases(tree, catalog, some, restored=restored),
        least=_WORTH_A_PROCESS,
    )
    return [*found, *strays]


def find_restored(git: Git, commit: str) -> Restored:
    """Tell of what a rollback restored on a commit's main branch, see `render.tree.Restored`.

    A rollback brings the pin and the manifests back that were there before another release. It does
    not render: what was verified is these bytes.
    """
    specs_of: dict[tuple[str, str], Catalog] = {}

    def specs_then(release: Release) -> Catalog | None:
        from modelyard.operations.workspace import read_past

        here, *earlier = read_past(git, commit, release.environment, release.model) or (None,)
        if here is None or here.release != release:
            return None
        if all(each.release != release for each in earlier):
            return None
        key = here.commit, release.model
        if key not in specs_of:
            tree = GitTree(git, here.commit)
            specs_of[key] = read_specs(tree, models={release.model}, kinds=_KINDS).catalog
        return specs_of[key]

    return specs_then


def _restored_here(root: Path) -> Restored:
    """What a rollback restored up to the commit that is checked out, if the folder has one."""
    from modelyard.adapters.git.repository import Git

    git = Git(root)

    def specs_then(release: Release) -> Catalog | None:
        try:
            return find_restored(git, git.rev_parse("HEAD"))(release)
        except CannotAnswer:  # not a repository: nothing tells what was there before
            return None

    return specs_then


def write_release(root: Path, catalog: Catalog, release: Release) -> Files:
    """Write a release's manifests and their digest in its pin; return the changed manifests.

    A release of an older renderer is not changed.
    """
    if release.renderer != RENDERER:
        return {}
    files = rendered_tree(
        release,
        model=catalog.models[release.model],
        environment=catalog.environments[release.environment],
    )
    changes = _folder_changes(root, release_folder(release), files)
    write_files(root, changes)
    if release.manifests != tree_digest(files):
        pin = dump_spec("Release", replace(release, manifests=tree_digest(files)))
        write_files(root, {release_file(release.environment, release.model): pin})
    return changes


def platform_changes(root: Path, catalog: Catalog) -> Files:
    """Return the files that differ from the rendered workflows and the rendered dashboard.

    Raises:
        CannotAnswer: A file of workflows/ has no function `template`.
    """
    models = tuple(sorted(name for name, model in catalog.models.items() if model.data.feed))
    image = repository_of(root).server_image
    found = rendered_workflows(root / "workflows", image=image, models=models)
    files = {f"{name}.yaml": dump_documents([document]) for name, document in found.items()}
    changes = _folder_changes(root, WORKFLOW_TEMPLATES, files)
    # A team's own dashboards may stand beside it.
    board, content = root / DASHBOARD, dump_documents([dashboard_manifest()])
    if not board.is_file() or board.read_bytes() != content:
        changes[DASHBOARD] = content
    return changes


def write_files(root: Path, changes: Files) -> None:
    """Write and remove files; an interrupted write leaves the old content."""
    for path, content in changes.items():
        file = root / path
        if content is None:
            file.unlink()
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(file, content)


def _folder_changes(root: Path, folder: str, files: Mapping[str, bytes]) -> dict[str, bytes | None]:
    """Return the changes after which the folder has exactly these files; its folders stay."""
    found = {
        path.name: path.read_bytes() for path in (root / folder).glob("*") if not path.is_dir()
    }
    names = sorted(files.keys() | found.keys())
    return {folder + name: files.get(name) for name in names if files.get(name) != found.get(name)}
