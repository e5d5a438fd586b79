"""`modelyard preload`: import the heavy libraries once, for many processes."""

from __future__ import annotations

from pathlib import Path

import click

MODULES = (
    # First: on import it searches every module that is there by then, which would take seconds.
    "skops.io",
    "mlflow",
    "mlflow.sklearn",
    "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.store.tracking.sqlalchemy_store",
    "sklearn.ensemble",
    "pandas",
    "scipy.stats",
    "pyarrow.parquet",
    "kserve",
    "hera.workflows",
    "rich.table",
    "modelyard.adapters.cluster.local",
    "modelyard.adapters.forge.local.forge",
    "modelyard.adapters.metrics.scrape",
    "modelyard.operations.watch.pull_checks",
    "modelyard.operations.judge.evidence",
    "modelyard.commands.pr",
    "modelyard.operations.status.report",
    "modelyard.operations.training.record",
    "modelyard.operations.training.evaluate",
    "modelyard.operations.training.fetch",
    "modelyard.operations.training.train",
    "modelyard.operations.training.verify",
    "modelyard.commands.validate",
    "modelyard.operations.watch.pass_once",
    "modelyard.serving.server",
)
"""What the steps, the model server and the workflows import first."""


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
    from modelyard.adapters.processes.preloaded import serve_forks

    wanted = dict.fromkeys((*MODULES, *modules))
    serve_forks(address, tuple(wanted), ready=lambda: click.echo("ready"))
