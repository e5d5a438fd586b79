"""`modelyard fetch-model`: the init container of a server's pod."""

from __future__ import annotations

from pathlib import Path

import click

from modelyard.commands.output.terminal import print_line


@click.command(name="fetch-model", hidden=True)
@click.option("--artifact", required=True, help="The pin: sha256:<64 hex digits>.")
@click.option(
    "--folder",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Where to put it; must not exist.",
)
@click.option(
    "--store",
    required=True,
    envvar="MODELYARD_ARTIFACTS",
    help="The artifact store's URI. [env: MODELYARD_ARTIFACTS]",
)
def fetch_model(artifact: str, folder: Path, store: str) -> None:
    """Fetch an artifact from the store into a folder; needs no checkout.

    The server verifies the digest before it opens the artifact.
    """
    from modelyard.adapters.store.artifacts import Store

    Store(store, Path.cwd()).fetch_model(artifact, folder)
    print_line(f"{artifact} is in {folder}", err=True)
