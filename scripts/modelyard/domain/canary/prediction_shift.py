"""Whether a canary's live predictions are shifted from those expected after its held-out rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from modelyard.domain.canary.arms import Histograms
from modelyard.domain.canary.error_rate import NO_EVIDENCE, Evidence, counted_increments
from modelyard.domain.canary.prediction_grid import Grid
from modelyard.domain.canary.shift.bets import evidence_of_bets
from modelyard.domain.gate.inputs import Codes, class_codes, parse_scores
from modelyard.domain.specs.column_values import Floats
from modelyard.errors import CannotAnswer

MOST_BINS = 10  # bets are on every set of bins, of which there are 2 ** 10 - 2
LEAST_RADIUS = 0.02  # kernels of a few thousand held-out rows are not known better


@dataclass(frozen=True, kw_only=True)
class ExpectedPredictions:
    """The joint distribution of two models' predictions on held-out rows, in at most ten bins.

    Args:
        edges: Inner edges of the bins, which are edges of the grid; empty for classes.
        bins: The bin of each bin of the grid.
        kernel: By bin of stable, the shares of the canary's bins on the same rows; shape (k, k),
            rows sum to 1. Empty if there was no champion.
        shares: The canary's own shares by bin on held-out rows, shape (k,).
        rows: The number of held-out rows.
        stable_shares: The champion's shares by bin on the same rows; empty if there was none.
        older: The same on the grid of older servers; None if there is only one grid.
        older_bins: The bin of that grid that each bin of the grid is a part of.
    """

    edges: tuple[float, ...]
    bins: tuple[int, ...]
    kernel: tuple[tuple[float, ...], ...]
    shares: tuple[float, ...]
    rows: int
    stable_shares: tuple[float, ...] = ()
    older: ExpectedPredictions | None = None
    older_bins: tuple[int, ...] = ()

    @property
    def constant_distance(self) -> float:
        """How far the best constant answer would be from what is expected of the canary."""
        return 1 - max(self.shares)

    def allowed_radius(self, radius: float) -> float:
        """The radius, or half of a constant's distance if that is less: a constant is no model."""
        return min(radius, max(self.constant_distance / 2, LEAST_RADIUS))

    def is_blind(self, radius: float) -> bool:
        """Whether a constant answer would be within the radius."""
        return self.constant_distance <= self.allowed_radius(radius)


@dataclass(frozen=True, kw_only=True)
class ShiftEvidence:
    """How far live predictions are from the expected ones, and the evidence for it.

    Args:
        evidence: Against the null "the canary's predictions are within the radius".
        distance: Total variation distance observed, 0 to 1; 0 without predictions.
        predictions: The canary's predictions.
        effective: How many independent predictions these count as.
    """

    evidence: Evidence
    distance: float
    predictions: float
    effective: float


def expect_predictions(
    champion: ArrayLike | None, challenger: ArrayLike, grid: Grid, *, most: int = MOST_BINS
) -> ExpectedPredictions:
    """What the challenger will predict in traffic, given what the champion predicts there.

    Numbers get ten bins with equal parts of both models' pooled predictions, moved to the nearest
    edges of the grid. Of more than ten classes all but the nine most frequent share a bin.

    Args:
        champion: Shape (n,), its primary output on the held-out rows; None for a first version.
        challenger: Shape (n,), its primary output on the same rows.
        grid: The grid that predictions are counted on in traffic.
        most: The greatest number of bins.

    Raises:
        CannotAnswer: No rows, shapes that differ, a number that is not finite or an unknown class.
    """
    if grid.older is not None:
        finer = expect_predictions(champion, challenger, replace(grid, older=None), most=most)
        older = expect_predictions(champion, challenger, grid.older, most=most)
        return replace(finer, older=older, older_bins=grid.older_bins)
    after = grid_bins("challenger", challenger, grid)
    before = after if champion is None else grid_bins("champion", champion, grid)
    if not after.size or before.size != after.size:
        raise CannotAnswer(f"{before.size} champion and {after.size} challenger predictions")
    counts = np.bincount(np.concatenate([before, after]), minlength=grid.bins)
    bins = _class_bins(counts, most) if grid.classes else _value_bins(counts, most)
    shares = np.bincount(bins[after], minlength=bins.max() + 1) / after.size
    return ExpectedPredictions(
        edges=tuple(grid.edges[place] for place in np.flatnonzero(np.diff(bins)) if grid.edges),
        bins=tuple(bins.tolist()),
        kernel=() if champion is None else _kernel(bins[before], bins[after], shares),
        shares=tuple(shares.tolist()),
        rows=after.size,
        stable_shares=()
        if champion is None
        else tuple((np.bincount(bins[before], minlength=shares.size) / before.size).tolist()),
    )


def fold_predictions(histograms: Histograms, bins: Sequence[int]) -> tuple[tuple[float, ...], ...]:
    """Histograms on an older grid, by the bin that each bin is a part of."""
    return tuple(
        tuple(np.bincount(bins, weights=histogram, minlength=max(bins) + 1).tolist())
        for histogram in histograms
    )


def shift_evidence(
    expected: ExpectedPredictions,
    canary: Histograms,
    stable: Histograms | None,
    radius: float,
    design_effects: ArrayLike = 1.0,
    *,
    most: float = math.inf,
    is_peak_enough: bool = False,
) -> ShiftEvidence:
    """Evidence that the canary's predictions are further from the expected ones than the radius.

    The expected distribution is the kernel applied to stable's live predictions, or without stable
    the held-out one. The null is the total variation ball around it: no set of bins has more than
    its expected share plus the radius. For every set the test bets on canary predictions in it and
    against stable predictions in it. The amounts are fixed before an interval, and stable's part
    cancels in the mean whatever its distribution is. The capitals are averaged over sets and
    stakes. (Betting: Waudby-Smith and Ramdas 2024, J. R. Stat. Soc. B 86:1-27. A null that is a
    ball, not a point: Wasserman, Ramdas and Balakrishnan 2020, PNAS 117:16880-16890, whose
    universal inference estimates all bins at once and so needs more predictions.) Traffic and
    shares may change between samples. By Ville (1939) the evidence is valid at any time.

    The bets are for independent rows. Correlated rows are discounted: what a sample adds is divided
    by its design effect (see `design_effect`). If all rows of a request are equal, this is exact:
    the bets are concave in a request's share h of rows in a set,
    log(1 + l (h - m)) >= h log(1 + l (1 - m)) + (1 - h) log(1 - l m), so a request that counts as
    one row keeps the mean capital at or below 1. Otherwise it is as good as the design effect.

    Args:
        expected: Of this canary, given this stable release.
        canary: Predictions by bin of the grid from the start until each sample, (samples, bins).
        stable: Predictions of stable at the same samples; None without a stable arm.
        radius: From 0 to 1. At 1 there is never any evidence.
        design_effects: Rows that count as one, at least 1; shape (samples,), or one for all.
        most: The most evidence that the bets on one set may add between two samples.
        is_peak_enough: Whether only the peak is asked for. Where the evidence was never above 0, as
            with most canaries that are well, what it is now may then be given as 0 too.

    Raises:
        ValueError: radius or a design effect out of range, a number of design effects that is not
            that of the samples, or counts that fall, are not finite, or are of another grid.
    """
    if not 0 <= radius <= 1:
        raise ValueError(f"radius must be from 0 to 1, not {radius}")
    effects = np.asarray(design_effects, dtype=np.float64)
    if not ((effects >= 1) & np.isfinite(effects)).all():
        raise ValueError(f"design effects must be at least 1, not {effects.min()}")
    each = np.broadcast_to(effects, len(canary))[:, None]
    mine, other = added_by_bin(expected, canary), None
    if expected.kernel and stable is not None:
        other = added_by_bin(expected, stable)
    discounted = mine / each
    # No set can have more than its share and 1, so there is nothing to bet on.
    evidence = (
        NO_EVIDENCE
        if radius >= 1
        else evidence_of_bets(
            np.array(expected.kernel),
            np.array(expected.shares),
            discounted,
            None if other is None else other / each,
            radius=radius,
            most=most,
            is_peak_enough=is_peak_enough,
        )
    )
    return ShiftEvidence(
        evidence=evidence,
        distance=_distance(expected, mine, other),
        predictions=float(mine.sum()),
        effective=float(discounted.sum()),
    )


def grid_bins(model: str, predictions: ArrayLike, grid: Grid) -> Codes:
    """The bin of the grid of each prediction of a model.

    Raises:
        CannotAnswer: A number is not finite, or a class is unknown.
    """
    if grid.classes:
        return class_codes(predictions, grid.classes, f"{model} predictions")
    values = parse_scores(model, predictions, np.size(predictions))
    if not np.isfinite(values).all():
        raise CannotAnswer(f"{model} predictions are not all finite")
    return np.searchsorted(grid.edges, values, side="right")


def _value_bins(counts: NDArray[np.intp], most: int) -> Codes:
    """The bin of each bin of the grid, cut where pooled predictions are nearest to equal parts."""
    # Two parts may meet at one edge, where many predictions are equal. Then there are fewer bins.
    share = counts.cumsum()[:-1] / counts.sum()
    bins = np.zeros(counts.size, dtype=np.intp)
    for part in range(1, most):
        if share.size:
            bins[np.abs(share - part / most).argmin() + 1] = 1
    return bins.cumsum()


def _class_bins(counts: NDArray[np.intp], most: int) -> Codes:
    if counts.size <= most:
        return np.arange(counts.size)
    bins = np.full(counts.size, most - 1)
    frequent = np.sort(np.argsort(-counts, kind="stable")[: most - 1])
    bins[frequent] = np.arange(most - 1)
    return bins


def _kernel(before: Codes, after: Codes, shares: Floats) -> tuple[tuple[float, ...], ...]:
    """Shares of `after` by `before`."""
    counts = np.zeros((shares.size, shares.size))
    np.add.at(counts, (before, after), 1)
    # One prior row, distributed as all rows are: a bin that stable never used has shares too.
    rows = (counts + shares) / (counts.sum(axis=1, keepdims=True) + 1)
    return tuple(tuple(row) for row in rows.tolist())


def added_by_bin(expected: ExpectedPredictions, histograms: Histograms) -> Floats:
    """What each sample adds by bin, shape (samples, k)."""
    size = len(expected.bins)
    is_array = isinstance(histograms, np.ndarray)
    if (set(np.shape(histograms)[1:]) if is_array else {*map(len, histograms)}) - {size}:
        raise ValueError(f"histograms must have the {size} bins of the expected predictions' grid")
    added = counted_increments(np.reshape(histograms, (-1, size)))
    if expected.bins == tuple(range(len(expected.shares))):
        return added.T.copy().T  # bin after bin, as below: sums of floats depend on the order
    merged = np.zeros((len(expected.shares), len(histograms)))
    np.add.at(merged, list(expected.bins), added.T)
    return merged.T


def _distance(expected: ExpectedPredictions, canary: Floats, stable: Floats | None) -> float:
    counts, others = canary.sum(axis=0), None if stable is None else stable.sum(axis=0)
    if not counts.sum() or (others is not None and not others.sum()):
        return 0.0
    shares = np.array(expected.shares)
    if others is not None:
        shares = others / others.sum() @ np.array(expected.kernel)
    return float(np.abs(counts / counts.sum() - shares).sum() / 2)
