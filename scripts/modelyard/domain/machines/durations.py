"""How long ago something was, by a clock that somebody may set and a machine that may sleep."""

from __future__ import annotations

from datetime import datetime, timedelta

LARGEST_STEP = timedelta(seconds=30)
"""By as much may two machines differ, and a clock be corrected, without consequences."""


def is_measurable(moment: datetime, *, now: datetime, even_since: datetime | None) -> bool:
    """Whether the time since a moment can be told: the clock did not jump in between.

    Args:
        moment: When something was, by the clock.
        now: The time by the clock.
        even_since: Since when the clock runs evenly; None if it was never seen to jump.
    """
    return moment <= now + LARGEST_STEP and (even_since is None or moment >= even_since)


def seconds_since(moment: datetime, *, now: datetime, even_since: datetime | None) -> float:
    """For how long something lasts at least; see `is_measurable` for the arguments."""
    if not is_measurable(moment, now=now, even_since=even_since):
        moment = even_since or now
    return max(0.0, (now - moment).total_seconds())
