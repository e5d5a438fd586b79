"""The seasons of a column: its counts by week of the year, and what blocks do in their seasons."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from modelyard.domain.drift.block_effects import BlockEffects
from modelyard.domain.drift.effect_sizes import Counts
from modelyard.domain.drift.floors import drift_floor
from modelyard.domain.drift.season.weeks import Booleans

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


@dataclass(frozen=True, kw_only=True)
class SeasonRows:
    """The rows of a column by bin or level, where a year is known.

    Args:
        near: Shape (blocks, WEEKS), whether a week is in the season of a block.
        weeks: Shape (WEEKS, bins), the rows of each week.
        blocks: Shape (blocks, bins), the rows of each block that have a time.
        before_last: Shape (bins,), the rows of the season of the last block, a year before it.
    """

    near: Booleans
    weeks: Counts
    blocks: Counts
    before_last: Counts


def find_season(
    rows: SeasonRows | None, effects: Mapping[str, BlockEffects], summarize: Summaries
) -> Season | None:
    """The seasons of a column; None if no year is known or the column does not follow it.

    Args:
        rows: The rows by week and block.
        effects: The effects of each block against all other rows.
        summarize: The effects by measure from pairs of other rows and a block's rows.
    """
    if rows is None or not len(rows.near):
        return None
    weeks, blocks, earlier = rows.weeks, rows.blocks, rows.before_last
    rest = rows.near.astype(weeks.dtype) @ weeks - blocks
    found = summarize(list(zip(rest, blocks, strict=True)))
    ratios = [drift_floor(name, found) / drift_floor(name, effects) for name in found]
    if not ratios or min(ratios) > _LOWER or max(ratios) >= _HIGHER:
        return None
    # Where the last block is not as its season before, a new regime has begun: all rows know it.
    last = summarize([(earlier, blocks[-1])])
    if not earlier.any() or any(last[name].largest >= drift_floor(name, found) for name in last):
        return None
    return Season(counts=tuple(map(tuple, weeks.tolist())), effects=found)
