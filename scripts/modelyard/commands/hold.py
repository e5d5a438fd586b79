"""`modelyard hold` and `unhold`: versions that automation must not bring back."""

from __future__ import annotations

from dataclasses import replace

import click

from modelyard.commands.on_main import check_on_main
from modelyard.commands.options import dry_run_option, pass_services
from modelyard.commands.person import as_option, person
from modelyard.domain.promotion.facts import Hold, ModelFacts
from modelyard.domain.specs.paths import version_file
from modelyard.errors import Refused
from modelyard.operations.workspace import facts_of
from modelyard.ports import Services


@click.command()
@click.argument("model")
@click.argument("version")
@click.option("--reason", required=True, help="Why; everybody reads it.")
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
    """Keep automation from proposing or merging VERSION of MODEL, and from bringing it back.

    Where it runs already, the next reconcile rolls it back.
    """
    from modelyard.adapters.git.names import readable

    who = person(services, name)
    # A hold on a misspelt version would hold nothing, silently.
    check_on_main(services, version_file(model, version))
    told = Hold(reason=readable(reason), by=who, since=services.clock.now())
    if not told.reason:
        raise click.BadParameter("a hold needs a reason", param_hint="--reason")
    if dry_run:
        click.echo(f"would hold {model} {version} as {who}: {told.reason}")
        return

    def held(facts: ModelFacts) -> ModelFacts:
        before = facts.holds.get(version)
        if before is not None and (before.reason, before.by) == (told.reason, told.by):
            return facts
        since = before.since if before else told.since
        return replace(facts, holds={**facts.holds, version: replace(told, since=since)})

    facts_of(services).update_model(model, held, by=who)
    click.echo(f"{model} {version} is on hold: {told.reason}")


@click.command()
@click.argument("model")
@click.argument("version")
@as_option
@dry_run_option
@pass_services
def unhold(
    services: Services, /, *, model: str, version: str, name: str | None, dry_run: bool
) -> None:
    """Let automation use a held VERSION of MODEL again."""
    from modelyard.adapters.git.names import readable

    who = person(services, name)
    store = facts_of(services)
    known = store.read_model(model)[0].holds.get(version)
    if known is None:
        raise Refused(f"{model} {version} is not on hold", hint=f"modelyard status {model}")
    if dry_run:
        click.echo(f"would lift the hold of {readable(known.by)} on {model} {version} as {who}")
        return

    def lifted(facts: ModelFacts) -> ModelFacts:
        kept = {v: h for v, h in facts.holds.items() if v != version}
        at = services.clock.now()
        return replace(facts, holds=kept, lifted={**facts.lifted, version: at})

    store.update_model(model, lifted, by=who)
    click.echo(f"{model} {version} is no longer on hold")
