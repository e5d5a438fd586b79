"""How near the values of a window are to a reference, as they are or with a fault undone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from modelyard.domain.drift.effect_sizes import ks_distance, wasserstein_distance
from modelyard.domain.drift.floors import FLOORS
from modelyard.domain.drift.profile import NumberProfile
from modelyard.domain.specs.column_values import Floats

NEAR = 0.06
"""Greatest distance from the reference of a window whose fault is undone."""

BLOCK_FACTOR = 1.25  # as for the floors of drift

_LARGEST_NEAR = 0.2
_TIMES_OF_BLOCKS = 1.3
"""The same where values and reference hardly overlap, and blocks of training differ much too."""

APART = 0.8
_LEAST_SPREAD = 0.15  # of the interquartile range of the reference

_MOST = float(np.finfo(np.float64).max) / 2  # a hair beyond it is a number still
_TIMES_NEARER = 3.0
"""How many times nearer a window must come by undoing the fault."""


def shape_distance(column: NumberProfile, values: Floats) -> float:
    """The Kolmogorov-Smirnov distance of values from the reference."""
    return ks_distance(np.append(0, np.array(column.counts)), _bins(column, values))


def _bins(column: NumberProfile, values: Floats) -> npt.NDArray[np.int64]:
    values = np.clip(values, -_MOST, _MOST)
    # A hair to the left: undoing a conversion moves values off the edges that they were on.
    hair = 1e-9 * np.maximum(np.abs(values), column.scale)
    bins = 1 + np.searchsorted(np.array(column.edges), values - hair, side="left")
    # What is below the range is like no row, as what is above it is, which has a bin of its own.
    bins[values + hair < (column.minimum or 0.0)] = 0
    return np.bincount(bins, minlength=1 + len(column.counts))


def mean_move(column: NumberProfile, values: Floats) -> float:
    """How far the values are from the reference on average, in units of its scale."""
    below, *bins = _bins(column, values).tolist()
    window = np.array([below + bins[0], *bins[1:]])
    return wasserstein_distance(
        np.array(column.counts), window, np.array(column.edges), column.scale
    )


def largest_of_blocks(column: NumberProfile, measure: str) -> float:
    """The largest effect of a block of training: what the calendar does to a column."""
    calendar = column.effects.get(measure)
    return calendar.largest if calendar else 0.0


def relative_spread(column: NumberProfile, values: Floats) -> float:
    """The interquartile range of values in units of the reference's; 1 where that is 0."""
    edges, rows = np.array(column.edges), np.cumsum(column.counts)
    places = np.searchsorted(rows, [rows[-1] / 4, rows[-1] * 3 / 4])
    lower, upper = edges[np.minimum(places, len(edges) - 1)].tolist()
    low, high = np.quantile(values, [0.25, 0.75]).tolist()
    return (high - low) / (upper - lower) if upper > lower else 1.0


def is_like_a_block(column: NumberProfile, apart: float, after: float, undone: Floats) -> bool:
    """Whether values that hardly overlapped the reference are as near as the blocks of training.

    Args:
        column: The reference.
        apart: The distance, or the share of values outside the range, before the fault is undone.
        after: The distance after.
        undone: The values after.
    """
    if apart < max(APART, _TIMES_OF_BLOCKS * after):
        return False
    moved = max(FLOORS["W1"], BLOCK_FACTOR * largest_of_blocks(column, "W1"))
    usual = BLOCK_FACTOR * largest_of_blocks(column, "KS D")
    if after > usual or mean_move(column, undone) > moved:
        return False
    # A large factor brings all values to one, which some block is near; but no week is one value.
    return relative_spread(column, undone) >= _LEAST_SPREAD


def distance_apart(column: NumberProfile, values: Floats, distance: float) -> float:
    """How little values overlap the reference: their distance, or their share beyond its range."""
    # Values on both sides of the reference are no further from it than half of them.
    outside = (values < (column.minimum or 0.0)) | (values > (column.maximum or 0.0))
    return max(distance, float(outside.mean()))


def is_explained(column: NumberProfile, before: float, after: float, *, near: float = NEAR) -> bool:
    """Whether a window is as near as blocks of training, and was not before the fault is undone."""
    usual = min(_LARGEST_NEAR, BLOCK_FACTOR * largest_of_blocks(column, "KS D"))
    return after <= max(near, usual) and before >= _TIMES_NEARER * after
