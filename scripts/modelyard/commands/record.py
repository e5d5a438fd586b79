"""`modelyard record`: show a record, or propose the one of a finished workflow."""

from __future__ import annotations

import click

from modelyard.commands.options import dry_run_option, output_option, pass_services
from modelyard.commands.output.terminal import make_console, print_json, print_line
from modelyard.errors import CannotAnswer
from modelyard.operations.open_workspace import workspace_of
from modelyard.ports import Services


@click.command()
@click.argument("model")
@click.argument("version")
@output_option
@dry_run_option
@pass_services
def record(services: Services, /, *, model: str, version: str, output: str, dry_run: bool) -> None:
    """Show the record of VERSION; propose it first if it is not on the main branch.

    The proposal is the one that `modelyard reconcile` would make.
    """
    from modelyard.adapters.specs.documents import document_of
    from modelyard.commands.output.formatting import render_markdown
    from modelyard.domain.promotion.actions import ProposeRecord
    from modelyard.domain.promotion.training_workflows import plan_records
    from modelyard.operations.reconcile.apply import apply_action
    from modelyard.operations.reconcile.collect import collect_world
    from modelyard.operations.reconcile.pages import evidence_page

    workspace = workspace_of(services)
    world = collect_world(workspace, model, with_registry=False)
    world.catalog.require_version(model, version)
    known = world.record(version)
    if known is None:
        wanted = [
            action
            for action in plan_records(world)
            if isinstance(action, ProposeRecord) and action.record.version == version
        ]
        if not wanted:
            run = world.runs.get(version)
            is_running = run is not None and not run.is_over
            raise CannotAnswer(
                f"{model} {version} has no record yet: its training is running"
                if is_running
                else f"{model} {version} has no record, and no finished workflow to make one from",
                hint=f"modelyard status {model}"
                if is_running
                else f"modelyard reconcile {model} --wait",
            )
        known = wanted[0].record
        if not dry_run:
            apply_action(wanted[0], workspace, world, lambda line: print_line(line, err=True))
    if output == "json":
        print_json(document_of(known))
    else:
        for part in render_markdown(evidence_page(known)):
            make_console().print(part)
