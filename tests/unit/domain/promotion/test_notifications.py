from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

from modelyard.domain.people import Person
from modelyard.domain.promotion.facts import Hold, ModelFacts
from modelyard.domain.promotion.incidents import Incident
from modelyard.domain.promotion.notifications import (
    MOST_NOTIFIED_KEYS,
    Kind,
    add_notified_key,
    find_notifications,
)
from modelyard.domain.promotion.pulls import PullRequest, PullState

NOW = datetime(2026, 5, 4, 3, tzinfo=UTC)


def pull(number: int, branch: str, *, merged: datetime | None = NOW) -> PullRequest:
    return PullRequest(
        number=number,
        branch=branch,
        title=f"Roll m in canary back from v{number} to v1",
        body="judged bad",
        author=Person.named("bot"),
        base="a" * 40,
        head="b" * 40,
        state=PullState.MERGED if merged else PullState.OPEN,
        opened_at=NOW,
        merged_as="c" * 40 if merged else None,
        closed_at=merged,
    )


def test_a_rollback_a_hold_and_an_incident_are_told_once():
    facts = ModelFacts(
        holds={"v2": Hold(reason="canary: error rate 20 %", by="bot", since=NOW)},
        incidents=(Incident(what="no way back", at=NOW),),
    )
    pulls = [pull(7, "modelyard/rollback/canary/m")]

    found = find_notifications("m", facts, pulls, NOW)

    assert [(n.kind, n.environment, n.title) for n in found] == [
        (Kind.ROLLBACK, "canary", "Roll m in canary back from v7 to v1"),
        (Kind.HOLD, None, "m v2 is on hold"),
        (Kind.INCIDENT, None, "Incident of m"),
    ]
    told = ModelFacts(
        holds=facts.holds, incidents=facts.incidents, told=tuple(n.key for n in found)
    )
    assert find_notifications("m", told, pulls, NOW) == ()


def test_only_merged_rollbacks_are_news():
    pulls = [
        pull(1, "modelyard/rollback/canary/m", merged=None),
        pull(2, "modelyard/promote/canary/m"),
        pull(3, "somebody/else"),
    ]

    assert find_notifications("m", ModelFacts(), pulls, NOW) == ()


def test_nobody_is_woken_for_yesterday():
    yesterday = NOW - timedelta(days=1)
    facts = ModelFacts(
        holds={"v2": Hold(reason="bad", by="bot", since=yesterday)},
        incidents=(Incident(what="long ago", at=yesterday),),
    )
    pulls = [pull(1, "modelyard/rollback/canary/m", merged=yesterday)]

    assert find_notifications("m", facts, pulls, NOW) == ()


def test_a_second_hold_of_the_same_version_is_news():
    first = ModelFacts(holds={"v2": Hold(reason="bad", by="bot", since=NOW)})
    (told,) = find_notifications("m", first, [], NOW)
    later = NOW + timedelta(hours=1)
    again = ModelFacts(holds={"v2": Hold(reason="bad", by="bot", since=later)}, told=(told.key,))

    assert len(find_notifications("m", again, [], later)) == 1


def test_what_was_told_is_remembered_once_and_not_for_ever():
    told: tuple[str, ...] = ()
    for number in range(MOST_NOTIFIED_KEYS + 5):
        told = add_notified_key(add_notified_key(told, str(number)), str(number))

    assert len(told) == MOST_NOTIFIED_KEYS
    assert told[-1] == str(MOST_NOTIFIED_KEYS + 4)


def test_an_incident_that_was_told_before_incidents_had_keys_is_not_told_again():
    what = "dev names v1 of m, a rollback restored it, a person must decide: crashed"
    told = (f"incident/{hashlib.sha256(what.encode()).hexdigest()[:16]}",)
    facts = ModelFacts(incidents=(Incident(what=what, at=NOW),), told=told)

    assert find_notifications("m", facts, [], NOW) == ()
