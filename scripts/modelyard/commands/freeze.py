"""`modelyard freeze` and `unfreeze`: stops of all promotions into an environment."""

from __future__ import annotations

import click

from modelyard.commands.on_main import check_on_main
from modelyard.commands.options import dry_run_option, pass_services
from modelyard.commands.person import as_option, person
from modelyard.domain.promotion.facts import Freeze
from modelyard.domain.specs.paths import environment_file
from modelyard.errors import Refused
from modelyard.operations.workspace import facts_of
from modelyard.ports import Services


@click.command()
@click.argument("environment")
@click.option("--reason", required=True, help="Why; everybody reads it.")
@as_option
@dry_run_option
@pass_services
def freeze(
    services: Services, /, *, environment: str, reason: str, name: str | None, dry_run: bool
) -> None:
    """Stop promotions into ENVIRONMENT; rollbacks go on."""
    from modelyard.adapters.git.names import readable

    who = person(services, name)
    # A freeze of a misspelt environment would stop nothing, silently.
    check_on_main(services, environment_file(environment))
    told = Freeze(reason=readable(reason), by=who, since=services.clock.now())
    if not told.reason:
        raise click.BadParameter("a freeze needs a reason", param_hint="--reason")
    if dry_run:
        click.echo(f"would freeze {environment} as {who}: {told.reason}")
        return

    def frozen(before: Freeze | None) -> Freeze:
        if before is not None and (before.reason, before.by) == (told.reason, told.by):
            return before
        since = before.since if before else told.since
        return Freeze(reason=told.reason, by=told.by, since=since)

    facts_of(services).update_freeze(environment, frozen, by=who)
    click.echo(f"{environment} is frozen: {told.reason}")


@click.command()
@click.argument("environment")
@as_option
@dry_run_option
@pass_services
def unfreeze(services: Services, /, *, environment: str, name: str | None, dry_run: bool) -> None:
    """Allow promotions into ENVIRONMENT again."""
    from modelyard.adapters.git.names import readable

    who = person(services, name)
    store = facts_of(services)
    known, _ = store.read_freeze(environment)
    if known is None:
        raise Refused(f"{environment} is not frozen", hint="modelyard status")
    if dry_run:
        click.echo(f"would lift the freeze of {readable(known.by)} on {environment} as {who}")
        return
    store.update_freeze(environment, lambda _: None, by=who)
    click.echo(f"{environment} is open again")
