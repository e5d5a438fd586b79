"""`modelyard version`: add a version or a held-out set with its pins, and show what there is."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modelyard.commands.options import (
    dry_run_option,
    make_console,
    output_option,
    pass_root,
    print_json,
)
from modelyard.domain.specs.paths import model_file, model_folder, version_file
from modelyard.errors import CannotAnswer
from modelyard.operations.services import repository_of

if TYPE_CHECKING:
    from modelyard.adapters.specs.reader import Specs
    from modelyard.domain.specs.catalog import Catalog
    from modelyard.domain.specs.heldout import HeldOut
    from modelyard.domain.specs.interval import Interval
    from modelyard.domain.specs.version import ModelVersion

_DAY = click.DateTime(["%Y-%m-%d"])


@click.group()
def version() -> None:
    """Add a version of a model, with its pins; add held-out sets; show what there is."""


def _days(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say which days."""
    until = click.option("--until", type=_DAY, metavar="DATE", help="The day after the last one.")
    since = click.option("--since", type=_DAY, metavar="DATE", help="The first day.")
    return since(until(function))


@version.command()
@click.argument("model")
@click.argument("name", metavar="VERSION")
@click.option("--reason", required=True, help="Why it exists, for whoever reviews it.")
@click.option("--parent", metavar="VERSION", help="What is not said here is taken from it.")
@click.option("--data", multiple=True, metavar="URI", help="A data file, or several with `*`.")
@_days
@click.option("--held-out", multiple=True, metavar="NAME", help="A held-out set to score it on.")
@click.option("--param", multiple=True, metavar="NAME=JSON", help="One parameter of the trainer.")
@click.option(
    "--params",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE.json",
    help="All parameters, in place of the parent's.",
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), metavar="N", help="For all randomness.")
@dry_run_option
@pass_root
def new(
    root: Path,
    /,
    *,
    model: str,
    name: str,
    reason: str,
    parent: str | None,
    data: tuple[str, ...],
    since: datetime | None,
    until: datetime | None,
    held_out: tuple[str, ...],
    param: tuple[str, ...],
    params: Path | None,
    seed: int | None,
    dry_run: bool,
) -> None:
    """Write models/MODEL/versions/VERSION.yaml with every pin filled in.

    Data files are pinned by SHA-256, the trainer by its committed Git tree, what it runs in by
    requirements.lock. Held-out days inside the training window are excluded by themselves.
    """
    from modelyard.operations.training.new_version import compose_version

    catalog = _specs(root, model).catalog
    base = _version(catalog, model, parent) if parent else None
    spec = compose_version(
        root,
        catalog,
        model=model,
        version=name,
        reason=reason,
        base=base,
        data=data,
        window=_window(since, until, base.data.window if base else None),
        held_out=held_out,
        parameters=_parameters(base.parameters if base else {}, params, param),
        seed=seed,
    )
    if not spec.data.files:
        raise click.UsageError("say --data URI, or --parent VERSION to train on its data")
    if not spec.held_out:
        raise click.UsageError("say --held-out NAME, or --parent VERSION to be scored on its sets")
    _write(root, catalog, spec, dry_run=dry_run)


@version.command("held-out")
@click.argument("model")
@click.argument("name")
@click.option("--data", multiple=True, required=True, metavar="URI", help="A file, or `*`.")
@_days
@click.option(
    "--cluster",
    required=True,
    metavar="COLUMN|row",
    help="Rows with equal values here are not independent of each other; `row`: all rows are.",
)
@click.option(
    "--role",
    type=click.Choice(["old", "recent"]),
    default="recent",
    show_default=True,
    help="Whether its rows come after the training data, or stand for an earlier regime.",
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
def held_out_command(
    root: Path,
    /,
    *,
    model: str,
    name: str,
    data: tuple[str, ...],
    since: datetime | None,
    until: datetime | None,
    cluster: str,
    role: str,
    max_looks: int,
    dry_run: bool,
) -> None:
    """Write models/MODEL/heldout/NAME.yaml: rows that no version of MODEL may train on."""
    from modelyard.operations.training.new_version import compose_held_out

    catalog = _specs(root, model).catalog
    spec = compose_held_out(
        root,
        catalog,
        model=model,
        name=name,
        data=data,
        window=_window(since, until, None),
        cluster=cluster,
        role=role,
        max_looks=max_looks,
    )
    _write(root, catalog, spec, dry_run=dry_run)


@version.command()
@click.argument("model")
@click.argument("name", metavar="VERSION")
@output_option
@pass_root
def show(root: Path, /, *, model: str, name: str, output: str) -> None:
    """Show a version's spec, what the gate said of it, and where the checkout names it."""
    from modelyard.adapters.specs.documents import document_of

    specs = _specs(root, model)
    spec = _version(specs.catalog, model, name)
    if output == "json":
        print_json(document_of(spec))
        return
    click.echo(specs.files[version_file(model, name)].decode(), nl=False)
    record = specs.catalog.records.get((model, name))
    said = f"{record.verdict.outcome}: {record.verdict.reason}" if record else "not judged yet"
    click.echo(f"\ngate: {said}")
    click.echo(f"runs in: {', '.join(_runs_in(specs.catalog, model, name)) or 'no environment'}")


@version.command("list")
@click.argument("model")
@pass_root
def list_command(root: Path, /, *, model: str) -> None:
    """List MODEL's versions: why each exists, what the gate said, and where it is named."""
    from modelyard.commands.output.tables import make_table
    from modelyard.domain.promotion.training import version_order

    catalog = _specs(root, model).catalog
    rows = []
    for spec in sorted(catalog.versions_of(model), key=lambda v: version_order(v.version)):
        record = catalog.records.get((model, spec.version))
        gate = record.verdict.outcome if record else None
        runs = ", ".join(_runs_in(catalog, model, spec.version)) or None
        rows.append((spec.version, spec.reason, gate, runs))
    make_console().print(make_table(model, ("version", "reason", "gate", "runs in"), rows))


def _runs_in(catalog: Catalog, model: str, name: str) -> list[str]:
    """The environments that name the version, in the order of the path to production."""
    path = [environment.name for environment in catalog.path_to_production()]
    found = ((env, catalog.releases.get((env, model))) for env in path)
    return [env for env, release in found if release and release.version == name]


def _specs(root: Path, model: str) -> Specs:
    from modelyard.adapters.git.trees import WorkingTree
    from modelyard.adapters.specs.reader import read

    specs = read(WorkingTree(root))
    if model not in specs.catalog.models:
        raise CannotAnswer(f"{root} has no valid {model_file(model)}", hint="modelyard validate")
    return specs


def _version(catalog: Catalog, model: str, name: str) -> ModelVersion:
    found = catalog.versions.get((model, name))
    if found is None:
        known = ", ".join(each.version for each in catalog.versions_of(model)) or "none"
        raise CannotAnswer(
            f"there is no valid {version_file(model, name)}; versions are {known}",
            hint=f"modelyard version list {model}",
        )
    return found


def _window(
    since: datetime | None, until: datetime | None, base: Interval | None
) -> Interval | None:
    """The days that were said, each end that was not taken from `base`."""
    from modelyard.domain.specs.interval import Interval

    first = since.date() if since else base.since if base else None
    last = until.date() if until else base.until if base else None
    if first is None and last is None:
        return None
    if first is None or last is None:
        raise click.UsageError("--since and --until go together: neither end comes from a parent")
    return Interval(since=first, until=last)


def _parameters(
    base: Mapping[str, object], file: Path | None, each: Sequence[str]
) -> dict[str, object]:
    """Return the parent's parameters or the file's, and over them the single ones."""
    found = dict(base) if file is None else _object(file)
    for text in each:
        name, equals, value = text.partition("=")
        try:
            found[name] = json.loads(value)
        except ValueError as error:
            raise click.UsageError(
                f"--param {text}: expected NAME=JSON ({error}); text needs quotes: "
                f"""{name or "NAME"}='"{value if equals else "text"}"'"""
            ) from error
    return found


def _object(file: Path) -> dict[str, object]:
    try:
        document = json.loads(file.read_bytes())
    except ValueError as error:
        raise click.UsageError(f"--params {file}: not JSON: {error}") from error
    if not isinstance(document, dict):
        raise click.UsageError(f"--params {file}: expected a JSON object")
    return document


def _write(root: Path, catalog: Catalog, spec: ModelVersion | HeldOut, *, dry_run: bool) -> None:
    from modelyard.operations.training.new_version import draft_spec, write_draft

    draft = draft_spec(root, catalog, spec)
    if dry_run:
        click.echo(draft.content.decode(), nl=False)
        return
    write_draft(root, draft)
    click.echo(draft.path)
    _print_next(draft.path, repository_of(root).remote)


def _print_next(path: str, remote: str) -> None:
    """The way from a file to a pull request, for people to copy.

    All of the model is added: a version whose held-out set is not there would be refused.
    """
    _, model, folder, file = path.split("/")
    name = file.removesuffix(".yaml")
    what = f"held-out set {name} of {model}" if folder == "heldout" else f"{model} {name}"
    branch, title = f"{model}-{name}", f"Add {what}"
    for line in (
        "next:",
        f"  git switch -c {branch}",
        f"  git add {model_folder(model).removesuffix('/')}",
        f'  git commit -m "{title}"',
        f"  git push -u {remote} {branch}",
        f'  modelyard pr open {branch} --title "{title}"',
    ):
        click.echo(line, err=True)
