"""`modelyard reconcile`: look at everything, and do whatever is missing."""

from __future__ import annotations

import click

from modelyard.commands.options import desk_of, dry_run_option, pass_services
from modelyard.ports import Services


@click.command()
@click.argument("model", required=False)
@click.option("--wait", is_flag=True, help="Follow running workflows, and go on when they end.")
@dry_run_option
@pass_services
def reconcile(services: Services, /, *, model: str | None, wait: bool, dry_run: bool) -> None:
    """Do whatever is missing for MODEL, or for every model.

    Starts training, proposes records and promotions, merges what nothing is missing of, rolls
    back what was judged bad, repairs aliases. Running it again changes nothing.
    """
    from modelyard.commands.reconciling.collect import collect
    from modelyard.commands.reconciling.rounds import settle
    from modelyard.domain.plan import plan

    desk = desk_of(services)
    names = [model] if model else sorted(desk.catalog(desk.main()).models)
    for name in names:
        if dry_run:
            for action in plan(collect(desk, name)):
                click.echo(f"{name}: {action}")
        elif not settle(desk, name, wait=wait, say=click.echo):
            click.echo(f"{name}: nothing is missing", err=True)
