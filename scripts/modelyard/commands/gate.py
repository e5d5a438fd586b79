"""`modelyard gate`: ask the gate again from the kept evidence."""

from __future__ import annotations

import click

from modelyard.commands.options import output_option, pass_services
from modelyard.commands.output.tables import print_verdict
from modelyard.errors import Refused
from modelyard.operations.workspace import workspace_of
from modelyard.ports import Services


@click.command()
@click.argument("model", required=False)
@click.argument("version", required=False)
@click.option("--against", metavar="VERSION", help="Another champion than the record's.")
@click.option("--check", is_flag=True, help="Compare with the record; exit 3 where they differ.")
@click.option(
    "--changed-since",
    metavar="REF",
    help="With --check: every record the checkout's HEAD added since REF, instead of one.",
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
    """Compute the verdict on VERSION of MODEL again, from the per-row scores that were kept.

    Exit 0 for a pass, 3 for anything else, 1 when evidence is out of reach. With --check the
    question is whether the record says what its evidence says.
    """
    from modelyard.operations.gate import check_changed_records, find_verdict

    workspace = workspace_of(services)
    if changed_since is not None:
        if model or version or not check:
            raise click.UsageError("--changed-since goes with --check, and without MODEL VERSION")
        for record, verdict in check_changed_records(workspace, changed_since):
            click.echo(f"{record.model} {record.version}: {verdict.outcome}, as its evidence says")
        return
    if model is None or version is None:
        raise click.UsageError("name MODEL and VERSION, or --check --changed-since REF")
    verdict = find_verdict(workspace, model, version, against=against, check=check)
    print_verdict(verdict, output)
    if not verdict.passed and not check:
        raise click.exceptions.Exit(Refused.exit_code)
