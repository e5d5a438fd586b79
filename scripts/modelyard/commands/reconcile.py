"""`modelyard reconcile`: bring models in line with what Git, facts and people ask for."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

import click

from modelyard.commands.options import dry_run_option, pass_services
from modelyard.commands.output.terminal import print_line
from modelyard.domain.promotion.change import STATE_BRANCH
from modelyard.domain.specs.repository import ForgeKind
from modelyard.errors import Refused
from modelyard.operations.open_workspace import workspace_of
from modelyard.ports import Services

if TYPE_CHECKING:
    from modelyard.domain.promotion.actions import Action
    from modelyard.operations.workspace import Workspace


@click.command()
@click.argument("model", required=False)
@click.option("--wait", is_flag=True, help="Wait for running workflows, and go on when they end.")
@dry_run_option
@pass_services
def reconcile(services: Services, /, *, model: str | None, wait: bool, dry_run: bool) -> None:
    """Do what is missing for MODEL, or for every model.

    Starts training, proposes records and promotions, merges pull requests once nothing is missing,
    rolls back bad releases, repairs aliases. Running it again changes nothing. It reads the main
    branch of the remote, not the checkout. A dry run exits with 3 if something would change.
    Otherwise it prints nothing and exits with 0.
    """
    from modelyard.operations.hosted_forges import refuse_other_account
    from modelyard.operations.reconcile.loop import run_all
    from modelyard.operations.sites import read_standing, refuse_elsewhere, take_standing

    if not dry_run:
        refuse_other_account(services)  # before it takes an environment in the tool's name
    workspace = workspace_of(services)
    if dry_run:
        if (why := read_standing(workspace).explanation()) is not None:
            print_line(why, err=True)
    else:
        refuse_elsewhere(take_standing(workspace))
    if not dry_run and workspace.facts.carry_over():
        print_line(f"the facts are on the branch {STATE_BRANCH} now", err=True)
    names = (model,) if model else workspace.models()
    one = _show if dry_run else partial(_settle, wait=wait)
    shared = () if dry_run or model else _shared_steps(workspace)
    # Not while it waits for hours: people close pull requests meanwhile.
    with nullcontext() if wait else services.pulls.one_listing():
        would_change = run_all((*shared, *(partial(one, workspace, name) for name in names)))
    if dry_run and would_change:
        raise click.exceptions.Exit(Refused.exit_code)


def _shared_steps(workspace: Workspace) -> tuple[Callable[[], bool], ...]:
    """What belongs to no model; on this machine's own forge the watcher does it."""
    from modelyard.operations.reconcile.human_pulls import set_human_pull_statuses
    from modelyard.operations.watch.run_checks import run_checks

    if workspace.services.repository.forge is ForgeKind.LOCAL:
        return ()
    return (
        partial(run_checks, workspace, print_line),
        partial(set_human_pull_statuses, workspace, print_line),
    )


def _show(workspace: Workspace, model: str) -> bool:
    from modelyard.domain.promotion.plan import plan
    from modelyard.operations.reconcile.collect import collect_world
    from modelyard.operations.reconcile.describe import describe_action
    from modelyard.operations.reconcile.loop import raise_unreadable

    world = collect_world(workspace, model, may_lack_specs=True)
    actions = [action for action in plan(world) if not _is_left_out(workspace, model, action)]
    for action in actions:
        print_line(f"{model}: would {describe_action(action)}")
    raise_unreadable(world)
    return bool(actions)


def _is_left_out(workspace: Workspace, model: str, action: Action) -> bool:
    """Return whether a run would leave the action out, and print what it could not read."""
    from modelyard.operations.reconcile.describe import describe_action
    from modelyard.operations.reconcile.proposals import find_unreadable

    blocking = find_unreadable(workspace, model, action)
    if blocking is not None:
        why = f"{blocking.message} ({blocking.hint})"
        print_line(f"{model}: left out: {describe_action(action)}: {why}", err=True)
    return blocking is not None


def _settle(workspace: Workspace, model: str, *, wait: bool) -> None:
    from modelyard.operations.reconcile.loop import reconcile_model

    if not reconcile_model(workspace, model, wait=wait, report=print_line):
        print_line(f"{model}: nothing to do", err=True)
