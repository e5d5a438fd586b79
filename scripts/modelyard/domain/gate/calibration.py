"""Calibration: how far the chances that a model says are from the shares that come true."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from modelyard.domain.gate.inputs import Codes
from modelyard.domain.specs.column_values import Floats

USUAL_T = 1.645
"""Student's t at alpha 5 % and many degrees of freedom."""

BINS = 10
"""Equally full bins of a model's own predictions."""


@dataclass(frozen=True, kw_only=True)
class Miscalibration:
    """The calibration error of one model.

    Args:
        value: The mean over rows of the squared distance, in their bin, between the mean prediction
            and the share that came true. It has no bias, so it may be below 0.
        influence: Shape (n,): what each row adds to it, to first order; its mean is `value`.
        curvature: The largest variance of a bin's mean residual, and what moving the edges of bins
            by their standard errors changes, in units of `value`; see `paired._numbers`. 0 for
            metrics that are means.
    """

    value: float
    influence: Floats
    curvature: float = 0.0


def miscalibration(chances: Floats, happened: NDArray[np.bool_], codes: Codes) -> Miscalibration:
    """The reliability part of a Brier score (Murphy 1973), without the bias of few rows.

    In a bin with mean residual m the plain estimate m^2 is too large by the variance of m, which
    hides how much worse the worse of two models is. Here a row's residual is multiplied with the
    mean of its bin's rows of *other* clusters: clusters are independent, so the product has the
    mean m^2 (as Ferro and Fricker 2012 for independent rows). The estimate is a mean over pairs of
    rows, so to first order a row adds twice its product less the whole value.

    Args:
        chances: Shape (n, k): the predicted chance of each class, or of 1 with k = 1.
        happened: Shape (n, k): which class came true.
        codes: Shape (n,): the cluster of each row, from 0.
    """
    products, curvature = np.zeros(len(chances)), 0.0
    for column in range(chances.shape[1]):
        said = chances[:, column]
        more, curved = _products(said, said - happened[:, column], codes)
        curved += _change_by_edges(said, said - happened[:, column], codes)
        products, curvature = products + more, curvature + curved
    value = float(products.mean())
    return Miscalibration(value=value, influence=2 * products - value, curvature=curvature)


def _products(said: Floats, residuals: Floats, codes: Codes) -> tuple[Floats, float]:
    """Each row's residual by the mean one of its bin's rows of other clusters; 0 without such.

    Beside it the largest variance of a bin's mean residual, by clusters, times the bin's share.
    """
    bins = _bins(said)
    # Cells of cluster and bin that have rows: with one row a cluster there are as many as rows.
    cells, cell = np.unique(codes * BINS + bins, return_inverse=True)
    sums, rows = np.bincount(cell, residuals), np.bincount(cell)
    of_bin = cells % BINS
    bin_sums, bin_rows = np.bincount(of_bin, sums, BINS), np.bincount(of_bin, rows, BINS)
    others, other_rows = bin_sums[of_bin] - sums, bin_rows[of_bin] - rows
    means = np.divide(others, other_rows, out=np.zeros_like(others), where=other_rows > 0)
    full = np.maximum(bin_rows, 1)
    apart = np.bincount(of_bin, (sums - rows * (bin_sums / full)[of_bin]) ** 2, BINS)
    found: Floats = residuals * means[cell]
    return found, float((apart / full).max() / len(said))


def _change_by_edges(said: Floats, residuals: Floats, codes: Codes) -> float:
    """By how much the value changes if edges of bins move by their standard errors.

    The edges are quantiles of the rows, and err with them. If a share d of the rows with the mean
    residual r changes from a bin with mean a to one with b, the value changes by d (a - b)(a + b -
    2 r). Where chances are gradual this is nothing to first order. Where an edge is in a gap of
    them, such as that of sure positives which are a tenth of the rows, rows on the wrong side make
    the value too small, whichever side it is. What noise alone makes of the two factors is taken
    off, and of the two ways the one that changes more counts.
    """
    order = np.argsort(said, kind="stable")
    ordered, rows = said[order], said.size
    run = _Run(residuals[order])
    edges = np.unique(np.quantile(ordered, np.arange(1, BINS) / BINS))
    ends = [0, *np.searchsorted(ordered, edges).tolist(), rows]
    total = 0.0
    for low, edge, high in zip(ends, ends[1:], ends[2:], strict=False):
        if not low < edge < high:
            continue
        share = edge / rows
        below = np.bincount(codes, (said < ordered[edge]) - share)
        error = float(np.linalg.norm(below)) / rows
        moved = np.quantile(ordered, np.clip([share - error, share + error], 0, 1))
        others = np.clip(np.searchsorted(ordered, moved), low, high).tolist()
        changes = [run.squared_change(low, edge, high, other) for other in others if other != edge]
        total += max(changes, default=0.0)
    # A curvature is multiplied by t^2, and this should be by t.
    return math.sqrt(total) / USUAL_T


class _Run:
    """Residuals in the order of their predictions, and the sums of any stretch of them."""

    def __init__(self, residuals: Floats) -> None:
        self._rows = residuals.size
        self._sums = np.append(0.0, np.cumsum(residuals))
        self._squares = np.append(0.0, np.cumsum(residuals**2))

    def mean(self, start: int, end: int) -> float:
        return float(self._sums[end] - self._sums[start]) / (end - start)

    def squared_change(self, low: int, edge: int, high: int, other: int) -> float:
        """What an edge at `other` changes, squared, less what noise alone would."""
        first, second = self.mean(low, edge), self.mean(edge, high)
        between = self.mean(min(edge, other), max(edge, other))
        sizes, count = (edge - low, high - edge), abs(edge - other)
        squares = float(self._squares[high] - self._squares[low])
        variance = (squares - sizes[0] * first**2 - sizes[1] * second**2) / (high - low)
        apart = (first - second) ** 2 - variance * (1 / sizes[0] + 1 / sizes[1])
        middle = (first + second - 2 * between) ** 2 - 4 * variance / count
        return (count / self._rows) ** 2 * max(apart, 0.0) * max(middle, 0.0)


def _bins(said: Floats) -> Codes:
    edges = np.unique(np.quantile(said, np.arange(1, BINS) / BINS))
    found: Codes = np.searchsorted(edges, said, side="right")
    return found
