"""`modelyard gate` and `override`: the gate's verdict again, and a person's word on it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from modelyard.commands.options import (
    as_option,
    dry_run_option,
    explain_option,
    find_person,
    moment,
    output_option,
    pass_services,
    picture_option,
    reason_option,
)
from modelyard.commands.output.formatting import print_gate_answer
from modelyard.commands.output.picture import gate_picture, picture_svg, print_explained
from modelyard.commands.output.terminal import print_line
from modelyard.domain.people import Person
from modelyard.domain.specs.repository import ForgeKind
from modelyard.errors import Refused
from modelyard.operations.open_workspace import workspace_of
from modelyard.ports import Services

if TYPE_CHECKING:
    from modelyard.domain.gate.comparisons import GateAnswer


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
@explain_option
@picture_option
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
    explain: bool,
    picture: Path | None,
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
    if picture is not None:
        picture.write_text(picture_svg(gate_picture(answer)), "utf-8")
    if explain and output == "text":
        _explain(answer)
    else:
        print_gate_answer(answer, output)
    if not answer.verdict.passed and not check:
        # The verdict is printed already: no error message.
        raise click.exceptions.Exit(Refused.exit_code)


def _explain(answer: GateAnswer) -> None:
    """Print the verdict as one sentence, its comparisons as one table and as one picture."""
    names = ("difference", "lower", "upper", "margin", "rows", "clusters", "informative_rows")
    rows = [
        (
            f"{'* ' if each.decides else ''}{each.name}",
            *(f"{n[name]:.4g}" if name in n else None for name in names),
            each.verdict.outcome,
        )
        for each in answer.comparisons
        for n in (each.verdict.numbers,)
    ]
    sentence = f"{answer.verdict.outcome}: {answer.verdict.reason}"
    headings = ("comparison", *(name.replace("_", " ") for name in names), "verdict")
    print_explained(sentence, headings, rows, gate_picture(answer))


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
    from modelyard.operations.chatops.gate_override import decide_override, place_override

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
