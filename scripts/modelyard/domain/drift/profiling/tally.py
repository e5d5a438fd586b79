"""Counts the rows of a column by bin or level, in each block and week; parts add up."""

from __future__ import annotations

import numpy as np

from modelyard.domain.drift.block_effects import BlockRows, Integers
from modelyard.domain.drift.effect_sizes import Counts
from modelyard.domain.drift.profiling.calendar import Calendar
from modelyard.domain.drift.season.column_seasons import SeasonRows
from modelyard.domain.drift.season.weeks import WEEKS, YearRows


class Tally:
    """The rows of a column by bin or level.

    Args:
        width: The number of bins or levels.
        calendar: The calendar of all rows.
    """

    def __init__(self, width: int, calendar: Calendar) -> None:
        self._calendar = calendar
        self._total = np.zeros(width, dtype=np.int64)
        self._blocks = np.zeros((calendar.blocks, width), dtype=np.int64)
        self._timeless = np.zeros((calendar.blocks, width), dtype=np.int64)
        self._weeks = np.zeros((WEEKS, width), dtype=np.int64)
        self._before_last = np.zeros((1, width), dtype=np.int64)

    def add(self, bins: Integers, blocks: Integers, year: YearRows | None) -> None:
        """Add rows by their bins, -1 without a value, and where they are in the calendar."""
        self._total += np.bincount(bins[bins >= 0], minlength=len(self._total))
        _add(self._blocks, bins, blocks)
        if year is not None:
            _add(self._weeks, bins, year.weeks)
            _add(self._before_last, bins, np.where(year.before_last, 0, -1))
            if len(lost := np.flatnonzero(year.blocks != blocks)):
                _add(self._timeless, bins[lost], blocks[lost])

    def rows(self) -> BlockRows:
        """The rows of each block."""
        return BlockRows(
            rows=self._calendar.rows,
            total=self._total,
            blocks=self._blocks,
            block_rows=self._calendar.block_rows,
        )

    def season(self) -> SeasonRows | None:
        """The rows of each week, if a year is known."""
        year = self._calendar.year
        if year is None:
            return None
        return SeasonRows(
            near=year.near,
            weeks=self._weeks,
            blocks=(self._blocks - self._timeless)[: len(year.near)],
            before_last=self._before_last[0],
        )


def _add(counts: Counts, bins: Integers, groups: Integers) -> None:
    """Add rows to the counts of their group and bin; none without a bin or group, -1."""
    kept = (bins >= 0) & (groups >= 0)
    bins, groups = bins[kept], groups[kept]
    if not len(groups):
        return
    # Rows of one part are of few blocks.
    first, width = int(groups.min()), counts.shape[1]
    height = int(groups.max()) + 1 - first
    found = np.bincount((groups - first) * width + bins, minlength=height * width)
    counts[first : first + height] += found.reshape(height, width)
