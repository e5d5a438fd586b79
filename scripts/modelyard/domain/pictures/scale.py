"""Scales of pictures: from a value or a time to a coordinate, with ticks at round places."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

MOST_TICKS = 7

_ROUND = (1.0, 2.0, 5.0, 10.0)
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_STEPS = (
    *(1, 2, 5, 10, 30, _MINUTE, 2 * _MINUTE, 5 * _MINUTE, 10 * _MINUTE, 30 * _MINUTE),
    *(_HOUR, 3 * _HOUR, 6 * _HOUR, 12 * _HOUR),
    *(_DAY, 2 * _DAY, 7 * _DAY, 14 * _DAY, 30 * _DAY, 90 * _DAY, 180 * _DAY, 365 * _DAY),
)


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A place on a scale with its label."""

    x: float
    label: str


@dataclass(frozen=True, kw_only=True)
class Scale:
    """A linear scale.

    Args:
        low: The value at `left`.
        high: The value at `right`; greater than `low`.
        left: A coordinate.
        right: A coordinate.
    """

    low: float
    high: float
    left: float
    right: float

    def place(self, value: float) -> float:
        """The coordinate of a value; one outside of the scale is at its end."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.left + min(max(share, 0.0), 1.0) * (self.right - self.left), 1)

    def ticks(self) -> tuple[Tick, ...]:
        """At most `MOST_TICKS` round values."""
        raw = (self.high - self.low) / MOST_TICKS
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(factor * power for factor in _ROUND if factor * power >= raw)
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        digits = max(0, -math.floor(math.log10(step)))
        return tuple(
            Tick(x=self.place(number * step), label=f"{number * step:.{digits}f}")
            for number in range(first, last + 1)
        )


def scale_around(values: Iterable[float], left: float, right: float) -> Scale:
    """A scale that holds all values, with a little room at both ends."""
    known = [value for value in values if math.isfinite(value)] or [0.0]
    low, high = min(known), max(known)
    room = 0.05 * (high - low) or max(abs(high), 1.0) * 0.05
    return Scale(low=low - room, high=high + room, left=left, right=right)


def time_ticks(scale: Scale) -> tuple[Tick, ...]:
    """Ticks of a scale of seconds since 1970 at round times, in UTC."""
    span = scale.high - scale.low
    step = next((step for step in _STEPS if span / step <= MOST_TICKS), _STEPS[-1])
    first = math.ceil(scale.low / step)
    ticks = []
    for number in range(first, math.floor(scale.high / step) + 1):
        seconds = number * step
        at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
        ticks.append(Tick(x=scale.place(seconds), label=f"{at:{_format_of(step)}}"))
    return tuple(ticks)


def _format_of(step: int) -> str:
    if step < _MINUTE:
        return "%H:%M:%S"
    return "%d %b %H:%M" if step < _DAY else "%d %b %Y"
