"""`modelyard workflow`: run a workflow, as the local orchestrator does in a process of its own."""

from __future__ import annotations

from pathlib import Path

import click

from modelyard.commands.options import pass_root
from modelyard.commands.output.terminal import print_line
from modelyard.errors import CannotAnswer


@click.group(hidden=True)
def workflow() -> None:
    """Run a submitted workflow on this machine."""


@workflow.command()
@click.argument("name")
@pass_root
def run(root: Path, /, name: str) -> None:
    """Run the submitted workflow NAME to its end."""
    from modelyard.adapters.workflows.local import LocalWorkflows
    from modelyard.operations.services import repository_of

    status = LocalWorkflows(root, repository_of(root)).run(name)
    if status is None:
        raise CannotAnswer(f"there is no workflow {name}")
    print_line(f"{name}: {status.phase}{': ' if status.message else ''}{status.message}")
