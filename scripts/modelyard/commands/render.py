"""`modelyard render`: write what follows from pins and workflows, or check that it is written."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from modelyard.commands.options import pass_root
from modelyard.domain.specs.paths import WORKFLOW_TEMPLATES, release_file
from modelyard.errors import CannotAnswer, Refused
from modelyard.operations.services import repository_of

if TYPE_CHECKING:
    from modelyard.domain.specs.catalog import Catalog
    from modelyard.domain.specs.release import Release

"""Where the rendered workflows lie."""


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; exit 3 when something is stale.")
@click.option("--platform", is_flag=True, help="The workflows instead of the releases.")
@click.option("--environment", help="Only this environment's releases.")
@click.option("--model", help="Only this model's releases.")
@pass_root
def render(
    root: Path, /, *, check: bool, platform: bool, environment: str | None, model: str | None
) -> None:
    """Write the manifests of the releases in the working tree.

    Releases of an older renderer stay as they are; they only must match the digest they pin. With
    --platform, the workflows in workflows/ become Argo WorkflowTemplates.
    """
    from modelyard.adapters.git.trees import WorkingTree
    from modelyard.adapters.specs.reader import sound

    catalog = sound(WorkingTree(root))
    if platform:
        _write_or_check(root, WORKFLOW_TEMPLATES, platform_files(root, catalog), check=check)
        return
    chosen = _chosen(catalog, environment, model)
    if check:
        _check(root, catalog, chosen)
        return
    for release in chosen:
        _write_release(root, release, catalog)


def platform_files(root: Path, catalog: Catalog) -> Mapping[str, bytes]:
    """The rendered workflows by file name: what each file of workflows/ says `template()` is.

    Raises:
        CannotAnswer: A file of workflows/ has no such function.
    """
    from modelyard.adapters.specs.documents import dump_all
    from modelyard.adapters.workflows.sources import rendered_workflows

    models = tuple(sorted(name for name, model in catalog.models.items() if model.data.feed))
    image = repository_of(root).server_image
    found = rendered_workflows(root / "workflows", image=image, models=models)
    return {f"{name}.yaml": dump_all([document]) for name, document in found.items()}


def _chosen(catalog: Catalog, environment: str | None, model: str | None) -> list[Release]:
    if environment is not None and environment not in catalog.environments:
        known = ", ".join(sorted(catalog.environments))
        raise CannotAnswer(f"there is no environment {environment}", hint=f"one of {known}")
    if model is not None and model not in catalog.models:
        known = ", ".join(sorted(catalog.models))
        raise CannotAnswer(f"there is no model {model}", hint=f"one of {known}")
    return [
        release
        for key, release in sorted(catalog.releases.items())
        if environment in {None, key[0]} and model in {None, key[1]}
    ]


def _check(root: Path, catalog: Catalog, chosen: Sequence[Release]) -> None:
    from modelyard.adapters.git.trees import WorkingTree
    from modelyard.render.tree import stale_manifests

    everything = len(chosen) == len(catalog.releases)
    changed = None if everything else {_pin(release) for release in chosen}
    found = stale_manifests(WorkingTree(root), catalog, changed)
    for sentence in found:
        click.echo(sentence)
    if found:
        raise Refused(f"{_count(found)} stale", hint="modelyard render")
    click.echo(f"{len(chosen)} releases are rendered", err=True)


def _pin(release: Release) -> str:
    return release_file(release.environment, release.model)


def _write_release(root: Path, release: Release, catalog: Catalog) -> None:
    """Write its folder, and its pin where that names another tree."""
    from dataclasses import replace

    from modelyard.adapters.specs.documents import dump
    from modelyard.domain.specs.release import RENDERER
    from modelyard.render.tree import release_folder, rendered_tree, tree_digest

    if release.renderer != RENDERER:
        return
    files = rendered_tree(
        release,
        model=catalog.models[release.model],
        environment=catalog.environments[release.environment],
    )
    _write_or_check(root, release_folder(release), files, check=False)
    if release.manifests != tree_digest(files):
        _write(
            root / _pin(release), dump("Release", replace(release, manifests=tree_digest(files)))
        )


def _write_or_check(root: Path, folder: str, files: Mapping[str, bytes], *, check: bool) -> None:
    """Make the folder hold exactly these files, or refuse when it does not."""
    found = {path.name: path.read_bytes() for path in sorted((root / folder).glob("*"))}
    stale = [n for n in sorted(files.keys() | found.keys()) if files.get(n) != found.get(n)]
    if check and stale:
        for name in stale:
            click.echo(f"{folder}{name} is not what workflows/ renders to")
        raise Refused(f"{_count(stale)} stale", hint="modelyard render --platform")
    for name in stale:
        if name in files:
            _write(root / folder / name, files[name])
        else:
            (root / folder / name).unlink()
        click.echo(f"{folder}{name} {'written' if name in files else 'removed'}")


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_bytes(content)
    beside.replace(path)


def _count(found: list[str]) -> str:
    return f"{len(found)} file is" if len(found) == 1 else f"{len(found)} files are"
