"""The design effect of predictions: how many correlated rows count as one independent row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from modelyard.domain.canary.arms import Arm
from modelyard.domain.specs.column_values import Floats

# Names of counters that model servers export, so they cannot change without those.
MEASURES = PAIRS, UNLIKE, TENTHS, DISTANCE = ("pairs", "unlike", "tenths", "distance")

PRIOR_WEIGHT = 0.5  # requests with a correlation of 1, added to what an arm shows
STABLE_PRIOR_WEIGHT = 5.0  # requests with stable's correlation, added to what the canary shows


def pair_measures(histogram: ArrayLike) -> dict[str, NDArray[Any]]:
    """How the ordered pairs of different rows differ, computed from the rows in each bin.

    - `pairs`: n (n - 1), the number of pairs.
    - `unlike`: pairs in two different bins.
    - `tenths`: pairs in two different tenths of the grid; with up to ten bins each is a tenth.
    - `distance`: the sum of squared distances of the pairs, in bins.

    Args:
        histogram: Rows by bin, shape (..., bins). Whole numbers stay whole: nothing is rounded.

    Returns:
        Each measure with shape (...).
    """
    counts = np.asarray(histogram)
    places, starts = _places(counts.shape[-1])
    tenths = np.add.reduceat(counts, starts, axis=-1)
    rows = counts.sum(axis=-1)
    return {
        PAIRS: rows * (rows - 1),
        UNLIKE: rows * rows - (counts * counts).sum(axis=-1),
        TENTHS: rows * rows - (tenths * tenths).sum(axis=-1),
        DISTANCE: 2 * (rows * (counts @ places**2) - (counts @ places) ** 2),
    }


@lru_cache(maxsize=64)
def _places(bins: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """The bins, and the first bin of each tenth that has one; servers ask for each request."""
    places = np.arange(bins)
    return places, np.unique(places * 10 // max(1, bins), return_index=True)[1]


def design_effects(canary: Arm, stable: Arm | None) -> tuple[float, ...] | None:
    """The design effect of the rows that each sample adds; 1 if rows are independent.

    1 + (m - 1) rho (Kish 1965, Survey Sampling; Donner and Klar 2000, Design and Analysis of
    Cluster Randomization Trials). A cluster is a request: m is its mean size weighted by rows,
    (sum of squared rows a request) / rows, and rho the intraclass correlation of predictions. The
    effect is between 1 and m. Of both arms the larger m and the larger rho count, because each
    arm's bets use the other arm's counts.

    Args:
        canary: Counts of the canary.
        stable: Counts of stable at the same samples; None for a first release.

    Returns:
        Shape (samples,). An arm that does not count pairs has the mean request size as m and the
        other arm's rho; rho is 1 if neither arm shows any. None if not even m is known.
    """
    arms = [side for side in (stable, canary) if side is not None]
    if not all(_has_request_sizes(side) for side in arms):
        return None
    # m is counted in the interval alone, so that one great request does not discount the rows
    # before and after it. rho is estimated from everything until the interval's end. Neither uses
    # later samples, so what a row counts as never changes, and a peak of evidence stays a peak.
    sizes = np.max([_request_sizes(side) for side in arms], axis=0)
    return tuple((1 + (sizes - 1) * _shrunk_correlations(arms)).tolist())


def _has_request_sizes(side: Arm) -> bool:
    requests = _counts_pairs(side.pairs[-1]) or side.answered[-1] > side.errors[-1]
    return requests and sum(side.predictions[-1]) > 0


def _counts_pairs(pairs: Mapping[str, float]) -> bool:
    return all(measure in pairs for measure in MEASURES)


def _request_sizes(side: Arm) -> Floats:
    """The mean request size weighted by rows in each interval; 1 for an interval without rows."""
    answered, errors = np.array(side.answered), np.array(side.errors)
    pairs_so_far = np.array([pairs.get(PAIRS, 0.0) for pairs in side.pairs])
    totals = np.array([np.sum(side.predictions, axis=1), answered - errors, pairs_so_far])
    rows, requests, pairs = np.diff(totals, prepend=0.0)
    # While only some servers of an arm count pairs, these give too little: the mean is a bound.
    mean, weighted = rows / np.maximum(requests, 1.0), 1 + pairs / np.maximum(rows, 1.0)
    sizes: Floats = np.where(rows > 0, np.maximum(1.0, np.maximum(mean, weighted)), 1.0)
    return sizes


def _shrunk_correlations(arms: Iterable[Arm]) -> Floats:
    """The larger of the arms' intraclass correlations, each shrunk to what was known before it.

    Stable is shrunk to 1, so that little data never counts as independence. The canary is shrunk
    to stable, whose requests come from the same users. An arm whose requests have one row each, or
    whose rows are all in one bin, shows no correlation.

    Args:
        arms: Stable first.

    Returns:
        From all rows until each sample, shape (samples,); 1 where no arm shows any.
    """
    prior, weight, shown = np.array(1.0), np.array(PRIOR_WEIGHT), []
    for side in arms:
        observed, requests = _observed_correlation(side)
        shows = np.isfinite(observed)
        shrunk = (requests * np.nan_to_num(observed) + weight * prior) / (requests + weight)
        prior = np.where(shows, shrunk, prior)
        weight = np.where(shows, STABLE_PRIOR_WEIGHT, weight)
        shown.append(np.where(shows, prior, -np.inf))
    greatest = np.max(shown, axis=0)
    return np.where(np.isfinite(greatest), greatest, 1.0)


def _observed_correlation(side: Arm) -> tuple[Floats, Floats]:
    """The intraclass correlation of predictions, 0 to 1; NaN if no two rows differ.

    1 - (mean difference of pairs within a request) / (mean difference of pairs between requests).
    Pairs between requests are all pairs without those within, so the estimate has no bias.

    Returns:
        The correlation of all rows until each sample, and the effective number of requests behind
        it; each of shape (samples,).
    """
    histograms = np.array(side.predictions, dtype=np.float64)
    whole, rows = pair_measures(histograms), histograms.sum(axis=1)
    within = {name: np.array([pairs.get(name, 0.0) for pairs in side.pairs]) for name in MEASURES}
    between = whole[PAIRS] - within[PAIRS]
    usable = np.array([_counts_pairs(pairs) for pairs in side.pairs])
    usable &= (within[PAIRS] > 0) & (between > 0)
    correlations = []
    with np.errstate(divide="ignore", invalid="ignore"):
        # Three measures, because each misses a kind of likeness. Bins find copies, in any order of
        # classes. Tenths find requests that are spread over more or less of the grid. Squared
        # distance finds rows that are near each other in different bins. The largest one counts.
        for measure in (UNLIKE, TENTHS, DISTANCE):
            apart = (whole[measure] - within[measure]) / between
            correlation = 1 - within[measure] / within[PAIRS] / apart
            correlations.append(np.where(usable & (apart > 0), correlation, -np.inf))
        greatest = np.max(correlations, axis=0)
        requests = np.where(usable, rows * rows / (rows + within[PAIRS]), 0.0)
    return np.where(np.isfinite(greatest), np.clip(greatest, 0.0, 1.0), np.nan), requests
