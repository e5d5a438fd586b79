"""`modelyard rollback`: a person takes a release out of an environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from modelyard.commands.options import (
    as_option,
    dry_run_option,
    find_person,
    pass_services,
    reason_option,
)
from modelyard.commands.output.terminal import print_line
from modelyard.operations.open_workspace import workspace_of
from modelyard.ports import Services

if TYPE_CHECKING:
    from modelyard.operations.rollback import Rollback as Decided
    from modelyard.operations.workspace import Workspace


@click.command()
@click.argument("environment")
@click.argument("model")
@reason_option
@click.option(
    "--remove", is_flag=True, help="Remove the release, if there is no verified one to go back to."
)
@as_option
@dry_run_option
@pass_services
def rollback(
    services: Services,
    /,
    *,
    environment: str,
    model: str,
    reason: str,
    remove: bool,
    name: str | None,
    dry_run: bool,
) -> None:
    """Take ENVIRONMENT back to the last verified release of MODEL, at once.

    The version released there now is put on hold, which takes it out of every environment.
    """
    from modelyard.domain.chatops.commands import Rollback
    from modelyard.domain.chatops.typed import Typed
    from modelyard.operations.chatops.ask import ask_forge
    from modelyard.operations.rollback import apply_rollback, decide_rollback

    command = Rollback(environment=environment, reason=reason, remove=remove)
    typed = Typed(command=command, model=model)
    if not dry_run and ask_forge(services, typed, name=name, report=print_line):
        return
    workspace, who = workspace_of(services), find_person(services, name)
    decided = decide_rollback(workspace, environment, model, reason=reason, by=who, remove=remove)
    if dry_run:
        _preview(workspace, decided)
    else:
        apply_rollback(workspace, decided, print_line)


def _preview(workspace: Workspace, decided: Decided) -> None:
    from modelyard.commands.output.formatting import print_change
    from modelyard.domain.promotion.change import Change
    from modelyard.operations.rollback import follow_ups

    model, version = decided.release.model, decided.release.version
    # An earlier hold, if there is one.
    hold = decided.world.model_facts.holds[version]
    print_line(f"would hold {model} {version} as {hold.by}: {hold.reason}")
    print_line()
    print_change(decided.change)
    for each in follow_ups(workspace, decided):
        print_line()
        if isinstance(each, Change):
            print_change(each)
        else:
            print_line(f"INCIDENT {model}: {each.what}")
