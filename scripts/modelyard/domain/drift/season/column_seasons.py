"""The seasons of a column: its counts by week of the year, and what blocks do in their seasons."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from modelyard.domain.drift.block_effects import BlockEffects, Integers, by_group
from modelyard.domain.drift.effect_sizes import Counts
from modelyard.domain.drift.floors import drift_floor
from modelyard.domain.drift.season.weeks import WEEKS, YearRows

# A column is compared with its season if that lowers a floor to this share and raises none by as
# much as this. A step within the year keeps half of its effect: on one side of it are neighbours.
_LOWER = 0.45
_HIGHER = 1.5

Summaries = Callable[[list[tuple[Counts, Counts]]], Mapping[str, BlockEffects]]


@dataclass(frozen=True, kw_only=True)
class Season:
    """What a column's windows are compared with instead of all rows.

    Args:
        counts: For each week of the year the rows by bin or listed level, unlisted ones last.
        effects: The effects of each block against the other rows of its season, by measure.
    """

    counts: tuple[tuple[int, ...], ...]
    effects: Mapping[str, BlockEffects]


def find_season(
    year: YearRows | None,
    bins: Integers,
    width: int,
    effects: Mapping[str, BlockEffects],
    summarize: Summaries,
) -> Season | None:
    """The seasons of a column; None if no year is known or the column does not follow it.

    Args:
        year: The rows by week and block.
        bins: Shape (rows,), the bin or level of each row; -1 for null.
        width: The number of bins.
        effects: The effects of each block against all other rows.
        summarize: The effects by measure from pairs of other rows and a block's rows.
    """
    if year is None or not len(year.near):
        return None
    weeks = by_group(bins, year.weeks, width, WEEKS)
    blocks = by_group(bins, year.blocks, width, len(year.near))
    rest = year.near.astype(weeks.dtype) @ weeks - blocks
    found = summarize(list(zip(rest, blocks, strict=True)))
    ratios = [drift_floor(name, found) / drift_floor(name, effects) for name in found]
    if not ratios or min(ratios) > _LOWER or max(ratios) >= _HIGHER:
        return None
    # Where the last block is not as its season before, a new regime has begun: all rows know it.
    earlier = by_group(bins, np.where(year.before_last, 0, -1), width, 1)[0]
    last = summarize([(earlier, blocks[-1])])
    if not earlier.any() or any(last[name].largest >= drift_floor(name, found) for name in last):
        return None
    return Season(counts=tuple(map(tuple, weeks.tolist())), effects=found)
