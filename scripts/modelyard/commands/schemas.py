"""`modelyard schemas`: the format reference as a page for people."""

from __future__ import annotations

from pathlib import Path

import click

from modelyard.commands.options import pass_root
from modelyard.commands.output.terminal import print_line, print_lines
from modelyard.errors import Refused

PAGE = "schemas/README.md"
"""Where the page is committed."""


@click.command()
@click.option("--write", is_flag=True, help=f"Write {PAGE}.")
@click.option("--check", is_flag=True, help=f"Write nothing; exit 3 if {PAGE} is stale.")
@pass_root
def schemas(root: Path, *, write: bool, check: bool) -> None:
    """Print every format as tables, or write the page into the checkout."""
    if write and check:
        raise click.UsageError("use --write or --check, not both")
    page = _page()
    file = root / PAGE
    if write:
        file.parent.mkdir(exist_ok=True)
        file.write_text(page, encoding="utf-8")
        print_line(f"wrote {PAGE}", err=True)
    elif not check:
        print_lines(page)
    elif not file.is_file() or file.read_text(encoding="utf-8") != page:
        raise Refused(f"{PAGE} is stale", hint="modelyard schemas --write")


def _page() -> str:
    from modelyard.adapters.specs.schemas import FILES, schema_of
    from modelyard.commands.output.schema_reference import render_reference

    return render_reference({name: schema_of(kind) for kind, name in FILES.items()})
