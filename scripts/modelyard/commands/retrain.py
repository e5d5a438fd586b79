"""`modelyard retrain`: propose a version on newer data, or let a failed training try again."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from typing import TYPE_CHECKING

import click

from modelyard.commands.drift import closing, feed_option, until_option
from modelyard.commands.options import dry_run_option, pass_services
from modelyard.domain.specs.paths import version_file
from modelyard.errors import CannotAnswer, Refused
from modelyard.operations.workspace import workspace_of
from modelyard.ports import Services

if TYPE_CHECKING:
    from modelyard.domain.promotion.change import Change
    from modelyard.domain.promotion.facts import Incident, ModelFacts
    from modelyard.domain.promotion.pulls import PullRequest
    from modelyard.operations.drift.compare import Breached, Compared
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
    changes and closed when drift is not confirmed any more. While the data contract is broken
    nothing is proposed (exit 3).

    With VERSION: forget that its training failed, so that it is tried again.
    """
    workspace = workspace_of(services)
    if version is None:
        _propose(
            workspace, model, feed=feed, until=until.date() if until else None, dry_run=dry_run
        )
    elif until or feed:
        raise click.UsageError("--until and --feed go with a new version, not with VERSION")
    else:
        _try_again(workspace, model, version, dry_run=dry_run)


def _try_again(workspace: Workspace, model: str, version: str, *, dry_run: bool) -> None:
    from modelyard.domain.promotion.facts import TrainingFacts

    catalog = workspace.catalog(workspace.main())
    if (model, version) not in catalog.versions:
        raise CannotAnswer(
            f"the main branch has no valid {version_file(model, version)}",
            hint=f"modelyard version list {model}",
        )
    if (model, version) in catalog.records:
        raise Refused(
            f"{model} {version} was trained and has a record; records never change",
            hint=f"modelyard version new {model} VERSION --parent {version} --reason TEXT",
        )

    def change(before: ModelFacts) -> ModelFacts:
        known = before.training.get(version, TrainingFacts())
        if known.failed is None:
            raise Refused(
                f"training of {model} {version} has not failed: attempt {known.attempt} counts",
                hint=f"modelyard status {model}",
            )
        again = TrainingFacts(attempt=known.attempt + 1)
        return replace(before, training={**before.training, version: again})

    if dry_run:
        after = change(workspace.facts.read_model(model)[0])
    else:
        after = workspace.facts.update_model(model, change)
    click.echo(f"{model} {version}: attempt {after.training[version].attempt} is next")
    click.echo(f"modelyard reconcile {model} starts it", err=True)


def _propose(
    workspace: Workspace, model: str, *, feed: str | None, until: date | None, dry_run: bool
) -> None:
    from modelyard.adapters.store.artifacts import sha256
    from modelyard.operations.drift.compare import evidence_of, look_at
    from modelyard.operations.drift.retraining import retraining_change

    look = look_at(workspace, model, feed=feed, until=until)
    compared = _unblocked(look, _incidents(workspace, look, dry_run=dry_run))
    evidence = evidence_of(compared)
    digest = f"sha256:{sha256(evidence)}"
    pulls = workspace.services.pulls.list(every=True)
    reason = _not_owed(workspace, compared, digest, pulls)
    if reason is not None:
        _close(workspace, model, pulls, reason, dry_run=dry_run)
        click.echo(f"nothing is proposed: {reason}")
        return
    change = retraining_change(workspace, compared, evidence=digest)
    if dry_run:
        _preview(change)
        return
    workspace.store.put_evidence(evidence)
    _open(workspace, change, pulls)


def _incidents(
    workspace: Workspace, look: Breached | Compared, *, dry_run: bool
) -> tuple[Incident, ...]:
    """The open incidents of the feed, once this look is written down."""
    from modelyard.operations.drift.compare import incidents_after, is_of, note_incidents

    if not dry_run:
        return note_incidents(workspace, look)
    before, _ = workspace.facts.read_model(look.model.name)
    after = incidents_after(before.incidents, look, at=workspace.services.clock.now())
    return tuple(incident for incident in after if is_of(incident, look.feed))


def _unblocked(look: Breached | Compared, incidents: tuple[Incident, ...]) -> Compared:
    """The comparison, unless the contract is or was broken: that is mended, not learned."""
    from modelyard.adapters.git.names import readable
    from modelyard.operations.drift.compare import Compared

    if isinstance(look, Compared) and not incidents:
        return look
    raise Refused(
        f"{look.model.name} is not retrained: {readable(incidents[0].what)}",
        hint=f"mend the data; modelyard drift {look.model.name} takes the incident back",
    )


def _not_owed(
    workspace: Workspace, look: Compared, evidence: str, pulls: tuple[PullRequest, ...]
) -> str | None:
    """Why no version is owed now."""
    from modelyard.domain.drift.retraining import answered, declined

    if not look.confirmed:
        return closing(look)
    model = look.model.name
    holds = workspace.facts.read_model(model)[0].holds
    made = answered(look.catalog, look.parent, evidence=evidence, holds=holds)
    bot = workspace.services.repository.bot
    return made or declined(pulls, model, evidence=evidence, bot=bot)


def _open_pull(pulls: tuple[PullRequest, ...], branch: str) -> PullRequest | None:
    from modelyard.domain.promotion.pulls import PullState

    found = (p for p in pulls if p.branch == branch and p.state is PullState.OPEN)
    return next(found, None)


def _close(
    workspace: Workspace, model: str, pulls: tuple[PullRequest, ...], reason: str, *, dry_run: bool
) -> None:
    from modelyard.operations.drift.retraining import branch_of

    pull, bot = _open_pull(pulls, branch_of(model)), workspace.services.repository.bot
    if pull is None or pull.author != bot:
        return
    if not dry_run:
        workspace.services.pulls.close(pull.number, by=bot, reason=reason)
    click.echo(f"#{pull.number} {'would be ' if dry_run else ''}closed: {pull.title}")


def _open(workspace: Workspace, change: Change, pulls: tuple[PullRequest, ...]) -> None:
    before = _open_pull(pulls, change.branch)
    pull = workspace.services.pulls.propose(change, author=workspace.services.repository.bot)
    if before is None:
        word = "opened"
    else:
        word = "is up to date" if before.head == pull.head else "updated"
    click.echo(f"#{pull.number} {word}: {pull.title}")


def _preview(change: Change) -> None:
    from modelyard.commands.output.tables import change_lines

    for line in change_lines(change):
        click.echo(line)
