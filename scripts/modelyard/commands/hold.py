"""`modelyard hold` and `unhold`: versions that automation must not release."""

from __future__ import annotations

import click

from modelyard.commands.options import (
    as_option,
    dry_run_option,
    find_person,
    pass_services,
    reason_option,
)
from modelyard.commands.output.terminal import print_line
from modelyard.domain.people import Person
from modelyard.ports import Services


@click.command()
@click.argument("model")
@click.argument("version")
@reason_option
@as_option
@dry_run_option
@pass_services
def hold(
    services: Services,
    /,
    *,
    model: str,
    version: str,
    reason: str,
    name: str | None,
    dry_run: bool,
) -> None:
    """Put VERSION of MODEL on hold: automation no longer proposes, merges or restores it.

    Where it runs already, the next reconcile rolls it back.
    """
    from modelyard.domain.chatops.commands import Hold
    from modelyard.domain.chatops.typed import Typed
    from modelyard.operations.chatops.ask import ask_forge
    from modelyard.operations.holds import decide_hold, place_hold

    typed = Typed(command=Hold(reason=reason), model=model, version=version)
    if not dry_run and ask_forge(services, typed, name=name, report=print_line):
        return
    decided = decide_hold(services, model, version, reason=reason, by=find_person(services, name))
    if dry_run:
        print_line(f"would hold {model} {version} as {decided.by}: {reason}")
        return
    print_line(place_hold(services, model, version, decided))


@click.command()
@click.argument("model")
@click.argument("version")
@click.option(
    "--retry", is_flag=True, help="Also propose a new attempt where the version went wrong."
)
@as_option
@dry_run_option
@pass_services
def unhold(
    services: Services,
    /,
    *,
    model: str,
    version: str,
    retry: bool,
    name: str | None,
    dry_run: bool,
) -> None:
    """Lift the hold of VERSION of MODEL: automation may release it again.

    In each environment where it was released before, it needs a new attempt. This offers the first,
    and proposes it with --retry; once it is verified there, ask for the next with `modelyard
    promote`. Exit 3, with the hold in place, if the attempt can never be merged as things are.
    """
    from modelyard.domain.chatops.commands import Promote, Unhold
    from modelyard.domain.chatops.typed import Typed
    from modelyard.operations.chatops.ask import ask_forge
    from modelyard.operations.holds import decide_retry, find_hold, lift_hold
    from modelyard.operations.promote import propose_promotion

    typed = Typed(command=Unhold(), model=model, version=version)
    known = find_hold(services, model, version)
    again = decide_retry(services, model, version, is_wanted=retry)
    if dry_run:
        who = find_person(services, name)
        print_line(f"would lift the hold of {known.by} on {model} {version} as {who}")
    elif not ask_forge(services, typed, name=name, report=print_line):
        lift_hold(services, model, version, by=find_person(services, name))
        print_line(f"{model} {version} is no longer on hold")
    if again is None:
        return
    where = again.environment.name
    typed = Typed(command=Promote(environment=where), model=model, version=version)
    if retry and not dry_run:
        if ask_forge(services, typed, name=name, report=print_line):
            return
        who = find_person(services, name)
        pull = propose_promotion(services, again, requester=Person.named(who))
        print_line(f"#{pull.number} is open: {pull.title}, requested by {pull.requester or who}")
    else:
        print_line(f"next: modelyard promote {where} {model} {version}, which makes a new attempt")
