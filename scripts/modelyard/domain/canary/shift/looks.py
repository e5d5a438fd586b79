"""Looks in which an arm predicts as on held-out rows, or not, and counts of such looks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from modelyard.domain.specs.column_values import Floats

LEAST_TRUSTED = 0.25
"""Part of the looks in which stable must be in order if the canary is judged by them alone."""

TOGETHER = (1, 2, 4)
"""Looks that are held against held-out rows together: a look alone may have few rows."""


def sound_looks(
    added: Floats, shares: Sequence[float], allowed: float, effects: Sequence[float]
) -> NDArray[np.bool_]:
    """By sample, whether the look before it is as near to the shares as allowed, but for chance.

    The look after one that is further counts as further too: what it counts may be of requests
    that came before.

    Args:
        added: What each sample adds by bin, shape (samples, k).
        shares: What is expected by bin, shape (k,).
        allowed: The total variation distance that is allowed.
        effects: By sample, how many correlated rows count as one.
    """
    effective, found = added.sum(axis=1) / np.asarray(effects), np.ones(len(added), dtype=np.bool_)
    for together in TOGETHER:
        for start in range(0, len(added), together):
            counts = added[start : start + together].sum(axis=0)
            rows = float(effective[start : start + together].sum())
            if not rows:
                continue
            distance = np.abs(counts / counts.sum() - np.asarray(shares)).sum() / 2
            if distance > allowed + distance_by_chance(shares, rows):
                found[start : start + together + 1] = False
    return found


def looks_with(totals: ArrayLike) -> NDArray[np.bool_]:
    """By sample, whether anything was added since the one before; along the first axis."""
    counts = np.asarray(totals, dtype=np.float64)
    added = np.diff(counts, axis=0, prepend=0.0).reshape(len(counts), -1)
    return np.asarray(added.max(axis=1, initial=0.0) > 0, dtype=np.bool_)


def counts_of_looks(totals: ArrayLike, looks: NDArray[np.bool_]) -> Floats:
    """Counts until each sample, of what was added in some looks alone; along the first axis."""
    added = np.diff(np.asarray(totals, dtype=np.float64), axis=0, prepend=0.0)
    found: Floats = (added.T * looks).T.cumsum(axis=0)
    return found


def distance_by_chance(shares: Sequence[float], rows: float) -> float:
    """What the total variation distance of so many independent rows seldom exceeds by chance.

    Its mean and two standard deviations, of shares that are about normal: the mean of |X| is
    sqrt(2 / pi) sd, and its variance (1 - 2 / pi) sd^2. The deviation is that of two bins, which
    differ by the same; that of more bins is smaller.

    Args:
        shares: The shares of the bins that the rows are drawn from.
        rows: How many independent rows there are.
    """
    if rows <= 0:
        return 1.0
    variances = np.array([share * (1 - share) for share in shares]) / rows
    mean = 0.5 * np.sqrt(2 / math.pi * variances).sum()
    return float(mean + math.sqrt(2 * (1 - 2 / math.pi) * variances.sum()))
