from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from modelyard.commands.output.formatting import SECONDS_OF_A_LOOK, explain_verdict
from modelyard.domain.promotion.facts import ReleaseFacts
from modelyard.domain.verdict import NOT_ASKED, Outcome, Verdict
from modelyard.operations.watch.loop import JUDGED_SECONDS

RUNNING = ReleaseFacts(release="sha256:a")


def undecided(looks: int | None = None) -> Verdict:
    numbers = {} if looks is None else {"looks_missing": float(looks)}
    return Verdict(outcome=Outcome.INCONCLUSIVE, reason="in words for people", numbers=numbers)


def test_missing_looks_are_told_as_minutes_with_traffic():
    (line,) = explain_verdict(undecided(29), RUNNING)
    assert "send it for about 3 more minutes, not at once" in line
    (line,) = explain_verdict(undecided(1), RUNNING)
    assert "about 1 more minute," in line
    assert list(explain_verdict(undecided(), RUNNING)) == []


def test_a_release_without_traffic_is_told_how_to_get_some():
    verdict = Verdict(outcome=Outcome.INCONCLUSIVE, reason=NOT_ASKED)
    (line,) = explain_verdict(verdict, RUNNING)
    assert "modelyard replay" in line


def test_a_look_is_as_long_as_the_watchers_pause():
    assert SECONDS_OF_A_LOOK == JUDGED_SECONDS


def test_a_release_that_is_verified_is_said_to_be():
    at = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
    verified = replace(RUNNING, verified=("sha256:a",), judged_at=at)
    (line,) = explain_verdict(undecided(29), verified)
    assert line.startswith("this release is verified already, judged at 2026-03-01 12:30:00 UTC; ")
    older = replace(RUNNING, verified=("sha256:b",))
    assert list(explain_verdict(undecided(), older)) == []
