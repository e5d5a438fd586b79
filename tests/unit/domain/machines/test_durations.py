from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from modelyard.domain.machines.durations import is_measurable, seconds_since

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("moment", "even_since", "seconds"),
    [
        (ago(100), None, 100),
        (ago(100), ago(200), 100),
        (ago(3700), ago(40), 40),  # it jumped ahead: no more than that is known
        (ago(-3500), ago(40), 40),  # it was set back
        (ago(-3500), None, 0),  # and nobody saw that
        (ago(-20), None, 0),  # another machine's clock is a little ahead
        (ago(-20), ago(50), 0),
    ],
)
def test_only_what_an_even_clock_measured_counts(moment, even_since, seconds):
    assert seconds_since(moment, now=NOW, even_since=even_since) == seconds


def test_a_moment_of_another_machine_may_be_a_little_in_the_future():
    assert is_measurable(ago(-20), now=NOW, even_since=None)
    assert not is_measurable(ago(-40), now=NOW, even_since=None)
