"""How far a window is from the reference: effect sizes that do not grow with the rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from modelyard.domain.specs.column_values import Floats

Counts = npt.NDArray[np.int64]

LEAST_SHARE_CHANGE = 0.01
"""A level whose share moved by less is too rare to matter, whatever the ratio of its shares."""


LARGEST_DISTANCE = 1e6
"""Distances stop here: more standard deviations say nothing more, and would overflow."""


def null_share_change(reference_share: float, window_share: float) -> float:
    """The difference of two null shares, without sign."""
    return abs(window_share - reference_share)


def share_increase(reference_share: float, window_share: float) -> float:
    """How much more of something the window holds; 0 where it holds less."""
    return max(0.0, window_share - reference_share)


def ks_distance(reference: Counts, window: Counts) -> float:
    """Kolmogorov and Smirnov's D at the bin edges, so never above D of the raw rows.

    Args:
        reference: Shape (bins,), rows by bin.
        window: Shape (bins,), rows by the same bins.
    """
    gap = _cdf_gap(reference, window)
    return float(np.max(gap, initial=0.0))


def wasserstein_distance(reference: Counts, window: Counts, edges: Floats, scale: float) -> float:
    """Wasserstein's W1 between the outermost edges, in units of `scale`.

    The area between the two distribution functions, each taken as constant from one edge to the
    next, which is exact for values on the edges. What lies outside counts as lying on the
    outermost edge (winsorising), so one wild value moves nothing.

    Args:
        reference: Shape (edges + 1,), rows by bin.
        window: Shape (edges + 1,), rows by the same bins.
        edges: Shape (edges,), ascending.
        scale: A robust standard deviation of the reference; 0 gives a distance of 0.

    Returns:
        At most `LARGEST`.
    """
    if scale <= 0 or len(edges) < 2:  # noqa: PLR2004 - an area needs two edges
        return 0.0
    gap = _cdf_gap(reference, window)[:-1]
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is beyond LARGEST
        moved = np.where(gap > 0, gap * np.diff(edges), 0.0)
        return float(min(np.sum(moved) / scale, LARGEST_DISTANCE))


def total_variation_distance(reference: Counts, window: Counts) -> float:
    """Half the summed share differences, less what chance alone would give; never below 0.

    Without drift a share difference is about normal with variance p(1-p)(1/n + 1/m), whose mean
    distance from 0 is sqrt(2/pi) standard deviations; the sum of these grows with the levels,
    and is what makes uncorrected distances fire on every column of many levels.
    """
    n, m = int(reference.sum()), int(window.sum())
    if not n or not m:
        return 0.0
    pooled = (reference + window) / (n + m)
    noise = np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m) * 2 / np.pi)
    gaps = np.abs(reference / n - window / m)
    return max(0.0, float(np.sum(gaps) - np.sum(noise)) / 2)


def largest_share_ratio(reference: Counts, window: Counts) -> tuple[float, int]:
    """How many times a level's share doubled or halved, at most, and which level it was.

    Half a row is added to each count, so that a level that vanished has a finite ratio.

    Returns:
        The absolute base-2 logarithm of the ratio and the index of the level; (0, 0) where no
        level's share moved by `LEAST_MOVE`.
    """
    n, m = int(reference.sum()), int(window.sum())
    if not n or not m:
        return 0.0, 0
    moved = np.abs(reference / n - window / m) >= LEAST_SHARE_CHANGE
    ratios = np.log2((window + 0.5) / (m + 1)) - np.log2((reference + 0.5) / (n + 1))
    doublings = np.where(moved, np.abs(ratios), 0.0)
    worst = int(np.argmax(doublings))
    return float(doublings[worst]), worst


def _cdf_gap(reference: Counts, window: Counts) -> npt.NDArray[Any]:
    n, m = int(reference.sum()), int(window.sum())
    if not n or not m:
        return np.zeros(max(0, len(reference) - 1))
    gap = np.cumsum(reference) / n - np.cumsum(window) / m
    return np.abs(gap[:-1])
