"""`modelyard preload`: import the heavy libraries once, for many processes."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(hidden=True)
@click.option(
    "--socket",
    "address",
    type=click.Path(path_type=Path, dir_okay=False, resolve_path=True),
    required=True,
    help="Where to listen; name it to others in MODELYARD_PRELOADED.",
)
@click.option("--module", "modules", multiple=True, help="Import this one too; repeatable.")
def preload(address: Path, modules: tuple[str, ...]) -> None:
    """Fork modelyard processes that have their libraries already.

    Prints `ready` once it can, and ends when its stdin is closed or its parent is gone.
    """
    from modelyard.adapters.processes import preloaded

    wanted = dict.fromkeys((*preloaded.MODULES, *modules))
    preloaded.serve(address, tuple(wanted), ready=lambda: click.echo("ready"))
