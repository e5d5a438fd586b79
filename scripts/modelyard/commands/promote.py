"""`modelyard promote`: propose a version that reconcile would not propose by itself."""

from __future__ import annotations

import click

from modelyard.commands.options import as_option, dry_run_option, find_person, pass_services
from modelyard.commands.output.terminal import print_line
from modelyard.domain.people import Person
from modelyard.operations.open_workspace import workspace_of
from modelyard.ports import Services


@click.command()
@click.argument("environment")
@click.argument("model")
@click.argument("version", required=False)
@click.option(
    "--replace", is_flag=True, help="Replace the open promotion of another version there."
)
@as_option
@dry_run_option
@pass_services
def promote(
    services: Services,
    /,
    *,
    environment: str,
    model: str,
    version: str | None,
    replace: bool,
    name: str | None,
    dry_run: bool,
) -> None:
    """Propose VERSION of MODEL for ENVIRONMENT.

    Without VERSION it is the one that the environment before it runs. A version that was released
    there before gets a new attempt. Prints what is still missing; `modelyard reconcile` merges the
    pull request once nothing is. Exit 3 for what can never be merged as things are.
    """
    from modelyard.commands.output.formatting import print_change
    from modelyard.domain.chatops.commands import Promote
    from modelyard.domain.chatops.typed import Typed
    from modelyard.operations.chatops.ask import ask_forge
    from modelyard.operations.promote import (
        check_promotion,
        decide_promotion,
        find_environment,
        propose_promotion,
    )
    from modelyard.operations.reconcile.collect import collect_world, with_makers

    workspace = workspace_of(services)
    world = collect_world(workspace, model, with_registry=False)
    where = find_environment(world, environment)
    if version is not None:
        world = with_makers(workspace, world, {version})
    # No environment could ever give the version: wrong usage, not a refusal.
    if version is None and where.promotes_from is None:
        raise click.UsageError(f"{where.name} is the first environment: give VERSION")
    image = services.repository.server_image
    promotion = decide_promotion(world, where, version, server_image=image)
    replaced = check_promotion(promotion, replace=replace)
    asked = Promote(environment=where.name, replace=replace)
    typed = Typed(command=asked, model=model, version=promotion.version)
    if not dry_run and ask_forge(services, typed, name=name, report=print_line):
        return
    if dry_run:
        pull = None
        print_change(promotion.change)
    else:
        who = find_person(services, name)
        pull = propose_promotion(services, promotion, requester=Person.named(who))
        print_line(f"#{pull.number} is open: {pull.title}, requested by {pull.requester or who}")
    if replaced is not None:
        print_line(f"  {'would replace' if dry_run else 'replaces'} {replaced}")
    for each in promotion.missing(pull):
        # Whoever asks cannot approve, so what it waits for is no command for them.
        command = f": {each.command}" if each.blocks and each.command else ""
        print_line(f"  {'blocked by' if each.blocks else 'waits for'} {each.what}{command}")
