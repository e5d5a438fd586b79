"""Effect sizes: how far a window is from the reference, independent of the number of rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from modelyard.domain.specs.column_values import Floats

Counts = npt.NDArray[np.int64]

LEAST_SHARE_CHANGE = 0.01
"""A level whose share changed less is too rare to matter, whatever the ratio of its shares."""

LARGEST_DISTANCE = 1e6
"""Distances are cut here: more standard deviations mean nothing more, and could overflow."""


def null_share_change(reference_share: float, window_share: float) -> float:
    """The absolute difference of two null shares."""
    return abs(window_share - reference_share)


def share_increase(reference_share: float, window_share: float) -> float:
    """How much larger the share is in the window; 0 if it is smaller."""
    return max(0.0, window_share - reference_share)


def ks_distance(reference: Counts, window: Counts) -> float:
    """Kolmogorov and Smirnov's D at the bin edges, which is at most D of the raw rows.

    Args:
        reference: Shape (bins,), rows by bin.
        window: Shape (bins,), rows by the same bins.
    """
    gap = _cdf_gap(reference, window)
    return float(np.max(gap, initial=0.0))


def wasserstein_distance(reference: Counts, window: Counts, edges: Floats, scale: float) -> float:
    """The Wasserstein distance W1 between the outermost edges, in units of `scale`.

    It is the area between the two distribution functions, each taken as constant from one edge to
    the next, which is exact for values on the edges. Values outside count as on the outermost edge
    (winsorising), so that a single wild value has no effect.

    Args:
        reference: Shape (edges + 1,), rows by bin.
        window: Shape (edges + 1,), rows by the same bins.
        edges: Shape (edges,), ascending.
        scale: A robust standard deviation of the reference; 0 gives a distance of 0.

    Returns:
        At most `LARGEST_DISTANCE`.
    """
    if scale <= 0 or len(edges) < 2:  # noqa: PLR2004 - an area needs two edges
        return 0.0
    gap = _cdf_gap(reference, window)[:-1]
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is beyond LARGEST_DISTANCE
        moved = np.where(gap > 0, gap * np.diff(edges), 0.0)
        return float(min(np.sum(moved) / scale, LARGEST_DISTANCE))


def total_variation_distance(reference: Counts, window: Counts) -> float:
    """The total variation distance of shares, less its mean without drift; at least 0.

    Without drift a share difference is about normal with variance p(1-p)(1/n + 1/m), so its mean
    absolute value is sqrt(2/pi) standard deviations.
    """
    n, m = int(reference.sum()), int(window.sum())
    if not n or not m:
        return 0.0
    # The sum of these means grows with the levels: uncorrected, every column of many levels drifts.
    pooled = (reference + window) / (n + m)
    noise = np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m) * 2 / np.pi)
    gaps = np.abs(reference / n - window / m)
    return max(0.0, float(np.sum(gaps) - np.sum(noise)) / 2)


def largest_share_ratio(reference: Counts, window: Counts) -> tuple[float, int]:
    """The largest number of times that a level's share doubled or halved, and the level.

    Returns:
        The absolute base-2 logarithm of the ratio and the index of the level; (0, 0) if no level's
        share changed by `LEAST_SHARE_CHANGE`.
    """
    n, m = int(reference.sum()), int(window.sum())
    if not n or not m:
        return 0.0, 0
    # Ratios of rare levels are large by chance, so a change must be large as a share too.
    moved = np.abs(reference / n - window / m) >= LEAST_SHARE_CHANGE
    # Half a row is added to each count, so that the ratio of a level that vanished is finite.
    ratios = np.log2((window + 0.5) / (m + 1)) - np.log2((reference + 0.5) / (n + 1))
    doublings = np.where(moved, np.abs(ratios), 0.0)
    worst = int(np.argmax(doublings))
    return float(doublings[worst]), worst


def _cdf_gap(reference: Counts, window: Counts) -> npt.NDArray[Any]:
    n, m = int(reference.sum()), int(window.sum())
    if not n or not m:
        return np.zeros(max(0, len(reference) - 1))
    # The last gap is always 0: both functions end at 1.
    gap = np.cumsum(reference) / n - np.cumsum(window) / m
    return np.abs(gap[:-1])
