"""`modelyard gate` and `override`: the gate's verdict again, and a person's word on it."""

from __future__ import annotations

from datetime import datetime

import click

from modelyard.commands.options import (
    as_option,
    dry_run_option,
    find_person,
    moment,
    output_option,
    pass_services,
    reason_option,
)
from modelyard.commands.output.formatting import print_gate_answer
from modelyard.commands.output.terminal import print_line
from modelyard.domain.people import Person
from modelyard.domain.specs.repository import ForgeKind
from modelyard.errors import Refused
from modelyard.operations.workspace import workspace_of
from modelyard.ports import Services


@click.command()
@click.argument("model", required=False)
@click.argument("version", required=False)
@click.option(
    "--against",
    metavar="VERSION",
    help="Compare with this version, not with the record's champion.",
)
@click.option("--check", is_flag=True, help="Exit 3 if the record differs from its evidence.")
@click.option(
    "--changed-since",
    metavar="REF",
    help="With --check: check every record that HEAD added since REF.",
)
@output_option
@pass_services
def gate(
    services: Services,
    /,
    *,
    model: str | None,
    version: str | None,
    against: str | None,
    check: bool,
    changed_since: str | None,
    output: str,
) -> None:
    """Compute the verdict on VERSION of MODEL again, from the stored scores of each row.

    Every comparison is printed under its name; a star marks those that decide.

    Exit 0 for a pass, 3 for any other verdict, 1 if evidence is out of reach. With --check, exit 0
    if the record has the verdict that its evidence gives, pass or not.
    """
    from modelyard.operations.gate import check_changed_records, find_verdict

    workspace = workspace_of(services)
    if changed_since is not None:
        if model or version or not check:
            raise click.UsageError("--changed-since needs --check, and no MODEL VERSION")
        for record, verdict in check_changed_records(workspace, changed_since):
            print_line(f"{record.model} {record.version}: {verdict.outcome}, as its evidence gives")
        return
    if model is None or version is None:
        raise click.UsageError("give MODEL and VERSION, or --check --changed-since REF")
    answer = find_verdict(workspace, model, version, against=against, check=check)
    print_gate_answer(answer, output)
    if not answer.verdict.passed and not check:
        # The verdict is printed already: no error message.
        raise click.exceptions.Exit(Refused.exit_code)


@click.command()
@click.argument("model")
@click.argument("version")
@reason_option
@click.option(
    "--until",
    metavar="TIME",
    required=True,
    callback=moment,
    help="When it ends, such as 2027-01-04T08:00Z; at most 30 days ahead.",
)
@as_option
@dry_run_option
@pass_services
def override(
    services: Services,
    /,
    *,
    model: str,
    version: str,
    reason: str,
    until: datetime,
    name: str | None,
    dry_run: bool,
) -> None:
    """Let VERSION of MODEL go on although its gate is inconclusive, until a time.

    Whoever made the version cannot, where an environment ahead of it asks for approvals. A gate
    that fails is never overridden. What is released by then stays; the rest waits again.
    """
    from modelyard.operations.gate_override import decide_override, place_override

    if services.repository.forge is not ForgeKind.LOCAL:
        raise Refused(
            "on this forge a person's word counts only where the forge knows who says it",
            hint=f"comment on the pull request of the record: /override until TIME {reason}",
        )
    workspace = workspace_of(services)
    who = Person.named(find_person(services, name))
    decided = decide_override(workspace, model, version, reason=reason, by=who, until=until)
    end = decided.until.isoformat(timespec="minutes")
    if dry_run:
        print_line(f"would override the gate of {model} {version} until {end} as {who}: {reason}")
        return
    place_override(workspace, model, version, decided)
    print_line(f"{model} {version} may pass its inconclusive gate until {end}: {reason}")
    print_line(f"next: modelyard reconcile {model}")
