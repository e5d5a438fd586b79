"""`modelyard judge`: the judge's present verdict on a release in traffic."""

from __future__ import annotations

import click

from modelyard.commands.options import output_option, pass_services
from modelyard.commands.output.formatting import print_verdict
from modelyard.errors import Refused
from modelyard.operations.workspace import workspace_of
from modelyard.ports import Services


@click.command()
@click.argument("environment")
@click.argument("model")
@output_option
@pass_services
def judge(services: Services, /, *, environment: str, model: str, output: str) -> None:
    """Compare the answers of MODEL's release in ENVIRONMENT with those of the stable release.

    Reads counts and changes nothing. Exit 0 for a pass, 3 for a fail or an inconclusive verdict.
    """
    from modelyard.operations.judge.evidence import judge_running_release

    verdict = judge_running_release(workspace_of(services), environment, model)
    print_verdict(verdict, output)
    if not verdict.passed:
        raise click.exceptions.Exit(Refused.exit_code)
