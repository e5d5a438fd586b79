"""The difference of two AUCs on the same rows, where rows come in clusters."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from modelyard.errors import CannotAnswer

Floats = NDArray[np.float64]
Codes = NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """Two models measured on the same rows, and how sure one can be of the difference.

    Args:
        metric: Name of the metric.
        champion: The champion's metric; NaN when one of its predictions cannot be scored.
        challenger: The challenger's metric; NaN likewise.
        difference: In the metric's unit; positive means the challenger is better.
        standard_error: Of the difference, robust to clusters; infinite when there are too few
            clusters to estimate it.
        clusters: Number of clusters.
        rows: Number of rows.
    """

    metric: str
    champion: float
    challenger: float
    difference: float
    standard_error: float
    clusters: int
    rows: int


def clustered_auc_difference(
    labels: ArrayLike, champion: ArrayLike, challenger: ArrayLike, clusters: ArrayLike
) -> PairedDifference:
    """AUC of challenger minus AUC of champion, with its standard error under clustered rows.

    The variance is Obuchowski's (1997, Biometrics 53:567-578) of the paired AUCs, taken of the
    difference of their placement values. With m positives and n negatives, I10, I01 and I the
    clusters with positives, with negatives and in all, and a, b one cluster's sums of centred
    placements of its positives and of its negatives:

        I10/(I10-1) sum(a^2)/m^2 + I01/(I01-1) sum(b^2)/n^2 + 2 I/(I-1) sum(ab)/(mn)

    Where every row is its own cluster this is DeLong, DeLong and Clarke-Pearson (1988) exactly.

    Args:
        labels: Shape (n,), 0 or 1; both must occur.
        champion: Shape (n,), finite scores; greater means more likely 1.
        challenger: Shape (n,), as `champion`.
        clusters: Shape (n,), what the row's cluster is called.

    Raises:
        CannotAnswer: Lengths differ, a label is not 0 or 1, only one label occurs, or a cluster
            has no name.
    """
    positive = binary_labels(labels)
    codes = cluster_codes(clusters, positive.size)
    if positive.all() or not positive.any():
        raise CannotAnswer(
            f"auc needs rows of both labels: {int(positive.sum())} of {positive.size} are 1",
            hint="use a held-out set in which both outcomes occur",
        )
    before = _placements(positive, parse_scores("champion", champion, positive.size))
    after = _placements(positive, parse_scores("challenger", challenger, positive.size))
    first, second = float(before[positive].mean()), float(after[positive].mean())
    return PairedDifference(
        metric="auc",
        champion=first,
        challenger=second,
        difference=second - first,
        standard_error=_standard_error(positive, after - before, codes),
        clusters=int(codes.max()) + 1,
        rows=positive.size,
    )


def binary_labels(labels: ArrayLike) -> NDArray[np.bool_]:
    """Whether each label is 1.

    Raises:
        CannotAnswer: There are none, or one is neither 0 nor 1.
    """
    values = np.asarray(labels)
    if values.ndim != 1 or not values.size:
        raise CannotAnswer(f"labels must be one column of at least one row, not {values.shape}")
    positive: NDArray[np.bool_] = np.asarray(values == 1)
    strange = values[~(positive | np.asarray(values == 0))]
    if strange.size:
        raise CannotAnswer(f"{strange.size} of {values.size} labels are not 0 or 1: {strange[0]!r}")
    return positive


def parse_scores(name: str, scores: ArrayLike, rows: int) -> Floats:
    """One number a row, as floats.

    Raises:
        CannotAnswer: Not one number for each of `rows` rows.
    """
    try:
        values = np.asarray(scores, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise CannotAnswer(f"{name} predictions are not numbers: {error}") from error
    if values.shape != (rows,):
        raise CannotAnswer(f"{name} predictions have shape {values.shape}, labels ({rows},)")
    return values


def cluster_codes(clusters: ArrayLike, rows: int) -> Codes:
    """Each row's cluster as a number from 0 without gaps.

    Raises:
        CannotAnswer: Not one name for each of `rows` rows, or a name is missing (None, NaN, NaT).
    """
    names = np.asarray(clusters)
    if names.shape != (rows,):
        raise CannotAnswer(f"the cluster column has shape {names.shape}, labels ({rows},)")
    # NaN and NaT are the only values not equal to themselves; None would not sort.
    missing = np.asarray(names != names) | np.asarray([name is None for name in names.flat])  # noqa: PLR0124 - see above
    if missing.any():
        raise CannotAnswer(f"{int(missing.sum())} of {rows} rows have no cluster")
    codes: Codes = np.unique(names, return_inverse=True)[1]
    return codes


def _placements(positive: NDArray[np.bool_], scores: Floats) -> Floats:
    """The share of the other label's rows each row is on the right side of, ties counting half."""
    if not np.isfinite(scores).all():
        return np.full(scores.size, math.nan)
    placements = np.empty(scores.size)
    placements[positive] = _share_below(scores[positive], scores[~positive])
    placements[~positive] = 1 - _share_below(scores[~positive], scores[positive])
    return placements


def _share_below(scores: Floats, others: Floats) -> Floats:
    ordered = np.sort(others)
    below = np.searchsorted(ordered, scores, "left") + np.searchsorted(ordered, scores, "right")
    share: Floats = below / (2 * others.size)
    return share


def _standard_error(positive: NDArray[np.bool_], placements: Floats, codes: Codes) -> float:
    centred = placements - placements[positive].mean()
    sums = [
        np.bincount(codes[side], centred[side] / side.sum(), minlength=codes.max() + 1)
        for side in (positive, ~positive)
    ]
    present = [np.unique(codes[side]).size for side in (positive, ~positive)]
    clusters = int(codes.max()) + 1
    if min(present) <= 1:
        return math.inf
    variance = (
        _correction(present[0]) * (sums[0] @ sums[0])
        + _correction(present[1]) * (sums[1] @ sums[1])
        + 2 * _correction(clusters) * (sums[0] @ sums[1])
    )
    # Never negative but for rounding: the third correction is the smallest of the three.
    return float(np.sqrt(np.maximum(variance, 0.0)))


def _correction(clusters: int) -> float:
    return clusters / (clusters - 1)
