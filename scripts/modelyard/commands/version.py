"""`modelyard version`: add a version or a held-out set with its pins; show and list versions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modelyard.commands.options import (
    choose_parameters,
    choose_window,
    days_options,
    dry_run_option,
    output_option,
    pass_root,
    reason_option,
    training_options,
)
from modelyard.commands.output.terminal import make_console, print_json, print_line, print_lines
from modelyard.domain.specs.paths import model_folder, version_file
from modelyard.domain.specs.repository import ForgeKind
from modelyard.operations.services import repository_of

if TYPE_CHECKING:
    from modelyard.adapters.specs.reader import Specs
    from modelyard.domain.specs.catalog import Catalog
    from modelyard.domain.specs.heldout import HeldOut
    from modelyard.domain.specs.version import ModelVersion


@click.group()
def version() -> None:
    """Add a version or a held-out set with its pins; show and list versions."""


@version.command("new")
@click.argument("model")
@click.argument("version")
@reason_option
@training_options
@click.option(
    "--breaks",
    multiple=True,
    metavar="NAME=REASON",
    help="Input or output whose callers it may break, and why that is right.",
)
@click.option(
    "--image",
    metavar="NAME@DIGEST",
    help="Image of the model's lock; by default the parent's, if that has the same lock, or the "
    "one that the workflow `images` built.",
)
@dry_run_option
@pass_root
def add_version(
    root: Path,
    /,
    *,
    model: str,
    parent: str | None,
    since: datetime | None,
    until: datetime | None,
    param: tuple[str, ...],
    params: Path | None,
    breaks: tuple[str, ...],
    dry_run: bool,
    **given: Any,
) -> None:
    """Add a version, with every pin filled in.

    Writes models/MODEL/versions/VERSION.yaml. Data files are pinned by SHA-256, the trainer by its
    committed Git tree, and the runtime by its lock: that of the model, or of the platform. Held-out
    days inside the training window are excluded. Data that `fetch` would refuse is refused here.
    """
    from modelyard.operations.models.idle_choices import find_idle_choices
    from modelyard.operations.training.new_version import compose_version
    from modelyard.operations.training.rows import refuse_unusable

    catalog = _read_specs(root, model).catalog
    base = catalog.require_version(model, parent, where=str(root)) if parent else None
    window = choose_window(since, until, base.data.window if base else None)
    parameters = choose_parameters(base.parameters if base else {}, params, param)
    spec = compose_version(
        root,
        catalog,
        model=model,
        base=base,
        window=window,
        parameters=parameters,
        breaks=_read_breaks(breaks),
        **given,
    )
    # Only now: the parent may have given both.
    if not spec.data.files:
        raise click.UsageError("give --data URI, or --parent VERSION to train on its data")
    if not spec.held_out:
        raise click.UsageError("give --held-out NAME, or --parent VERSION to use its held-out sets")
    refuse_unusable(root, catalog.models[model], spec, spec.data.files if given.get("data") else ())
    _write(root, catalog, spec, dry_run=dry_run)
    for line in find_idle_choices(root, catalog, spec):
        print_line(f"note: {line}", err=True)


@version.command("held-out")
@click.argument("model")
@click.argument("name")
@click.option(
    "--data", multiple=True, required=True, metavar="URI", help="Data file, or several with `*`."
)
@days_options
@click.option(
    "--cluster",
    required=True,
    metavar="COLUMN|row",
    help="Column that dependent rows share; `row` if all rows are independent.",
)
@click.option(
    "--role",
    type=click.Choice(["old", "recent"]),
    default="recent",
    show_default=True,
    help="Whether its rows are newer than the training data, or from an earlier period.",
)
@click.option(
    "--max-looks",
    type=click.IntRange(1, 1000),
    default=20,
    show_default=True,
    help="How many versions may be judged on it.",
)
@dry_run_option
@pass_root
def add_held_out(
    root: Path,
    /,
    *,
    model: str,
    since: datetime | None,
    until: datetime | None,
    dry_run: bool,
    **given: Any,
) -> None:
    """Add a held-out set: rows that no version trains on.

    Writes models/MODEL/heldout/NAME.yaml with every file pinned by SHA-256, after a look into them:
    what `fetch` would refuse is refused here.
    """
    from modelyard.operations.training.new_version import compose_held_out
    from modelyard.operations.training.rows import refuse_unusable

    catalog = _read_specs(root, model).catalog
    window = choose_window(since, until, None)
    spec = compose_held_out(root, catalog, model=model, window=window, **given)
    for each in refuse_unusable(root, catalog.models[model], spec, spec.files):
        print_line(f"note: the gate cannot decide: {each}", err=True)
    _write(root, catalog, spec, dry_run=dry_run)


@version.command("show")
@click.argument("model")
@click.argument("name", metavar="VERSION")
@output_option
@pass_root
def show_version(root: Path, /, *, model: str, name: str, output: str) -> None:
    """Show a version, its verdict and its environments.

    All of it is read from this checkout: pull first to see what was merged.
    """
    from modelyard.adapters.specs.documents import document_of

    specs = _read_specs(root, model)
    spec = specs.catalog.require_version(model, name, where=str(root))
    if output == "json":
        print_json(document_of(spec))
        return
    print_lines(specs.files[version_file(model, name)].decode("utf-8", "replace"))
    record = specs.catalog.records.get((model, name))
    verdict = record.verdict if record else None
    gate = f"{verdict.outcome}: {verdict.reason}" if verdict else "no record in this checkout"
    runs = ", ".join(_environments_of(specs.catalog, model, name))
    print_line()
    print_line(f"gate: {gate}")
    print_line(f"runs in: {runs or 'no environment of this checkout'}")


@version.command("list")
@click.argument("model")
@pass_root
def list_versions(root: Path, /, *, model: str) -> None:
    """List versions, their verdicts, and where they are released.

    All of it is read from this checkout: pull first to see what was merged.
    """
    from modelyard.commands.output.formatting import make_table
    from modelyard.domain.promotion.training_workflows import version_order

    specs = _read_specs(root, model)
    catalog = specs.catalog
    rows = []
    for spec in sorted(catalog.versions_of(model), key=lambda v: version_order(v.version)):
        record = catalog.records.get((model, spec.version))
        gate = record.verdict.outcome if record else None
        runs = ", ".join(_environments_of(catalog, model, spec.version)) or None
        rows.append((spec.version, spec.reason, gate, runs))
    make_console().print(make_table(model, ("version", "reason", "gate", "runs in"), rows))
    for file in sorted({p.file for p in specs.problems if p.file.startswith(model_folder(model))}):
        print_line(f"{file} is not valid and may be missing here: modelyard validate", err=True)


def _environments_of(catalog: Catalog, model: str, name: str) -> list[str]:
    """Return the environments with a release of the version, in the order of the path."""
    path = [environment.name for environment in catalog.path_to_production()]
    found = ((env, catalog.releases.get((env, model))) for env in path)
    return [env for env, release in found if release and release.version == name]


def _read_specs(root: Path, model: str) -> Specs:
    from modelyard.adapters.git.trees import WorkingTree
    from modelyard.adapters.specs.reader import read_specs

    # The working tree, not the main branch: a held-out set may not be committed yet.
    specs = read_specs(WorkingTree(root))
    specs.catalog.require_model(model, where=str(root))
    return specs


def _read_breaks(each: Sequence[str]) -> dict[str, str]:
    """Return the reason of each intended break by its name."""
    found: dict[str, str] = {}
    for text in each:
        name, _, reason = (part.strip() for part in text.partition("="))
        if not name or not reason:
            raise click.UsageError(f"--breaks {text}: expected NAME=REASON, with a reason")
        found[name] = reason
    return found


def _write(root: Path, catalog: Catalog, spec: ModelVersion | HeldOut, *, dry_run: bool) -> None:
    from modelyard.operations.training.new_version import draft_spec, write_draft

    draft = draft_spec(root, catalog, spec)
    if dry_run:
        print_lines(draft.content.decode())
        return
    write_draft(root, draft)
    print_line(draft.path)
    _print_next(root, draft.path)


def _print_next(root: Path, path: str) -> None:
    """Print the commands from a file to a pull request, for people to copy."""
    from modelyard.adapters.git.repository import Git

    repository, current = repository_of(root), Git(root).current_branch()
    _, model, folder, file = path.split("/")
    name = file.removesuffix(".yaml")
    what = f"held-out set {name} of {model}" if folder == "heldout" else f"{model} {name}"
    title = f"Add {what}"
    # Who is on a branch already wants it there, with what is on it.
    is_on_main = current in {None, repository.main}
    branch, remote = f"{model}-{name}" if is_on_main else current, repository.remote
    for line in (
        "next:",
        *([f"  git switch -c {branch}"] if is_on_main else []),
        # The whole model: a version without its held-out set would be refused.
        f"  git add {model_folder(model).removesuffix('/')}",
        f'  git commit -m "{title}"',
        f"  git push -u {remote} {branch}",
        # On a forge with pages, the push answers with the address to open it at.
        f'  modelyard pr open {branch} --title "{title}"'
        if repository.forge is ForgeKind.LOCAL
        else f"  open a pull request of {branch} on {repository.forge_repository or 'the forge'}",
    ):
        print_line(line, err=True)
