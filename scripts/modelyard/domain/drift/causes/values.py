"""Whether one value stands in place of those of training: a sentinel, or a sensor that is stuck."""

from __future__ import annotations

import numpy as np

from modelyard.domain.drift.causes.nearness import is_explained, shape_distance
from modelyard.domain.drift.profile import NumberProfile
from modelyard.domain.specs.column_values import Floats

_SENTINELS = frozenset(
    {
        *(-99999.0, -9999.0, -999.0, -99.0, -9.0, -1.0, 0.0),
        *(99.0, 999.0, 9999.0, 99999.0, 999999.0),
        *(-32768.0, 32767.0, 65535.0, -2147483648.0, 2147483647.0),
    }
)
_LEAST_SENTINELS = 0.003  # of the rows of a window, beyond the reference's share
_LEAST_STRAYS = 10  # rows with one value beyond the limits that is known to be no sentinel
_STUCK = 0.9
_LEAST_STUCK = 0.75  # of the rows that had other values in training


def find_sentinel(column: NumberProfile, values: Floats, *, stuck: float) -> str | None:
    """That one value is far more frequent than in training, and is one that stands for another.

    Args:
        column: The reference.
        values: The window.
        stuck: The share of its most frequent value from which on a block is unlike the others.
    """
    levels, counts = np.unique(values, return_counts=True)
    top = int(np.argmax(counts))
    level, share = float(levels[top]), counts[top] / len(values)
    low, high = column.minimum or 0.0, column.maximum or 0.0
    usual = _share_at(column, level) if low <= level <= high else 0.0
    if {level, *column.edges} <= {low, high}:
        # Of two values, such as 0 and 1, one becomes more frequent without being stuck.
        is_stuck = share == 1 and usual < _STUCK
    else:
        # Most hours are dry, and a month is one number: only what training never had is stuck.
        is_stuck = share >= max(_STUCK, stuck, usual + _LEAST_STUCK * (1 - usual))
    if is_stuck and column.scale > 0:
        return f"{share:.0%} of the values are {level:g}: looks stuck"
    for level, count in zip(levels.tolist(), counts.tolist(), strict=True):
        inside = low <= level <= high
        usual = _share_at(column, level) if inside else 0.0
        far = max(low - level, level - high) > high - low > 0
        # What all rows have is the column in another unit, or stuck.
        stands = level in _SENTINELS or (far and 2 * count < len(values))
        if stands and count / len(values) - usual >= max(_LEAST_SENTINELS, usual):
            rest = values[values != level]
            before, after = shape_distance(column, values), shape_distance(column, rest)
            beyond = np.count_nonzero((rest < low) | (rest > high))
            alone = not inside and beyond < count
            if alone or (inside and len(rest) and is_explained(column, before, after)):
                return _describe_sentinel(level, count / len(values))
    return None


def find_stray_sentinel(outside: Floats, *, of: int) -> str | None:
    """That what the contract does not allow is one value, which no measurement is.

    Args:
        outside: The values outside the contract's limits.
        of: The number of all values.
    """
    levels, counts = np.unique(outside, return_counts=True)
    level, count = float(levels[np.argmax(counts)]), int(counts.max())
    if level not in _SENTINELS and not _LEAST_STRAYS <= count < of / 2:
        return None
    if count < _STUCK * len(outside):
        return None
    return _describe_sentinel(level, count / of)


def _describe_sentinel(level: float, share: float) -> str:
    return f"{share:.1%} of the values are {level:g}: looks like a sentinel"


def _share_at(column: NumberProfile, level: float) -> float:
    """At most the share of the reference at this very value: that of its bin."""
    place = int(np.searchsorted(np.array(column.edges), level, side="left"))
    return column.counts[place] / column.known
