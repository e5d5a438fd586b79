"""`modelyard render`: write the manifests of releases and workflows, or check them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from modelyard.commands.options import pass_root
from modelyard.commands.output.terminal import print_line
from modelyard.errors import Refused

if TYPE_CHECKING:
    from modelyard.domain.specs.catalog import Catalog
    from modelyard.operations.render import Files


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; exit 3 if a file is stale.")
@click.option(
    "--platform", is_flag=True, help="Render the workflows and the dashboard, not the releases."
)
@click.option("--environment", help="Only this environment's releases.")
@click.option("--model", help="Only this model's releases.")
@click.option(
    "--changed-since",
    metavar="REF",
    help="With --check: only what depends on files changed since REF.",
)
@pass_root
def render(
    root: Path,
    /,
    *,
    check: bool,
    platform: bool,
    environment: str | None,
    model: str | None,
    changed_since: str | None,
) -> None:
    """Write the manifests of the releases in the working tree.

    Manifests of an older renderer are not changed; they must only match the digest in their pin.
    With --platform, the workflows in workflows/ become Argo WorkflowTemplates, and a dashboard for
    Grafana is written.
    """
    from modelyard.adapters.git.trees import WorkingTree
    from modelyard.operations.render import (
        choose_releases,
        find_stale,
        find_stale_since,
        read_rendered,
        write_release,
    )

    if changed_since is not None:
        if not check or platform or environment or model:
            raise click.UsageError("--changed-since goes with --check, and with nothing else")
        _refuse_stale(find_stale_since(root, changed_since), hint="modelyard render")
        print_line(f"what changed since {changed_since} is rendered", err=True)
        return
    tree = WorkingTree(root)
    catalog = read_rendered(tree)
    if platform:
        _render_platform(root, catalog, check=check)
        return
    chosen = choose_releases(catalog, environment, model)
    if not check:
        for release in chosen:
            _print_written(write_release(root, catalog, release))
        return
    _refuse_stale(find_stale(root, catalog, chosen), hint="modelyard render")
    print_line(f"{len(chosen)} releases are rendered", err=True)


def _render_platform(root: Path, catalog: Catalog, *, check: bool) -> None:
    from modelyard.operations.render import platform_changes, write_files

    changes = platform_changes(root, catalog)
    if check:
        stale = [f"{path} is not what this version renders" for path in changes]
        _refuse_stale(stale, hint="modelyard render --platform")
        return
    write_files(root, changes)
    _print_written(changes)


def _print_written(changes: Files) -> None:
    for path, content in changes.items():
        print_line(f"{path} {'removed' if content is None else 'written'}")


def _refuse_stale(sentences: list[str], *, hint: str) -> None:
    for sentence in sentences:
        print_line(sentence)
    if sentences:
        count = "1 file is" if len(sentences) == 1 else f"{len(sentences)} files are"
        raise Refused(f"{count} stale", hint=hint)
