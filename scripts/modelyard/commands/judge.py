"""`modelyard judge`: the judge's word on a release in traffic, now."""

from __future__ import annotations

import click

from modelyard.commands.options import output_option, pass_services
from modelyard.commands.output.tables import print_verdict
from modelyard.errors import CannotAnswer, Refused
from modelyard.operations.workspace import workspace_of
from modelyard.ports import Services


@click.command()
@click.argument("environment")
@click.argument("model")
@output_option
@pass_services
def judge(services: Services, /, *, environment: str, model: str, output: str) -> None:
    """Compare what MODEL's release in ENVIRONMENT answered with the stable release.

    Reads counts, changes nothing. Exit 0 for a pass, 3 for a fail or an inconclusive verdict.
    """
    from modelyard.operations.judge.evidence import judge_release

    workspace = workspace_of(services)
    catalog = workspace.catalog(workspace.main())
    release = catalog.releases.get((environment, model))
    if release is None or environment not in catalog.environments:
        raise CannotAnswer(f"{environment} names no release of {model}", hint="modelyard status")
    facts = workspace.facts.read_release(environment, model)
    if facts.release != release.identity or facts.seen_at is None:
        raise CannotAnswer(
            f"{environment}: {release.version} of {model} was not seen running yet",
            hint="modelyard watch --once",
        )
    where = catalog.environments[environment]
    verdict = judge_release(workspace, catalog, where, release, facts.seen_at)
    print_verdict(verdict, output)
    if not verdict.passed:
        raise click.exceptions.Exit(Refused.exit_code)
