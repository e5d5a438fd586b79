"""`modelyard gate`: ask the gate again from the kept evidence."""

from __future__ import annotations

import click

from modelyard.commands.options import desk_of, output_option, pass_services, print_json
from modelyard.errors import CannotAnswer, Refused
from modelyard.ports import Services


@click.command()
@click.argument("model")
@click.argument("version")
@click.option("--against", metavar="VERSION", help="Another champion than the record's.")
@click.option("--check", is_flag=True, help="Compare with the record; exit 3 where they differ.")
@click.option("--commit", help="Read the specs of this commit instead of the main branch.")
@output_option
@pass_services
def gate(
    services: Services,
    /,
    *,
    model: str,
    version: str,
    against: str | None,
    check: bool,
    commit: str | None,
    output: str,
) -> None:
    """Compute the verdict on VERSION of MODEL again, from the per-row scores that were kept.

    Exit 0 for a pass, 3 for anything else, 1 when evidence is out of reach.
    """
    from modelyard.adapters.documents import document_of
    from modelyard.commands.gating import compare, differences, recompute

    desk = desk_of(services)
    catalog = desk.catalog(commit or desk.main())
    record = catalog.records.get((model, version))
    if record is None:
        raise CannotAnswer(
            f"there is no record models/{model}/records/{version}.yaml on the main branch",
            hint=f"modelyard record {model} {version}",
        )
    if against is not None:
        verdict = compare(desk.store, catalog, model, version, against)
        if verdict is None:
            raise CannotAnswer(f"{version} and {against} were never scored on the same rows")
    elif record.artifact is None:
        verdict = record.verdict
    else:
        verdict, each = recompute(desk.store, catalog, record)
        if check and (found := differences(record, verdict, each)):
            raise Refused(f"{model} {version}: {'; '.join(found)}")
    if output == "json":
        print_json(document_of(verdict))
    else:
        click.echo(f"{verdict.outcome}: {verdict.reason}")
        for name, value in verdict.numbers.items():
            click.echo(f"  {name} {value:.6g}")
    if not verdict.passed and not check:
        raise click.exceptions.Exit(Refused.exit_code)
