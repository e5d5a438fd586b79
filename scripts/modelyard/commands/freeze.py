"""`modelyard freeze` and `unfreeze`: stop promotions into an environment, and allow them again."""

from __future__ import annotations

from datetime import datetime

import click

from modelyard.commands.options import (
    as_option,
    dry_run_option,
    find_person,
    moment,
    pass_services,
    reason_option,
)
from modelyard.commands.output.terminal import print_line
from modelyard.ports import Services


@click.command()
@click.argument("environment")
@reason_option
@click.option(
    "--until",
    metavar="TIME",
    callback=moment,
    help="When it ends by itself, such as 2027-01-04T08:00Z. [default: when somebody unfreezes]",
)
@as_option
@dry_run_option
@pass_services
def freeze(
    services: Services,
    /,
    *,
    environment: str,
    reason: str,
    until: datetime | None,
    name: str | None,
    dry_run: bool,
) -> None:
    """Stop promotions into ENVIRONMENT; rollbacks still happen."""
    from modelyard.domain.chatops.commands import Freeze
    from modelyard.domain.chatops.typed import Typed
    from modelyard.operations.chatops.ask import acts_as, ask_forge
    from modelyard.operations.holds import decide_freeze, place_freeze

    if until is not None and not dry_run:
        typed = Typed(command=Freeze(environment=environment, until=until, reason=reason))
        if ask_forge(services, typed, name=name, report=print_line):
            return
    elif not dry_run and acts_as(services) is not None:
        raise click.UsageError("--until is needed: who asks for a freeze on a forge says its end")
    decided = decide_freeze(
        services, environment, reason=reason, by=find_person(services, name), until=until
    )
    end = f" until {decided.until.isoformat()}" if decided.until else ""
    if dry_run:
        print_line(f"would freeze {environment}{end} as {decided.by}: {reason}")
        return
    place_freeze(services, environment, decided)
    print_line(f"{environment} is frozen{end}: {reason}")


@click.command()
@click.argument("environment")
@as_option
@dry_run_option
@pass_services
def unfreeze(services: Services, /, *, environment: str, name: str | None, dry_run: bool) -> None:
    """Allow promotions into ENVIRONMENT again."""
    from modelyard.domain.chatops.commands import Unfreeze
    from modelyard.domain.chatops.typed import Typed
    from modelyard.operations.chatops.ask import ask_forge
    from modelyard.operations.holds import find_freeze, lift_freeze

    typed = Typed(command=Unfreeze(environment=environment))
    if not dry_run and ask_forge(services, typed, name=name, report=print_line):
        return
    who = find_person(services, name)
    known = find_freeze(services, environment)
    if dry_run:
        print_line(f"would lift the freeze of {known.by} on {environment} as {who}")
        return
    lift_freeze(services, environment, by=who)
    print_line(f"{environment} is open again")
