"""Whether rows of some levels are lost, or all rows have one."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

import numpy as np

from modelyard.domain.drift.effect_sizes import total_variation_distance
from modelyard.domain.drift.profile import LevelProfile

_STUCK = 0.9  # share of a level in training that nobody calls stuck
_LEAST_LEVEL = 0.02  # share of a level whose rows can be missing as a shard
_SAME_MIX = 0.03  # total variation of the other levels


def find_level_cause(
    column: LevelProfile, seen: Mapping[str, int], block_rows: Sequence[int]
) -> str | None:
    """That all rows have one level, or that one has none and the others the shares they had."""
    if len(seen) != 1:
        return _missing_shard(column, seen)
    [(level, rows)] = seen.items()
    before = column.counts.get(level, 0) / column.known
    if not 0 < before < _STUCK:
        return None
    # Without the shards of all other levels a window would have so many rows fewer.
    if block_rows and rows < statistics.median(block_rows) * math.sqrt(before):
        return _missing_shard(column, seen)
    return f"all values are {level!r}: looks stuck"


def _missing_shard(column: LevelProfile, seen: Mapping[str, int]) -> str | None:
    """That one level has no rows, and the others have the shares that they had."""
    gone = [
        level
        for level, rows in column.counts.items()
        if rows >= _LEAST_LEVEL * column.known and not seen.get(level)
    ]
    kept = [level for level in column.counts if level not in gone]
    if not gone or not kept or any(level not in column.counts for level in seen):
        return None
    reference = np.array([column.counts[level] for level in kept])
    window = np.array([seen.get(level, 0) for level in kept])
    if total_variation_distance(reference, window) > _SAME_MIX:
        return None
    named = ", ".join(repr(level) for level in gone[:3])
    return f"no row of {named}, the others as before: looks like missing shards"
