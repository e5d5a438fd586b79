"""`modelyard preload`: import the heavy libraries once, for many commands."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from modelyard.commands.output.terminal import print_line

MODULES = (
    "mlflow",
    "mlflow.sklearn",
    "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.store.tracking.sqlalchemy_store",
    "sklearn.ensemble",
    "pandas",
    "scipy.stats",
    "pyarrow.parquet",
    "hera.workflows",
    "rich.table",
    "modelyard.adapters.cluster.local",
    "modelyard.adapters.forge.local.forge",
    "modelyard.adapters.forge.local.pulls",
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
    "modelyard.operations.hosted_forges",
    "modelyard.operations.services",
    "modelyard.commands.watch",
    "modelyard.serving.server",
    # Imported when MLflow opens its database, and when a document of the tool is read.
    "alembic.command",
    "mlflow.store.model_registry.sqlalchemy_workspace_store",
    "mlflow.store.tracking.sqlalchemy_workspace_store",
    "sqlalchemy.dialects.sqlite",
    "cattrs.preconf.json",
    "modelyard.adapters.workflows.local",
)
"""What steps, model servers and workflows import."""


@click.command(hidden=True)
@click.option(
    "--socket",
    "address",
    type=click.Path(path_type=Path, dir_okay=False, resolve_path=True),
    required=True,
    help="Socket to listen on; other commands find it in MODELYARD_PRELOADED.",
)
@click.option("--module", "modules", multiple=True, help="Import this module too; repeatable.")
def preload(address: Path, modules: tuple[str, ...]) -> None:
    """Fork modelyard commands from a process that has imported their libraries.

    Prints `ready` once it listens, and ends when its stdin is closed or its parent is gone.
    """
    from modelyard.adapters.processes.environment import bare_of_secrets
    from modelyard.adapters.processes.preloaded import serve_forks

    # What a process was started with stays in its memory and in that of its forks, and these run
    # trainers and models: start again without credentials.
    bare = bare_of_secrets()
    if os.environ.keys() - bare.keys():
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], bare)  # noqa: S606 - no shell is wanted
    wanted = dict.fromkeys((*MODULES, *modules))
    serve_forks(address, tuple(wanted), prepare=_prepare, ready=lambda: print_line("ready"))


def _prepare() -> None:
    """Make what libraries make at their first use, so that no fork makes it again."""
    from sqlalchemy.orm import configure_mappers

    from modelyard.adapters.specs.documents import prepare_readers
    from modelyard.serving.formats.skops_file import import_skops

    # Not before: what its libraries set in the environment must be known as set by an import.
    import_skops()
    configure_mappers()
    prepare_readers()
