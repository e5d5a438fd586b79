"""What people are notified of, each event once: rollbacks, holds and incidents."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from modelyard.domain.harmless_text import unescape_markdown
from modelyard.domain.promotion.change import Purpose, parse_branch
from modelyard.domain.promotion.facts import ModelFacts
from modelyard.domain.promotion.incidents import Incident
from modelyard.domain.promotion.pulls import PullState, PullSummary

LONGEST_AGE = timedelta(days=1)
"""Older events are history: `modelyard history` shows them, and nobody is woken for them."""

MOST_NOTIFIED_KEYS = 100
"""How many keys of sent notifications a model keeps; it has few a day."""


class Kind(StrEnum):
    """What happened."""

    ROLLBACK = "rollback"
    HOLD = "hold"
    INCIDENT = "incident"


@dataclass(frozen=True, kw_only=True)
class Notification:
    """One message to people.

    Args:
        key: Identifies the event, so that it is sent once.
        kind: What happened.
        model: The model's name.
        environment: Where, if in one place.
        title: One line.
        body: The reason.
    """

    key: str
    kind: Kind
    model: str
    environment: str | None
    title: str
    body: str


def find_notifications(
    model: str, facts: ModelFacts, pulls: Iterable[PullSummary], now: datetime
) -> tuple[Notification, ...]:
    """The recent events of a model without a notification: rollbacks, holds, then incidents.

    Args:
        model: The model's name.
        facts: Its facts.
        pulls: Its merged and closed pull requests.
        now: The time, in UTC.
    """
    found = (
        *(_rollback(model, pull) for pull in pulls if _is_recent_rollback(pull, now)),
        *(
            Notification(
                # The time is part of the key: a second hold of a version is another event.
                key=f"hold/{version}/{hold.since.isoformat()}",
                kind=Kind.HOLD,
                model=model,
                environment=None,
                title=f"{model} {version} is on hold",
                body=f"{hold.by}: {hold.reason}",
            )
            for version, hold in facts.holds.items()
            if now - hold.since < LONGEST_AGE
        ),
        *(
            Notification(
                key=f"incident/{incident.key}/{incident.at.isoformat()}",
                kind=Kind.INCIDENT,
                model=model,
                environment=None,
                title=f"Incident of {model}",
                body=incident.what,
            )
            for incident in facts.incidents
            if now - incident.at < LONGEST_AGE and _key_before_keys(incident) not in facts.told
        ),
    )
    return tuple(notice for notice in found if notice.key not in facts.told)


def _key_before_keys(incident: Incident) -> str:
    """The key of the notification of an incident that was written without a key."""
    return f"incident/{hashlib.sha256(incident.what.encode()).hexdigest()[:16]}"


def add_notified_key(told: tuple[str, ...], key: str) -> tuple[str, ...]:
    """The keys of sent notifications, with one more."""
    # The oldest are dropped: by then their events are older than `LONGEST_AGE`.
    return told if key in told else (*told, key)[-MOST_NOTIFIED_KEYS:]


def _is_recent_rollback(pull: PullSummary, now: datetime) -> bool:
    branch = parse_branch(pull.branch)
    if branch is None or branch.purpose is not Purpose.ROLLBACK:
        return False
    merged = pull.closed_at if pull.state is PullState.MERGED else None
    return merged is not None and now - merged < LONGEST_AGE


def _rollback(model: str, pull: PullSummary) -> Notification:
    branch = parse_branch(pull.branch)
    page = "\n".join(map(unescape_markdown, pull.body.split("\n")))
    return Notification(
        key=f"rollback/{pull.number}",
        kind=Kind.ROLLBACK,
        model=model,
        environment=branch.subject if branch else None,
        title=pull.title,
        # What is sent is text; the page is Markdown.
        body=f"#{pull.number}, merged as {(pull.merged_as or '')[:10]}. {page}",
    )
