"""The gate's intervals against the margin, as a forest plot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from modelyard.domain.pictures.scale import Tick, scale_around
from modelyard.domain.specs.record import HeldOutResult, Record
from modelyard.domain.verdict import BASELINE, Verdict

WIDTH = 960
_LEFT, _RIGHT, _TOP, _ROW = 260.0, 840.0, 12.0, 26.0
_NEEDED = ("difference", "interval_low", "interval_high")


@dataclass(frozen=True, kw_only=True)
class Interval:
    """One comparison on one held-out set: positive is better.

    Args:
        label: The version and the held-out set.
        verdict: The comparison's verdict.
        margin: How much worse counts as not worse; None where none was recorded.
    """

    label: str
    verdict: Verdict
    margin: float | None

    @property
    def ends(self) -> tuple[float, float, float]:
        """The two-sided interval's low end, the difference, and the interval's high end."""
        numbers = self.verdict.numbers
        return numbers["interval_low"], numbers["difference"], numbers["interval_high"]


@dataclass(frozen=True, kw_only=True)
class ForestRow:
    """An interval, drawn."""

    interval: Interval
    y: float
    low: float
    at: float
    high: float
    margin: float | None
    kind: str


@dataclass(frozen=True, kw_only=True)
class ForestPicture:
    """The picture, in pixels."""

    height: float
    bottom: float
    zero: float
    rows: tuple[ForestRow, ...]
    ticks: tuple[Tick, ...]


def find_intervals(records: Iterable[Record], *, against_baseline: bool) -> tuple[Interval, ...]:
    """The comparisons with the champion, or with the best constant, that have an interval."""
    return tuple(_intervals(records, against_baseline=against_baseline))


def _intervals(records: Iterable[Record], *, against_baseline: bool) -> Iterator[Interval]:
    for record in records:
        for result in record.held_out:
            verdict = _comparison(result, against_baseline=against_baseline)
            if verdict is not None and all(name in verdict.numbers for name in _NEEDED):
                label = f"{record.version} {result.name}"
                margin = verdict.numbers.get("margin")
                yield Interval(label=label, verdict=verdict, margin=margin)


def _comparison(result: HeldOutResult, *, against_baseline: bool) -> Verdict | None:
    if result.against_baseline is None:  # version 0.1 kept the comparison that decided
        is_of_baseline = BASELINE in result.verdict.numbers or result.champion_scores is None
        return result.verdict if is_of_baseline is against_baseline else None
    return result.against_baseline if against_baseline else result.against_champion


def draw_forest(intervals: Iterable[Interval]) -> ForestPicture | None:
    """The picture of some intervals on one scale; None without any."""
    known = tuple(intervals)
    if not known:
        return None
    values = [value for each in known for value in each.ends]
    margins = [-each.margin for each in known if each.margin is not None]
    scale = scale_around([0.0, *values, *margins], _LEFT, _RIGHT)
    rows = []
    for number, each in enumerate(known):
        low, at, high = map(scale.place, each.ends)
        margin = None if each.margin is None else scale.place(-each.margin)
        kind = {"pass": "good", "fail": "bad"}.get(str(each.verdict.outcome), "warn")
        y = _TOP + _ROW * (number + 0.5)
        rows.append(
            ForestRow(interval=each, y=y, low=low, at=at, high=high, margin=margin, kind=kind)
        )
    bottom = _TOP + _ROW * len(rows)
    return ForestPicture(
        height=bottom + 28,
        bottom=bottom,
        zero=scale.place(0.0),
        rows=tuple(rows),
        ticks=scale.ticks(),
    )
