"""Releases to production and rollbacks by month or day, as columns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from modelyard.domain.promotion.dora import find_retirements
from modelyard.domain.promotion.timeline import Event, Kind

WIDTH = 960
_LEFT, _RIGHT, _BOTTOM, _TALL = 60.0, 950.0, 130.0, 110.0
_DAYS = 45  # a longer story is told by month
MOST_COLUMNS = 36


@dataclass(frozen=True, kw_only=True)
class Column:
    """What happened in one month or day.

    Args:
        label: The month or day.
        releases: Releases to production.
        rollbacks: Rollbacks in production and in what joins it.
        x: Its left edge.
        width: Of each of its two bars.
        released: Height of the bar of releases.
        rolled_back: Height of the bar of rollbacks.
    """

    label: str
    releases: int
    rollbacks: int
    x: float
    width: float
    released: float
    rolled_back: float


@dataclass(frozen=True, kw_only=True)
class DeliveriesPicture:
    """The picture, in pixels."""

    bottom: float
    columns: tuple[Column, ...]


def draw_deliveries(
    events: Iterable[Event], *, production: str, joined: Iterable[str]
) -> DeliveriesPicture | None:
    """The newest months or days with a release or a rollback; None without any."""
    events, facing = tuple(events), {production, *joined}
    out = [e for e in events if e.kind is Kind.RELEASE and e.environment == production]
    retired = find_retirements(events)
    there = [e for e in events if e.kind is Kind.ROLLBACK and e.environment in facing]
    back = [e for e in there if e not in retired]
    times = [event.at for event in (*out, *back)]
    if not times:
        return None
    form = "%Y-%m-%d" if (max(times) - min(times)).days < _DAYS else "%Y-%m"
    labels = sorted({_label(at, form) for at in times})[-MOST_COLUMNS:]
    counts = [
        (
            label,
            sum(_label(e.at, form) == label for e in out),
            sum(_label(e.at, form) == label for e in back),
        )
        for label in labels
    ]
    most = max(max(released, rolled) for _, released, rolled in counts)
    step = min((_RIGHT - _LEFT) / len(counts), 90.0)
    return DeliveriesPicture(
        bottom=_BOTTOM,
        columns=tuple(
            Column(
                label=label,
                releases=released,
                rollbacks=rolled,
                x=round(_LEFT + number * step, 1),
                width=round(step * 0.35, 1),
                released=round(_TALL * released / most, 1),
                rolled_back=round(_TALL * rolled / most, 1),
            )
            for number, (label, released, rolled) in enumerate(counts)
        ),
    )


def _label(at: datetime, form: str) -> str:
    return f"{at.astimezone(UTC):{form}}"
