"""Calibration: how far the chances that a model says are from the shares that come true."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from modelyard.domain.gate.inputs import Codes
from modelyard.domain.specs.column_values import Floats

BINS = 10
"""Equally full bins of a model's own predictions."""


@dataclass(frozen=True, kw_only=True)
class Miscalibration:
    """The calibration error of one model.

    Args:
        value: The mean over rows of the squared distance, in their bin, between the mean prediction
            and the share that came true. It has no bias, so it may be below 0.
        influence: Shape (n,): what each row adds to it, to first order; its mean is `value`.
        curvature: The largest variance of a bin's mean residual, in units of `value`; see
            `paired._numbers`. 0 for metrics that are means.
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


def _bins(said: Floats) -> Codes:
    edges = np.unique(np.quantile(said, np.arange(1, BINS) / BINS))
    found: Codes = np.searchsorted(edges, said, side="right")
    return found
