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


def far_looks(
    added: Floats, shares: Sequence[float], allowed: float, effects: Sequence[float]
) -> NDArray[np.bool_]:
    """By sample, whether the look before it is further from the shares than allowed and chance.

    Looks that are not far by themselves are held against the shares together, without those that
    are and the ones after them: one look of four that is broken says nothing of the other three.

    Args:
        added: What each sample adds by bin, shape (samples, k).
        shares: What is expected by bin, shape (k,).
        allowed: The total variation distance that is allowed.
        effects: By sample, how many correlated rows count as one.
    """
    far, by_chance = np.zeros(len(added), dtype=np.bool_), distance_by_chance(shares, 1)
    # So that one great request is not most of the looks that it is held together with.
    discounted = added / np.asarray(effects)[:, None]
    for together in TOGETHER:
        starts, left = np.arange(0, len(added), together), ~and_next(far)
        counts = np.add.reduceat(discounted * left[:, None], starts, axis=0)
        rows = counts.sum(axis=1)
        apart = np.abs(counts / np.maximum(rows, 1e-9)[:, None] - shares)
        limits = allowed + by_chance / np.sqrt(np.maximum(rows, 1e-9))
        found = (rows > 0) & (apart.sum(axis=1) / 2 > limits)
        far |= np.repeat(found, together)[: len(added)] & left
    return far


def and_next(looks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """These looks, and the one after each: what it counts may be of requests that came before."""
    found = looks.copy()
    found[1:] |= looks[:-1]
    return found


def distance_by_look(mine: Floats, expected: Floats, effects: Sequence[float]) -> float:
    """The mean distance of an arm from what is expected of it in each look, less that by chance.

    Over all looks together, differences of opposite directions cancel. Below 0 where chance
    explains more than there is.

    Args:
        mine: What each sample adds by bin, shape (samples, k).
        expected: What is expected beside as many rows of the other arm as it has, of that shape.
        effects: By sample, how many correlated rows count as one.
    """
    each = np.asarray(effects)[:, None]
    mine, expected = mine / each, expected / each
    rows, others = mine.sum(axis=1), expected.sum(axis=1)
    both = (rows > 0) & (others > 0)
    if not both.any():
        return 0.0
    mine, expected, rows, others = mine[both], expected[both], rows[both], others[both]
    apart = np.abs(mine / rows[:, None] - expected / others[:, None]).sum(axis=1) / 2
    shares = expected.sum(axis=0) / others.sum()
    chance = _mean_distance(shares * (1 - shares)) * np.sqrt(1 / rows + 1 / others)
    return float(np.average(apart - chance, weights=rows))


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


def counts_of_trusted(totals: Sequence[float], trusted: NDArray[np.bool_] | None) -> list[float]:
    """Counts until each sample, without those of looks that are not trusted; None trusts all."""
    if trusted is None or len(totals) != len(trusted):
        return list(totals)
    found: list[float] = counts_of_looks(totals, trusted).tolist()
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
    return float(_mean_distance(variances) + math.sqrt(2 * (1 - 2 / math.pi) * variances.sum()))


def _mean_distance(variances: Floats) -> float:
    """The mean total variation distance of shares that are about normal, of these variances."""
    return float(0.5 * np.sqrt(2 / math.pi * variances).sum())
