"""Reads the habits of training data from parts of its rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from modelyard.domain.drift.profiling.calendar import Calendar
from modelyard.domain.drift.profiling.parts import Collected, Part, ReadParts
from modelyard.domain.drift.row_keys import Keys
from modelyard.domain.drift.second_look.chosen_rows import (
    MOST_ROWS,
    Places,
    content_keys,
    is_chosen,
)
from modelyard.domain.drift.second_look.habits import (
    LEAST_BLOCKS,
    Habit,
    Key,
    find_habits,
    measure_habits,
    number_columns,
)
from modelyard.domain.specs.column_values import Array, Floats
from modelyard.domain.specs.contract import Column


class _Block:
    """The chosen rows of a block, until all of it was read."""

    def __init__(self) -> None:
        self.rows = 0
        self._parts: list[tuple[Keys, Array, list[Floats]]] = []

    def add(self, places: Keys, times: Array, numbers: Iterable[Floats]) -> None:
        self._parts.append((places, times, list(numbers)))

    def measure(self, names: Sequence[str]) -> dict[Key, Floats]:
        # In an order of their own: sums of floats depend on it.
        order = np.argsort(np.concatenate([places for places, _, _ in self._parts]), kind="stable")
        times = np.concatenate([times for _, times, _ in self._parts])[order]
        numbers = {
            name: np.concatenate([values[n] for _, _, values in self._parts])[order]
            for n, name in enumerate(names)
        }
        self._parts = []
        return measure_habits(numbers, times)


def read_habits(
    read: ReadParts, columns: Sequence[Column], calendar: Calendar
) -> tuple[Habit, ...]:
    """The habits of training data whose rows have times; none with few blocks."""
    if calendar.blocks < LEAST_BLOCKS:
        return ()
    names = [column.name for column in columns if column.type in {"number", "integer"}]
    places = Places(_sorted_keys(read, columns, names, calendar))
    blocks = [_Block() for _ in range(calendar.blocks)]
    measured: dict[int, dict[Key, Floats]] = {}
    for part in read(names):
        numbers, times = number_columns(part.table, columns), _times_of(part)
        own, found = places.of(content_keys(numbers, times)), calendar.blocks_of(part)
        for number in np.unique(found[found >= 0]).tolist():
            rows, block = np.flatnonzero(found == number), blocks[number]
            block.rows += len(rows)
            rows = rows[is_chosen(own[rows], int(calendar.block_rows[number]))]
            block.add(own[rows], times[rows], (values[rows] for values in numbers.values()))
            if block.rows == calendar.block_rows[number]:
                measured[number] = block.measure(names)
    return find_habits([measured[number] for number in range(calendar.blocks)])


def _sorted_keys(
    read: ReadParts, columns: Sequence[Column], names: Sequence[str], calendar: Calendar
) -> Keys:
    """The keys of all rows in whole blocks, in ascending order."""
    if calendar.block_rows.max() <= MOST_ROWS:  # all are looked at
        return np.zeros(0, dtype=np.uint64)
    keys = Collected(calendar.rows, np.uint64)
    for part in read(names):
        keys.add(content_keys(number_columns(part.table, columns), _times_of(part)))
    return keys.in_order()


def _times_of(part: Part) -> Array:
    if part.times is None:
        raise ValueError("rows without times have no habits")
    return part.times.astype("datetime64[us]")
