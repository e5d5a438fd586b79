"""The profile of a number or integer column, from parts of its rows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from modelyard.domain.drift.block_effects import Integers, number_effects, number_shapes
from modelyard.domain.drift.profile import EDGES, NumberProfile
from modelyard.domain.drift.profiling.bins import Bins
from modelyard.domain.drift.profiling.calendar import Calendar
from modelyard.domain.drift.profiling.clocks import is_clock
from modelyard.domain.drift.profiling.parts import Collected
from modelyard.domain.drift.profiling.tally import Tally
from modelyard.domain.drift.season.column_seasons import find_season
from modelyard.domain.drift.season.weeks import YearRows
from modelyard.domain.specs.column_values import Array, Floats, read_column
from modelyard.domain.specs.contract import Column

_TAIL = 0.001  # of the values at each end is winsorised
_DIGITS = 5  # of the interquartile range: more digits than a quantile has, fewer than a float's 17
_NORMAL_IQR = 1.349  # interquartile range of a normal distribution with standard deviation 1


@dataclass(frozen=True, kw_only=True)
class _Shape:
    known: int
    minimum: float | None
    maximum: float | None
    scale: float
    edges: Floats


class NumberRows:
    """Collects a column in three passes: its range in each block, its quantiles, its counts.

    The quantiles are exact, and need all values of this one column at a time.
    """

    def __init__(self, column: Column, calendar: Calendar) -> None:
        self.column = column
        self._calendar = calendar
        height = calendar.blocks
        # -1, cut off, is the last place.
        self._low, self._high = np.full(height + 1, np.inf), np.full(height + 1, -np.inf)
        self._outside = np.zeros(height, dtype=np.int64)
        self._collected: Collected[np.float64] | None = None

    def add_range(self, values: Array, blocks: Integers) -> None:
        """The first pass, with the block of each row."""
        numbers = self._read(values)
        if len(blocks) and (blocks == blocks[0]).all():  # as most parts of rows by time are
            own = blocks[0]
            self._low[own] = np.fmin(self._low[own], np.fmin.reduce(numbers))
            self._high[own] = np.fmax(self._high[own], np.fmax.reduce(numbers))
            return
        known = ~np.isnan(numbers)
        np.minimum.at(self._low, blocks[known], numbers[known])
        np.maximum.at(self._high, blocks[known], numbers[known])

    def collect(self, values: Array) -> None:
        """The second pass, all values of which are in memory until `read_shape`."""
        if self._collected is None:
            self._collected = Collected(self._calendar.rows, np.float64)
        numbers = self._read(values)
        self._collected.add(numbers[~np.isnan(numbers)])

    def read_shape(self) -> None:
        """Read the quantiles of the values that were collected."""
        collected = self._collected or Collected(0, np.float64)
        self._collected = None
        known = collected.in_order()
        self._shape = _Shape(
            known=len(known),
            minimum=float(known[0]) if len(known) else None,
            maximum=float(known[-1]) if len(known) else None,
            edges=_edges(known),
            scale=_take_scale(known),
        )
        self._bins = Bins(self._shape.edges)
        self._tally = Tally(len(self._shape.edges) + 1, self._calendar)
        self._rest = _ranges_of_rest(self._low, self._high)

    def add_counts(self, values: Array, blocks: Integers, year: YearRows | None) -> None:
        """The third pass."""
        numbers = self._read(values)
        places = self._bins.places(numbers)
        self._tally.add(np.where(np.isnan(numbers), -1, places), blocks, year)
        low, high = self._rest
        outside = (numbers < low[blocks]) | (numbers > high[blocks])
        if outside.any():
            self._outside += np.bincount(blocks[outside], minlength=len(self._outside))

    def profile(self) -> NumberProfile:
        """The profile of all rows."""
        shape, rows = self._shape, self._tally.rows()
        edges, scale = shape.edges, shape.scale
        effects = number_effects(rows, self._outside, edges, scale)
        season = find_season(
            self._tally.season(), effects, lambda pairs: number_shapes(pairs, edges, scale)
        )
        return NumberProfile(
            name=self.column.name,
            type=self.column.type,
            rows=rows.rows,
            nulls=rows.rows - shape.known,
            minimum=shape.minimum,
            maximum=shape.maximum,
            scale=scale,
            edges=tuple(edges.tolist()),
            counts=tuple(rows.total.tolist()),
            effects=effects,
            season=season,
            is_clock=is_clock(
                self._low[:-1],
                self._high[:-1],
                self._calendar.block_days,
                is_seasonal=season is not None,
            ),
        )

    def _read(self, values: Array) -> Floats:
        return read_column(self.column.type, values).values


def _ranges_of_rest(low: Floats, high: Floats) -> tuple[Floats, Floats]:
    """For each block the range of all other rows, without end where there are none; -1 has none."""
    height = len(low) - 1
    least, most = np.full(height + 1, -np.inf), np.full(height + 1, np.inf)
    for block in range(height):
        rest_low, rest_high = np.delete(low, block).min(), np.delete(high, block).max()
        if rest_low <= rest_high:
            least[block], most[block] = rest_low, rest_high
    return least, most


def _edges(known: Floats) -> Floats:
    if not len(known):
        return np.zeros(0)
    shares = np.concatenate([[_TAIL], np.linspace(0.005, 0.995, EDGES - 2), [1 - _TAIL]])
    quantiles = _quantiles(known, shares)
    lower, upper = _quantiles(known, [0.25, 0.75]).tolist()
    # Rounding keeps the stored profile small; see `_DIGITS`.
    spread = upper - lower or float(quantiles[-1]) - float(quantiles[0])
    if not 0 < spread < np.inf:
        return np.unique(quantiles)
    digits = int(_DIGITS - np.floor(np.log10(spread)))
    return np.unique([round(float(quantile), digits) for quantile in quantiles])


def _quantiles(known: Floats, shares: npt.ArrayLike) -> Floats:
    """Quantiles of sorted values that are values: interpolated ones would lie between integers."""
    # As numpy's `inverted_cdf`, which would sort again what is sorted.
    places = np.ceil(len(known) * np.asarray(shares) - 1).astype(np.int64)
    found: Floats = known[np.clip(places, 0, len(known) - 1)]
    return found


def _take_scale(known: Floats) -> float:
    """The scale of sorted values, which are of no further use."""
    if not len(known):
        return 0.0
    shares = [_TAIL, 0.25, 0.75, 1 - _TAIL]
    low, lower, upper, high = _quantiles(known, shares).tolist()
    with np.errstate(over="ignore", invalid="ignore"):  # a spread beyond float64 has no scale
        scale = (upper - lower) / _NORMAL_IQR
        if not scale:
            # As `np.std`, which would need the values twice more.
            np.clip(known, low, high, out=known)
            known -= known.sum() / len(known)
            np.multiply(known, known, out=known)
            scale = math.sqrt(known.sum() / len(known))
    return scale if np.isfinite(scale) else 0.0
