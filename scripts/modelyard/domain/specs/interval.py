"""Half-open intervals of days."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta


@dataclass(frozen=True, kw_only=True, order=True)
class Interval:
    """The days from `since` until the day before `until`."""

    since: date
    until: date

    @property
    def last(self) -> date:
        """The last day."""
        return self.until - timedelta(days=1)

    def overlaps(self, other: Interval) -> bool:
        """Whether the two share a day."""
        return self.since < other.until and other.since < self.until


def subtract_intervals(span: Interval, holes: tuple[Interval, ...]) -> tuple[Interval, ...]:
    """The parts of `span` outside all holes, in order."""
    parts: list[Interval] = []
    start = span.since
    for hole in sorted(holes):
        if not hole.overlaps(span):
            continue
        if start < hole.since:
            parts.append(Interval(since=start, until=hole.since))
        start = max(start, hole.until)  # a hole may lie inside an earlier, longer one
    if start < span.until:
        parts.append(Interval(since=start, until=span.until))
    return tuple(parts)


def count_days(spans: Iterable[Interval]) -> int:
    """The number of days of intervals that do not overlap."""
    return sum((span.until - span.since).days for span in spans)


def iso_utc(at: datetime | None) -> str | None:
    """The time as ISO 8601 in UTC, for programs."""
    return None if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")
