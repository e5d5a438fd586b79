"""`modelyard fetch-model`: what a server's pod runs before the server."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(name="fetch-model", hidden=True)
@click.option("--artifact", required=True, help="The pin: sha256:<64 hex digits>.")
@click.option(
    "--folder",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Where to put it; must not exist yet.",
)
@click.option(
    "--store",
    required=True,
    envvar="MODELYARD_ARTIFACTS",
    help="The artifact store's URI. [env: MODELYARD_ARTIFACTS]",
)
def fetch_model(artifact: str, folder: Path, store: str) -> None:
    """Bring an artifact from the store to a folder; needs no checkout.

    Whoever opens the artifact verifies its digest.
    """
    from modelyard.adapters.store.artifacts import Store

    Store(store, Path.cwd()).fetch_model(artifact, folder)
    click.echo(f"{artifact} is in {folder}", err=True)
