"""`modelyard retrain`: propose a version trained on newer data, or retry a failed training."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING

import click

from modelyard.commands.drift import feed_option, until_option
from modelyard.commands.options import dry_run_option, pass_services
from modelyard.commands.output.terminal import print_line
from modelyard.commands.output.unmerged import note_other_spec
from modelyard.domain.specs.paths import model_file
from modelyard.operations.open_workspace import workspace_of
from modelyard.ports import Services

if TYPE_CHECKING:
    from modelyard.operations.drift.propose import NotOwed, Owed
    from modelyard.operations.workspace import Workspace


@click.command()
@click.argument("model")
@click.argument("version", required=False)
@until_option
@feed_option
@dry_run_option
@pass_services
def retrain(
    services: Services,
    /,
    *,
    model: str,
    version: str | None,
    until: datetime | None,
    feed: str | None,
    dry_run: bool,
) -> None:
    """Propose a version of MODEL trained on newer data, if drift is confirmed.

    One pull request adds the version and a new held-out set. It is updated when the evidence
    changes, and closed when drift is no longer confirmed. While the data has an open incident,
    nothing is proposed (exit 3).

    With VERSION: forget that its training failed, so that reconcile tries again.
    """
    from modelyard.domain.chatops.commands import Retrain
    from modelyard.domain.chatops.typed import Typed
    from modelyard.operations.chatops.ask import ask_for_drift, ask_forge

    workspace = workspace_of(services)
    if version is None:
        is_plain = not (until or feed)
        if not dry_run and ask_for_drift(workspace, model, is_plain=is_plain, report=print_line):
            return
        day = until.date() if until else None
        _propose(workspace, model, feed=feed, until=day, dry_run=dry_run)
    elif until or feed:
        raise click.UsageError("--until and --feed are for a new version: leave VERSION out")
    else:
        from modelyard.operations.reconcile.runs import forget_failure

        typed = Typed(command=Retrain(), model=model, version=version)
        if not dry_run and ask_forge(services, typed, name=None, report=print_line):
            return
        attempt = forget_failure(workspace, model, version, dry_run=dry_run)
        print_line(f"{model} {version}: attempt {attempt} is next")
        print_line(f"modelyard reconcile {model} starts it", err=True)


def _propose(
    workspace: Workspace, model: str, *, feed: str | None, until: date | None, dry_run: bool
) -> None:
    from modelyard.operations.drift.compare import compare_feed
    from modelyard.operations.drift.feed_incidents import record_incidents
    from modelyard.operations.drift.propose import NotOwed, decide_retraining, open_incidents

    result = compare_feed(workspace, model, feed=feed, until=until)
    note_other_spec(workspace, result.commit, model_file(model))
    # A broken contract is recorded even though nothing is proposed.
    incidents = open_incidents if dry_run else record_incidents
    decided = decide_retraining(workspace, result, incidents(workspace, result))
    if isinstance(decided, NotOwed):
        _withdraw(workspace, decided, dry_run=dry_run)
    else:
        _open(workspace, decided, dry_run=dry_run)


def _withdraw(workspace: Workspace, decided: NotOwed, *, dry_run: bool) -> None:
    from modelyard.operations.drift.propose import withdraw_retraining

    if pull := decided.pull:
        if not dry_run:
            withdraw_retraining(workspace, pull, reason=decided.reason)
        print_line(f"#{pull.number} {'would be ' if dry_run else ''}closed: {pull.title}")
    print_line(f"nothing is proposed: {decided.reason}")


def _open(workspace: Workspace, decided: Owed, *, dry_run: bool) -> None:
    from modelyard.commands.output.formatting import print_change
    from modelyard.operations.drift.propose import propose_retraining

    if dry_run:
        print_change(decided.change)
        return
    pull = propose_retraining(workspace, decided)
    if decided.pull is None:
        word = "opened"
    else:
        word = "is up to date" if decided.pull.head == pull.head else "updated"
    print_line(f"#{pull.number} {word}: {pull.title}")
