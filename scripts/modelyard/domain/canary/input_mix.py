"""Whether two releases get rows of the same kind: counts by cell of each input, and a distance."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from zlib import crc32

LEVEL_CELLS = 8
"""Levels of a category share so many cells, by a checksum: there may be thousands of levels."""

RANGE_CELLS = 10
"""Numbers with limits in the contract have so many equal cells between them."""

_STEPS = range(-8, 25)
SIZE_EDGES = (
    *sorted(-(10 ** (step / 4)) for step in _STEPS),
    *(10 ** (step / 4) for step in _STEPS),
)
"""Edges for other numbers, four to a power of ten. They need no training data, which two versions
do not share."""

NOTABLE_DISTANCE = 0.05
"""A distance that may move predictions, in rows that differ."""

ERRORS_BEYOND_CHANCE = 4.0
"""Standard errors from which a distance is not chance, with many inputs and many looks."""

_SEPARATOR = ":"


@dataclass(frozen=True, kw_only=True)
class InputDifference:
    """An input whose values differ between canary and stable.

    Args:
        column: The input.
        distance: Total variation distance of its cells, less what chance adds, 0 to 1.
    """

    column: str
    distance: float


def range_edges(low: float, high: float) -> tuple[float, ...]:
    """The edges of the cells of a number with these limits, which may be infinite."""
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        return SIZE_EDGES
    return tuple(low + (high - low) * step / RANGE_CELLS for step in range(1, RANGE_CELLS))


@lru_cache(maxsize=4096, typed=True)
def level_cell(level: Hashable) -> int:
    """The cell of a level."""
    return crc32(str(level).encode()) % LEVEL_CELLS


def number_cell(value: float, edges: tuple[float, ...]) -> int:
    """The cell of a number; a value on an edge belongs to the cell above it."""
    return bisect_right(edges, value)


def cell_name(column: str, cell: int) -> str:
    """The name of a cell in a server's metrics."""
    return f"{column}{_SEPARATOR}{cell}"


def input_differences(
    canary: Mapping[str, float], stable: Mapping[str, float], design_effect: float
) -> tuple[InputDifference, ...]:
    """The inputs that differ beyond chance and by a notable distance, the greatest first.

    Args:
        canary: The canary's rows by `cell_name`; empty if its servers do not count them.
        stable: Stable's.
        design_effect: How many correlated rows count as one.
    """
    mine, others = _by_column(canary), _by_column(stable)
    found = [
        InputDifference(column=column, distance=distance)
        for column in mine.keys() & others.keys()
        if (distance := _distance(mine[column], others[column], design_effect)) > NOTABLE_DISTANCE
    ]
    return tuple(sorted(found, key=lambda each: (-each.distance, each.column)))


def _by_column(cells: Mapping[str, float]) -> dict[str, dict[str, float]]:
    columns: dict[str, dict[str, float]] = defaultdict(dict)
    for name, count in cells.items():
        column, _, cell = name.rpartition(_SEPARATOR)
        columns[column][cell] = count
    return columns


def _distance(
    mine: Mapping[str, float], others: Mapping[str, float], design_effect: float
) -> float:
    """The distance less what chance adds to it; 0 if it may all be chance."""
    one, other = sum(mine.values()), sum(others.values())
    if not one or not other:
        return 0.0
    distance, expected, variance = 0.0, 0.0, 0.0
    size = design_effect * (1 / one + 1 / other)
    for cell in _cells(mine, others):
        here, there = mine.get(cell, 0.0), others.get(cell, 0.0)
        share = (here + there) / (one + other)
        spread = share * (1 - share) * size
        distance += abs(here / one - there / other) / 2
        # The absolute value of a normal difference has the mean sqrt(2/pi) of its spread.
        expected += math.sqrt(spread * 2 / math.pi) / 2
        variance += spread * (1 - 2 / math.pi) / 4
    beyond = distance - expected
    return beyond if beyond > ERRORS_BEYOND_CHANCE * math.sqrt(variance) else 0.0


def _cells(*arms: Iterable[str]) -> list[str]:
    return sorted({cell for arm in arms for cell in arm})
