"""Proposes a version trained on newer data while drift is confirmed; withdraws it after that."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from modelyard.adapters.git.names import safe_line
from modelyard.adapters.tables.data_files import sha256_of
from modelyard.domain.drift.answers import DriftShown, declined_by, drift_shown, existing_answer
from modelyard.domain.drift.regime import TooFewDays
from modelyard.domain.people import Person, is_same_person
from modelyard.domain.promotion.change import Change
from modelyard.domain.promotion.incidents import Incident
from modelyard.domain.promotion.pulls import PullRequest, PullSummary
from modelyard.domain.specs.interval import count_days
from modelyard.errors import Refused, YardError
from modelyard.operations.drift.compare import (
    ContractBreach,
    FeedComparison,
    drift_evidence,
    summarize_comparison,
)
from modelyard.operations.drift.feed_incidents import is_breach_of_feed, update_incidents
from modelyard.operations.drift.retraining import (
    plan_feed_days,
    retraining_branch,
    retraining_change,
)
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
    reason = _reason_not_owed(workspace, result, evidence, pulls.closed())
    planned = None if reason else plan_feed_days(workspace, result)
    if isinstance(planned, TooFewDays):
        reason = planned.reason
    elif planned is not None:
        new = count_days(planned.new)
        reason = _answer(workspace, result, _Repeats(workspace, evidence), new_days=new)
        if reason is None:
            change = retraining_change(workspace, result, planned, evidence=digest)
            return Owed(change=change, evidence=evidence, pull=open_one)
    # A pull request of a person is not ours to close.
    is_ours = open_one is not None and is_same_person(
        open_one.author, workspace.services.repository.bot
    )
    return NotOwed(reason=reason or "", pull=open_one if is_ours else None)


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
    workspace: Workspace, result: FeedComparison, evidence: bytes, closed: tuple[PullSummary, ...]
) -> str | None:
    """Return why no version is owed now, or None when its days decide."""
    if not result.confirmed:
        return summarize_comparison(result)
    repeats, bot = _Repeats(workspace, evidence), workspace.services.repository.bot
    return _answer(workspace, result, repeats, new_days=None) or declined_by(
        closed, result.model.name, bot=bot, repeats=repeats
    )


def _answer(
    workspace: Workspace, result: FeedComparison, repeats: _Repeats, *, new_days: int | None
) -> str | None:
    holds = workspace.facts.read_model(result.model.name).holds
    return existing_answer(
        result.catalog, result.parent, holds=holds, repeats=repeats, new_days=new_days
    )


class _Repeats:
    """Whether drift is what some earlier evidences show together."""

    def __init__(self, workspace: Workspace, evidence: bytes) -> None:
        self._workspace = workspace
        self._digest = f"sha256:{sha256_of(evidence)}"
        self._shown = drift_shown(json.loads(evidence))

    def __call__(self, *digests: str) -> bool:
        return self._digest in digests or self._shown.repeats(*self._read(digests))

    def _read(self, digests: Iterable[str]) -> Iterator[DriftShown]:
        for digest in digests:
            # Gone, or of another format: it cannot speak against new evidence.
            with suppress(YardError, ValueError, KeyError, IndexError, TypeError):
                yield drift_shown(json.loads(self._workspace.store.read_evidence(digest)))


def _open_pull(pulls: Iterable[PullRequest], branch: str) -> PullRequest | None:
    return next((pull for pull in pulls if pull.branch == branch), None)
