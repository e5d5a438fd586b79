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
    from modelyard.operations.holds import decide_hold, place_hold

    decided = decide_hold(services, model, version, reason=reason, by=find_person(services, name))
    if dry_run:
        print_line(f"would hold {model} {version} as {decided.by}: {reason}")
        return
    place_hold(services, model, version, decided)
    print_line(f"{model} {version} is on hold: {reason}")


@click.command()
@click.argument("model")
@click.argument("version")
@as_option
@dry_run_option
@pass_services
def unhold(
    services: Services, /, *, model: str, version: str, name: str | None, dry_run: bool
) -> None:
    """Lift the hold of VERSION of MODEL: automation may release it again."""
    from modelyard.operations.holds import find_hold, lift_hold

    who = find_person(services, name)
    known = find_hold(services, model, version)
    if dry_run:
        print_line(f"would lift the hold of {known.by} on {model} {version} as {who}")
        return
    lift_hold(services, model, version, by=who)
    print_line(f"{model} {version} is no longer on hold")
