"""Which rows a new model holds out: the last days, or every k-th row where there is no time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from modelyard.domain.specs.interval import Interval

_PART = 5
_DAYS = 21
_LEAST_DAYS = 3
_FEW_ROWS = 300
_ORDINALS = {3: "every-third", 5: "every-fifth"}


@dataclass(frozen=True, kw_only=True)
class DaySplit:
    """The days that train, and the later ones that are held out."""

    training: Interval
    held_out: Interval


def split_days(rows: Mapping[date, int]) -> DaySplit | None:
    """The last fifth of the days with rows is held out, three weeks if there are enough.

    Three weeks, because the gate asks for twenty clusters and days are often the clusters. None if
    there are too few days.
    """
    days = sorted(rows)
    if len(days) < _LEAST_DAYS or days[-1] >= date.max:
        return None
    most = len(days) // 3
    first = days[-max(1, min(max(len(days) // _PART, _DAYS), most))]
    end = days[-1] + timedelta(days=1)
    return DaySplit(
        training=Interval(since=days[0], until=first), held_out=Interval(since=first, until=end)
    )


def every_how_many(rows: int) -> int:
    """Of how many rows or clusters one is held out: more of a small table."""
    return 3 if rows < _FEW_ROWS else 5


def name_of_split(each: int) -> str:
    """The name of a held-out set of every k-th row."""
    return _ORDINALS[each]


def held_out_rows(clusters: Sequence[object] | None, *, rows: int, each: int) -> list[bool]:
    """Which rows are held out: every k-th, or all rows of every k-th cluster.

    Args:
        clusters: The cluster of each row; None if all rows are independent.
        rows: The number of rows.
        each: Of how many one is held out.
    """
    if clusters is None:
        return [number % each == each - 1 for number in range(rows)]
    numbers: dict[object, int] = {}
    found = (numbers.setdefault(cluster, len(numbers)) for cluster in clusters)
    return [number % each == each - 1 for number in found]
