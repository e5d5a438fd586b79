"""How many predictions count as one, because the rows of a request are alike."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from modelyard.domain.canary.arms import Arm

Floats: TypeAlias = NDArray[np.float64]

MEASURES = PAIRS, UNLIKE, TENTHS, DISTANCE = ("pairs", "unlike", "tenths", "distance")

PRIOR_WEIGHT = 0.5  # of a request whose rows are one, added to what an arm shows
STABLE_PRIOR_WEIGHT = 5.0  # requests' worth of what stable shows, until the canary shows its own


def pair_measures(histogram: ArrayLike) -> dict[str, NDArray[Any]]:
    """How the ordered pairs of different rows differ, from the rows of each bin.

    - `pairs`: n (n - 1), all pairs.
    - `unlike`: those in two different bins.
    - `tenths`: those in two different tenths of the grid; of up to ten bins each is its own.
    - `distance`: the sum of their squared distances, in bins.

    Args:
        histogram: Rows by bin, shape (..., bins); whole numbers stay whole, so nothing is rounded.

    Returns:
        Each of shape (...).
    """
    counts = np.asarray(histogram)
    places = np.arange(counts.shape[-1])
    tenths = counts @ np.equal.outer(places * 10 // max(1, places.size), np.arange(10))
    rows = counts.sum(axis=-1)
    return {
        PAIRS: rows * (rows - 1),
        UNLIKE: rows * rows - (counts * counts).sum(axis=-1),
        TENTHS: rows * rows - (tenths * tenths).sum(axis=-1),
        DISTANCE: 2 * (rows * (counts @ places**2) - (counts @ places) ** 2),
    }


def design_effects(canary: Arm, stable: Arm | None) -> tuple[float, ...] | None:
    """By what to divide the rows each sample adds, because they came together; 1 if independent.

    1 + (m - 1) rho (Kish 1965, Survey Sampling; Donner and Klar 2000, Design and Analysis of
    Cluster Randomization Trials), with m = sum of squared rows a request / rows, and rho the
    intraclass correlation of predictions. So it is from 1 to m. Each is the greater one of both
    arms, because each bets with the counts of the other.

    m is counted, and of the interval alone, so that one great request puts no doubt on the rows
    before and after it. rho is estimated, from all that was counted until the interval's end. So
    what the rows of an interval counted as never changes, and a peak of evidence stays.

    Args:
        canary: What it did.
        stable: Likewise, at the same samples; None for a first release.

    Returns:
        Shape (samples,). Where an arm does not count pairs its m is the mean rows a request, and
        rho is the other's; 1 where neither shows any. None where not even m is known.
    """
    arms = [side for side in (stable, canary) if side is not None]
    if not all(_has_request_sizes(side) for side in arms):
        return None
    sizes = np.max([list(_request_sizes(side)) for side in arms], axis=0)
    return tuple((1 + (sizes - 1) * _shrunk_correlations(arms)).tolist())


def _has_request_sizes(side: Arm) -> bool:
    asked = _counts_pairs(side.pairs[-1]) or side.answered[-1] > side.errors[-1]
    return asked and sum(side.predictions[-1]) > 0


def _counts_pairs(pairs: Mapping[str, float]) -> bool:
    return all(measure in pairs for measure in MEASURES)


def _request_sizes(side: Arm) -> Iterator[float]:
    """By interval, as a row meets them; 1 where none came.

    Never less than the mean, also while only some of an arm's servers count pairs.
    """
    series = zip(
        _increments(sum(histogram) for histogram in side.predictions),
        _increments(
            answered - bad for answered, bad in zip(side.answered, side.errors, strict=True)
        ),
        _increments(pairs.get(PAIRS, 0.0) for pairs in side.pairs),
        strict=True,
    )
    for rows, requests, pairs in series:
        yield max(1.0, rows / max(requests, 1.0), 1 + pairs / rows) if rows else 1.0


def _increments(totals: Iterable[float]) -> Iterator[float]:
    return (after - before for before, after in itertools.pairwise(itertools.chain((0.0,), totals)))


def _shrunk_correlations(arms: Iterable[Arm]) -> Floats:
    """The greatest of the arms that show one, each drawn to what was known before it.

    At first that is that all is one. The more requests, the less; so little data is never taken as
    independence, and a young canary is not thought to differ from stable, whose requests are of the
    same users. Rows that come alone, or are all in one bin, show nothing.

    Args:
        arms: Stable first.

    Returns:
        From all until each sample, shape (samples,); 1 where none shows any.
    """
    known, weight, shown = np.array(1.0), np.array(PRIOR_WEIGHT), []
    for side in arms:
        seen, requests = _observed_correlation(side)
        shows = np.isfinite(seen)
        drawn = (requests * np.nan_to_num(seen) + weight * known) / (requests + weight)
        known = np.where(shows, drawn, known)
        weight = np.where(shows, STABLE_PRIOR_WEIGHT, weight)
        shown.append(np.where(shows, known, -np.inf))
    greatest = np.max(shown, axis=0)
    return np.where(np.isfinite(greatest), greatest, 1.0)


def _observed_correlation(side: Arm) -> tuple[Floats, Floats]:
    """How much less the rows of one request differ than those of two, 0 to 1; NaN if none differ.

    1 - (mean difference within) / (mean difference between), without bias because the pairs between
    requests are all pairs but those within. Being in different bins sees copies, whatever the order
    of classes; in different tenths, requests that are spread over more or less of the grid; squared
    distance, rows that are merely near each other, whose fine bins differ.

    Returns:
        From all until each sample, and how many requests are behind it; each of shape (samples,).
    """
    histograms = np.array(side.predictions, dtype=np.float64)
    whole, rows = pair_measures(histograms), histograms.sum(axis=1)
    within = {name: np.array([pairs.get(name, 0.0) for pairs in side.pairs]) for name in MEASURES}
    between = whole[PAIRS] - within[PAIRS]
    knows = np.array([_counts_pairs(pairs) for pairs in side.pairs])
    knows &= (within[PAIRS] > 0) & (between > 0)
    parts = []
    with np.errstate(divide="ignore", invalid="ignore"):
        for measure in (UNLIKE, TENTHS, DISTANCE):
            apart = (whole[measure] - within[measure]) / between
            part = 1 - within[measure] / within[PAIRS] / apart
            parts.append(np.where(knows & (apart > 0), part, -np.inf))
        greatest = np.max(parts, axis=0)
        requests = np.where(knows, rows * rows / (rows + within[PAIRS]), 0.0)
    return np.where(np.isfinite(greatest), np.clip(greatest, 0.0, 1.0), np.nan), requests
