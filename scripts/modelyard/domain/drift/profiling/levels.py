"""The profile of a category or boolean column, from parts of its rows."""

from __future__ import annotations

import numpy as np

from modelyard.domain.drift.block_effects import Integers, level_effects, level_shapes
from modelyard.domain.drift.profile import LISTED, LevelProfile
from modelyard.domain.drift.profiling.calendar import Calendar
from modelyard.domain.drift.profiling.tally import Tally
from modelyard.domain.drift.season.column_seasons import find_season
from modelyard.domain.drift.season.weeks import YearRows
from modelyard.domain.specs.column_values import Array, CodedValues, name_truths
from modelyard.domain.specs.contract import Column


class _LevelCodes(dict[object, int]):
    """A number for each level, in the order in which they are met; -1 for all that is no text."""

    def __missing__(self, value: object) -> int:
        if not isinstance(value, str):
            return -1
        self[str(value)] = code = len(self)
        return code


class LevelRows:
    """Collects a column in two passes: its levels, then their rows in each block and week.

    The different levels are in memory.
    """

    def __init__(self, column: Column, calendar: Calendar) -> None:
        self.column = column
        self._calendar = calendar
        self._codes = _LevelCodes()
        self._counts, self._first, self._last = (np.zeros(0, dtype=np.int64) for _ in range(3))
        self._unlisted = np.zeros(calendar.blocks, dtype=np.int64)

    def add_levels(self, values: Array | CodedValues, blocks: Integers) -> None:
        """The first pass, with the block of each row."""
        codes = self._code(values)
        known = codes >= 0
        codes, blocks, more = codes[known], blocks[known], len(self._codes) - len(self._counts)
        self._counts = np.pad(self._counts, (0, more))
        self._first = np.pad(self._first, (0, more), constant_values=self._calendar.blocks)
        self._last = np.pad(self._last, (0, more), constant_values=-2)
        self._counts += np.bincount(codes, minlength=len(self._counts))
        np.minimum.at(self._first, codes, blocks)
        np.maximum.at(self._last, codes, blocks)

    def read_shape(self) -> None:
        """Number the levels, most frequent first, ties by name."""
        names = [str(level) for level in self._codes]
        order = sorted(range(len(names)), key=lambda code: (-int(self._counts[code]), names[code]))
        ranks = np.full(len(names) + 1, -1)  # the last place is of -1, no level
        ranks[order] = np.arange(len(names))
        self._listed = {names[code]: int(self._counts[code]) for code in order[:LISTED]}
        # A level with the same first and last block exists in that block alone.
        alone = np.append(self._first == self._last, False)
        self._is_unlisted = alone | (ranks >= len(self._listed))
        self._bins = np.minimum(ranks, len(self._listed))
        self._tally = Tally(len(self._listed) + 1, self._calendar)

    def add_counts(
        self, values: Array | CodedValues, blocks: Integers, year: YearRows | None
    ) -> None:
        """The second pass."""
        codes = self._code(values)
        self._tally.add(self._bins[codes], blocks, year)
        own = self._is_unlisted[codes] & (codes >= 0) & (blocks >= 0)
        self._unlisted += np.bincount(blocks[own], minlength=len(self._unlisted))

    def profile(self) -> LevelProfile:
        """The profile of all rows."""
        rows, known = self._tally.rows(), int(self._counts.sum())
        effects = level_effects(rows, self._unlisted)
        return LevelProfile(
            name=self.column.name,
            type=self.column.type,
            rows=rows.rows,
            nulls=rows.rows - known,
            counts=self._listed,
            other=known - sum(self._listed.values()),
            singles=sum(rows == 1 for rows in self._listed.values()),
            effects=effects,
            season=find_season(self._tally.season(), effects, level_shapes),
        )

    def _code(self, values: Array | CodedValues) -> Integers:
        """The number of each row's level; -1 without a level."""
        if isinstance(values, CodedValues):
            return values.map_values(self._codes.__getitem__)
        listed = (values if self.column.type == "category" else name_truths(values)).tolist()
        try:
            return np.fromiter(map(self._codes.__getitem__, listed), np.int64, count=len(listed))
        except TypeError:  # lists and dicts are not hashable
            plain = (value if isinstance(value, str) else None for value in listed)
            return np.fromiter(map(self._codes.__getitem__, plain), np.int64, count=len(listed))
