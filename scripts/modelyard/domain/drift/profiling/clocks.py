"""Whether a number column tells the time: it moves as blocks do, or is the year of a row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from modelyard.domain.drift.block_effects import Integers
from modelyard.domain.drift.second_look.habits import LEAST_BLOCKS
from modelyard.domain.specs.column_values import Floats

_CLOCK = 0.9  # of the blocks are beyond the one before: a counter may start again now and then
_LEAST_STEPS = LEAST_BLOCKS - 1
_SURE = 3  # different years, months or quarters: a column follows them by chance no more


@dataclass(frozen=True, kw_only=True)
class BlockDays:
    """The days of blocks.

    Args:
        blocks: Shape (days,), the number of a block; -1 for one that is cut off.
        days: Shape (days,), one of its days, counted from 1970; each once.
    """

    blocks: Integers
    days: Integers

    def whole(self) -> BlockDays:
        """Those of whole blocks."""
        return BlockDays(blocks=self.blocks[self.blocks >= 0], days=self.days[self.blocks >= 0])


def is_clock(low: Floats, high: Floats, days: BlockDays | None, *, is_seasonal: bool) -> bool:
    """Whether the values of blocks move as time does, so that they say nothing else.

    - The values of nearly each block are beyond those of the block before.
    - The column never goes back and has risen, or fallen, often, as a month's number does.
    - It is the year, the quarter or the month of its rows, whatever it is counted from. One that is
      the same in all blocks is only where it is the year as it is written.

    A column that comes back with the seasons of a known year is compared with those instead.

    Args:
        low: Shape (blocks,), the least value of each; infinite without one.
        high: Shape (blocks,), the greatest.
        days: The days of the blocks; None without times.
        is_seasonal: Whether the column follows a known year.
    """
    known = low <= high
    if np.count_nonzero(known) < LEAST_BLOCKS:
        return False
    one, other = low[known], high[known]
    if _moves_on(one, other) or _moves_on(-other, -one):
        return True
    if is_seasonal:
        return False
    if _never_goes_back(one, other) or _never_goes_back(-other, -one):
        return True
    return days is not None and any(
        _is_field(low, high, known, days.blocks, field, is_year=is_year)
        for field, is_year in _fields(days.days)
    )


def _moves_on(low: Floats, high: Floats) -> bool:
    return bool(((low[1:] >= high[:-1]) & (high[1:] > high[:-1])).mean() >= _CLOCK)


def _never_goes_back(low: Floats, high: Floats) -> bool:
    """Whether the column has many steps up, and hardly any down."""
    # Of a rare event the greatest value rises and falls: only a least value that rises is a step.
    steps = np.count_nonzero((low[1:] >= high[:-1]) & (low[1:] > low[:-1]))
    back = np.count_nonzero(low[1:] < high[:-1])
    return bool(steps >= max(_LEAST_STEPS, _CLOCK * (steps + back)))


def _fields(days: Integers) -> Iterator[tuple[Integers, bool]]:
    """The numbers of the calendar that stay the same in many blocks, and which one is the year."""
    dates = days.astype("datetime64[D]")
    months = dates.astype("datetime64[M]").astype(np.int64)
    yield dates.astype("datetime64[Y]").astype(np.int64) + 1970, True
    yield months % 12 + 1, False
    yield months % 12 // 3 + 1, False
    yield months, False


def _is_field(
    low: Floats,
    high: Floats,
    known: np.ndarray,
    blocks: Integers,
    field: Integers,
    *,
    is_year: bool,
) -> bool:
    least, most = np.full(len(low), np.inf), np.full(len(low), -np.inf)
    np.minimum.at(least, blocks, field)
    np.maximum.at(most, blocks, field)
    known = known & (least <= most)
    if not known.any():
        return False
    apart = float(np.median(low[known] - least[known]))
    if len(np.unique(field)) < _SURE and not (is_year and apart == 0):
        return False
    same = (low[known] - least[known] == apart) & (high[known] - most[known] == apart)
    return bool(same.mean() >= _CLOCK)
