"""`modelyard schemas`: the format reference for people."""

from __future__ import annotations

from pathlib import Path

import click

from modelyard.commands.options import pass_root
from modelyard.errors import Refused

PAGE = "schemas/README.md"
"""Where the reference is kept."""


@click.command()
@click.option("--write", is_flag=True, help=f"Write {PAGE}.")
@click.option("--check", is_flag=True, help=f"Say no when {PAGE} is not what --write would write.")
@pass_root
def schemas(root: Path, *, write: bool, check: bool) -> None:
    """Print every format in tables, or keep them in the checkout."""
    if write and check:
        raise click.UsageError("--write and --check exclude each other")
    page = _page()
    file = root / PAGE
    if write:
        file.parent.mkdir(exist_ok=True)
        file.write_text(page, encoding="utf-8")
        click.echo(f"wrote {PAGE}", err=True)
    elif not check:
        click.echo(page, nl=False)
    elif not file.is_file() or file.read_text(encoding="utf-8") != page:
        raise Refused(f"{PAGE} is stale", hint="run `modelyard schemas --write`")


def _page() -> str:
    from modelyard.adapters.specs.schemas import FILES, schema
    from modelyard.commands.output.schema_reference import render_reference

    return render_reference({name: schema(kind) for kind, name in FILES.items()})
