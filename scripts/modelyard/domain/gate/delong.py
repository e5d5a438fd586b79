"""The difference of two AUCs on the same clustered rows (DeLong, Obuchowski)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from modelyard.domain.gate.information import Parts, Side, side_of
from modelyard.domain.gate.inputs import Codes, binary_labels, cluster_codes, parse_scores
from modelyard.domain.specs.column_values import Floats
from modelyard.errors import CannotAnswer

ROUNDING = 1e-12
"""Part of a metric up to which a difference is rounding, such as between equal constants."""


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """The difference of two models' metrics on the same rows, with its standard error.

    Args:
        metric: Name of the metric.
        champion: The champion's metric; NaN if one of its predictions cannot be scored.
        challenger: The challenger's metric; NaN if one of its predictions cannot be scored.
        difference: In the metric's unit; positive means that the challenger is better.
        standard_error: Of the difference, robust to clusters; infinite if there are too few
            clusters to estimate it.
        clusters: Number of clusters.
        rows: Number of rows.
        sides: What the rows say; empty if that is not to be counted.
        error_of_equal_clusters: The standard error of records before 0.3, which took all clusters
            to be equally large.
        parts: What each row adds to the difference; None if its skewness is not to be limited.
        curvatures: Of the champion's and the challenger's metric; see `calibration`.
    """

    metric: str
    champion: float
    challenger: float
    difference: float
    standard_error: float
    clusters: int
    rows: int
    sides: tuple[Side, ...] = field(default=(), compare=False, repr=False)
    error_of_equal_clusters: float = field(default=math.nan, compare=False, repr=False)
    parts: Parts | None = field(default=None, compare=False, repr=False)
    curvatures: tuple[float, float] = field(default=(0.0, 0.0), compare=False, repr=False)

    @property
    def degrees(self) -> float:
        """Degrees of freedom of the standard error; clusters - 1 without sides.

        Satterthwaite's (1946) for the sum of two sides.
        """
        if not self.sides:
            return self.clusters - 1
        total = sum(side.variance for side in self.sides)
        if not math.isfinite(total):
            return 0.0
        if total == 0:
            return min(side.degrees for side in self.sides)
        return total**2 / sum(side.variance**2 / side.degrees for side in self.sides)

    def with_equal_clusters(self) -> PairedDifference:
        """The difference as records before 0.3 have it: clusters count, whatever they carry."""
        return replace(self, sides=(), parts=None, standard_error=self.error_of_equal_clusters)


def clustered_auc_difference(
    labels: ArrayLike, champion: ArrayLike, challenger: ArrayLike, clusters: ArrayLike
) -> PairedDifference:
    """AUC of the challenger minus AUC of the champion, with its cluster-robust standard error.

    The variance is Obuchowski's (1997, Biometrics 53:567-578) for paired AUCs, applied to the
    difference of their placement values. Let m and n be the number of positives and negatives;
    I10, I01 and I the number of clusters with positives, with negatives and in all; a and b the
    sums of centred placements of one cluster's positives and negatives. The variance is

        I10/(I10-1) sum(a^2)/m^2 + I01/(I01-1) sum(b^2)/n^2 + 2 I/(I-1) sum(ab)/(mn)

    Where clusters have unequal numbers of positives or negatives, the first two factors are those
    of `information.side_of`. If every row is its own cluster, this is exactly DeLong, DeLong and
    Clarke-Pearson (1988).

    Args:
        labels: Shape (n,), 0 or 1; both must occur.
        champion: Shape (n,), finite scores; a higher score means that 1 is more likely.
        challenger: Shape (n,), as `champion`.
        clusters: Shape (n,), the name of each row's cluster.

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
    gains = after - before
    # What each row adds to the AUC: it is a mean over positives, and over negatives too.
    shares = 1 / np.where(positive, positive.sum(), (~positive).sum())
    parts = Parts(
        centred=(gains - gains[positive].mean()) * shares, weights=shares / 2, codes=codes
    )
    sides = (
        side_of("positives", gains[positive], codes[positive]),
        side_of("negatives", gains[~positive], codes[~positive]),
    )
    return PairedDifference(
        metric="auc",
        champion=first,
        challenger=second,
        difference=without_rounding(second - first, first, second),
        standard_error=_standard_error(positive, gains, codes, sides),
        clusters=int(codes.max()) + 1,
        rows=positive.size,
        sides=sides,
        error_of_equal_clusters=_standard_error(positive, gains, codes),
        parts=parts,
    )


def _placements(positive: NDArray[np.bool_], scores: Floats) -> Floats:
    """The share of the other label's rows that each row is ranked correctly to; ties count half."""
    # NaN would sort last and look like a very confident score.
    if not np.isfinite(scores).all():
        return np.full(scores.size, math.nan)
    placements = np.empty(scores.size)
    placements[positive] = _share_below(scores[positive], scores[~positive])
    placements[~positive] = 1 - _share_below(scores[~positive], scores[positive])
    return placements


def _share_below(scores: Floats, others: Floats) -> Floats:
    # Ranks by binary search: all pairs of rows would be too many. In order, each search begins
    # where the memory of the last one still is.
    ordered, places = np.sort(others), np.argsort(scores)
    sought = scores[places]
    below = np.empty(scores.size, dtype=np.intp)
    below[places] = np.searchsorted(ordered, sought, "left")
    below[places] += np.searchsorted(ordered, sought, "right")
    share: Floats = below / (2 * others.size)
    return share


def _standard_error(
    positive: NDArray[np.bool_], placements: Floats, codes: Codes, sides: tuple[Side, ...] = ()
) -> float:
    # Both labels have the same mean placement, which is the AUC, so one mean centres both.
    centred = placements - placements[positive].mean()
    sums = [
        np.bincount(codes[side], centred[side] / side.sum(), minlength=codes.max() + 1)
        for side in (positive, ~positive)
    ]
    present = [int(np.count_nonzero(np.bincount(codes[side]))) for side in (positive, ~positive)]
    clusters = int(codes.max()) + 1
    if min(present) <= 1:
        return math.inf
    of_sides = [side.variance for side in sides] or [
        cluster_correction(count) * float(each @ each)
        for count, each in zip(present, sums, strict=True)
    ]
    variance = sum(of_sides) + 2 * cluster_correction(clusters) * (sums[0] @ sums[1])
    # Rounding, or corrections of unequal clusters, could make it negative.
    return float(np.sqrt(np.maximum(variance, 0.0)))


def without_rounding(difference: float, *of: float) -> float:
    """The difference; 0 if it is no more than two sums of the same rows may differ by rounding."""
    return 0.0 if abs(difference) <= ROUNDING * max(map(abs, of)) else difference


def cluster_correction(clusters: int) -> float:
    """The small-sample factor G/(G-1) of a variance that is a sum over G clusters."""
    return clusters / (clusters - 1)
