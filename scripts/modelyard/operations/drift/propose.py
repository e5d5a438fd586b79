"""Proposes a version trained on newer data while drift is confirmed; withdraws it after that."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from modelyard.adapters.git.names import safe_line
from modelyard.adapters.store.artifacts import sha256_of
from modelyard.domain.drift.retraining import declined_by, existing_answer
from modelyard.domain.people import Person, is_same_person
from modelyard.domain.promotion.change import Change
from modelyard.domain.promotion.incidents import Incident
from modelyard.domain.promotion.pulls import PullRequest, PullSummary
from modelyard.errors import Refused
from modelyard.operations.drift.compare import (
    ContractBreach,
    FeedComparison,
    drift_evidence,
    is_breach_of_feed,
    summarize_comparison,
    update_incidents,
)
from modelyard.operations.drift.retraining import retraining_branch, retraining_change
from modelyard.operations.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class NotOwed:
    """No version is owed now.

    Args:
        reason: Why.
        pull: The tool's open pull request, to be closed.
    """

    reason: str
    pull: PullRequest | None


@dataclass(frozen=True, kw_only=True)
class Owed:
    """A version is owed.

    Args:
        change: What the pull request changes.
        evidence: What the change is based on; stored before the pull request is opened.
        pull: The open pull request, to be updated.
    """

    change: Change
    evidence: bytes
    pull: PullRequest | None


def open_incidents(
    workspace: Workspace, result: ContractBreach | FeedComparison
) -> tuple[Incident, ...]:
    """Return the feed's incidents that would be open once the result is recorded."""
    before = workspace.facts.read_model(result.model.name)
    after = update_incidents(before.incidents, result, at=workspace.services.clock.now())
    return tuple(incident for incident in after if is_breach_of_feed(incident, result.feed))


def decide_retraining(
    workspace: Workspace, result: ContractBreach | FeedComparison, incidents: tuple[Incident, ...]
) -> Owed | NotOwed:
    """Return the version that is owed after a comparison of the feed.

    Args:
        workspace: Holds the pull requests and the evidence.
        result: What was found.
        incidents: The open incidents of the feed.

    Raises:
        Refused: The contract is or was broken: bad data is repaired, not learned.
    """
    if not isinstance(result, FeedComparison) or incidents:
        raise Refused(
            f"{result.model.name} is not retrained: {safe_line(incidents[0].what)}",
            hint=f"repair the data; modelyard drift {result.model.name} then closes the incident",
        )
    # Closed ones too: closing one declines its evidence.
    pulls = workspace.services.pulls
    open_one = _open_pull(pulls.open(), retraining_branch(result.model.name))
    evidence = drift_evidence(result)
    digest = f"sha256:{sha256_of(evidence)}"
    reason = _reason_not_owed(workspace, result, digest, pulls.closed())
    if reason is None:
        change = retraining_change(workspace, result, evidence=digest)
        return Owed(change=change, evidence=evidence, pull=open_one)
    # A pull request of a person is not ours to close.
    is_ours = open_one is not None and is_same_person(
        open_one.author, workspace.services.repository.bot
    )
    return NotOwed(reason=reason, pull=open_one if is_ours else None)


def propose_retraining(workspace: Workspace, owed: Owed) -> PullRequest:
    """Store the evidence, and open or update the pull request.

    Whoever runs the command asks for the version. A schedule has no name.
    """
    # First: the page of the pull request refers to it.
    workspace.store.put_evidence(owed.evidence)
    bot, who = workspace.services.repository.bot, workspace.git.user_name()
    requester = None if who is None or is_same_person(who, bot) else Person.named(who)
    return workspace.services.pulls.propose(owed.change, requester=requester)


def withdraw_retraining(workspace: Workspace, pull: PullRequest, *, reason: str) -> None:
    """Close the pull request of a version that is no longer owed."""
    workspace.services.pulls.close(pull.number, reason=reason)


def _reason_not_owed(
    workspace: Workspace, result: FeedComparison, evidence: str, closed: tuple[PullSummary, ...]
) -> str | None:
    """Return why no version is owed now, or None when one is."""
    if not result.confirmed:
        return summarize_comparison(result)
    model = result.model.name
    holds = workspace.facts.read_model(model).holds
    made = existing_answer(result.catalog, result.parent, evidence=evidence, holds=holds)
    bot = workspace.services.repository.bot
    return made or declined_by(closed, model, evidence=evidence, bot=bot)


def _open_pull(pulls: Iterable[PullRequest], branch: str) -> PullRequest | None:
    return next((pull for pull in pulls if pull.branch == branch), None)
