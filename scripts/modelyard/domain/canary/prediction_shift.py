"""Whether a canary predicts in traffic what its held-out rows promised."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from modelyard.domain.canary.error_rate import NO_EVIDENCE, Evidence, ranges_with_both_arms
from modelyard.domain.canary.grid import Grid
from modelyard.domain.gate.delong import Codes, Floats, parse_scores
from modelyard.errors import CannotAnswer

MOST_BINS = 10
STAKES = np.array([0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9])  # parts of the greatest possible bet
LEAST_SHARE = 1e-9  # outside a set that is promised everything
IMAGINARY_ROWS = 50  # of stable as held out, until live ones outweigh them


@dataclass(frozen=True, kw_only=True)
class ExpectedPredictions:
    """How two models' predictions go together on held-out rows, in at most ten bins.

    Args:
        edges: Inner edges of the bins, some of the grid's; empty for classes.
        bins: For each bin of the grid, the one of these it belongs to.
        kernel: Row by bin of stable, the share of each bin of the canary on the same rows; shape
            (k, k), rows sum to 1. Empty when there was no champion.
        expected: The canary's own share by bin on held-out rows, shape (k,).
        rows: Held-out rows behind it.
    """

    edges: tuple[float, ...]
    bins: tuple[int, ...]
    kernel: tuple[tuple[float, ...], ...]
    shares: tuple[float, ...]
    rows: int


@dataclass(frozen=True, kw_only=True)
class HistogramSample:
    """Predictions by bin of the grid, counted from the start of the comparison until now.

    Args:
        canary: Shape (grid bins,).
        stable: Likewise; None where there is no stable arm.
    """

    canary: tuple[float, ...]
    stable: tuple[float, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class ShiftEvidence:
    """What traffic says of a promise.

    Args:
        evidence: Against "the canary's predictions stay within the radius of the promised ones".
        distance: Total variation seen between them, 0 to 1; 0 before anything was predicted.
        predictions: Predictions of the canary.
        worth: How many independent ones they count as.
    """

    evidence: Evidence
    distance: float
    predictions: float
    effective: float


def expect_predictions(
    champion: ArrayLike | None, challenger: ArrayLike, grid: Grid
) -> ExpectedPredictions:
    """What the challenger will predict in traffic, given what the champion predicts there.

    Numbers get ten bins that hold equal parts of both models' pooled predictions, snapped to the
    grid. Of more than ten classes all but the nine most frequent are one bin.

    Args:
        champion: Shape (n,), its primary output on the held-out rows; None for a first version.
        challenger: Shape (n,), on the same rows.
        grid: What predictions are counted on in traffic.

    Raises:
        CannotAnswer: No rows, shapes that differ, a number that is not finite or an unknown class.
    """
    after = _grid_bins("challenger", challenger, grid)
    before = after if champion is None else _grid_bins("champion", champion, grid)
    if not after.size or before.size != after.size:
        raise CannotAnswer(f"{before.size} champion and {after.size} challenger predictions")
    counts = np.bincount(np.concatenate([before, after]), minlength=grid.bins)
    bins = _class_bins(counts) if grid.classes else _value_bins(counts)
    shares = np.bincount(bins[after], minlength=bins.max() + 1) / after.size
    return ExpectedPredictions(
        edges=tuple(grid.edges[place] for place in np.flatnonzero(np.diff(bins)) if grid.edges),
        bins=tuple(bins.tolist()),
        kernel=() if champion is None else _kernel(bins[before], bins[after], shares),
        shares=tuple(shares.tolist()),
        rows=after.size,
    )


def shift_evidence(
    expected: ExpectedPredictions,
    samples: Sequence[HistogramSample],
    radius: float,
    design_effects: ArrayLike = 1.0,
) -> ShiftEvidence:
    """Evidence that the canary's predictions are further from the promise than the radius.

    The promised distribution is that of stable's live predictions sent through the kernel, or the
    held-out one where a sample has no stable. The null is the total-variation ball around it, that
    is: no set of bins gets more than its promised share plus the radius. For every set, canary
    predictions in it are bet on and stable ones against it, by amounts fixed before an interval
    that cancel in the mean whatever stable's distribution is; the capitals are averaged over sets
    and stakes (betting: Waudby-Smith and Ramdas 2024, J. R. Stat. Soc. B 86:1-27; a null that is a
    ball, not a point, after Wasserman, Ramdas and Balakrishnan 2020, PNAS 117:16880-16890, whose
    universal inference pays for estimating all bins at once and so needs more predictions). Traffic
    and shares may change between samples. By Ville (1939) one may look at any time.

    The bets are on rows that are independent. Rows that came together count for fewer, what a
    sample adds divided by its design effect (see `design_effect`). Were the rows of every request
    one, this would be exact: the bets are concave in a request's share h of rows in a set,
    log(1 + l (h - m)) >= h log(1 + l (1 - m)) + (1 - h) log(1 - l m), so a request that counts as
    one row keeps the mean capital at or below 1. In between it holds as far as the design effect is
    known.

    Args:
        expected: Of this canary, against this stable.
        samples: Counts that never fall, oldest first; all with stable or all without.
        radius: From 0 to 1; at 1 nothing is evidence.
        design_effects: Rows that are worth one, at least 1; shape (samples,), or one for all.

    Raises:
        ValueError: radius or a design effect out of range, not one of these a sample, counts that
            fall or are not finite, or of another grid.
    """
    if not 0 <= radius <= 1:
        raise ValueError(f"radius must be from 0 to 1, not {radius}")
    effects = np.asarray(design_effects, dtype=np.float64)
    if not ((effects >= 1) & np.isfinite(effects)).all():
        raise ValueError(f"design effects must be at least 1, not {effects.min()}")
    each = np.broadcast_to(effects, len(samples))[:, None]
    canary = _increments(expected, [sample.canary for sample in samples])
    stable = None
    if expected.kernel and samples and samples[0].stable is not None:
        stable = _increments(expected, [sample.stable or () for sample in samples])
    total = canary.sum(axis=0)
    return ShiftEvidence(
        evidence=_evidence(
            expected,
            canary / each,
            None if stable is None else stable / each,
            radius,
        ),
        distance=_distance(expected, total, None if stable is None else stable.sum(axis=0)),
        predictions=float(total.sum()),
        effective=float((canary / each).sum()),
    )


def _grid_bins(model: str, predictions: ArrayLike, grid: Grid) -> Codes:
    if grid.classes:
        places = {level: place for place, level in enumerate(grid.classes)}
        levels = np.asarray(predictions).tolist()
        unknown = [level for level in levels if level not in places]
        if unknown:
            raise CannotAnswer(f"{model} predicted {unknown[0]!r}, which is none of its classes")
        return np.array([places[level] for level in levels], dtype=np.intp)
    values = parse_scores(model, predictions, np.size(predictions))
    if not np.isfinite(values).all():
        raise CannotAnswer(f"{model} predictions are not all finite")
    return np.searchsorted(grid.edges, values, side="right")


def _value_bins(counts: NDArray[np.intp]) -> Codes:
    """Cuts the grid where the pooled predictions come nearest to each tenth."""
    share = counts.cumsum()[:-1] / counts.sum()
    bins = np.zeros(counts.size, dtype=np.intp)
    for tenth in range(1, MOST_BINS):
        if share.size:
            bins[np.abs(share - tenth / MOST_BINS).argmin() + 1] = 1
    return bins.cumsum()


def _class_bins(counts: NDArray[np.intp]) -> Codes:
    if counts.size <= MOST_BINS:
        return np.arange(counts.size)
    bins = np.full(counts.size, MOST_BINS - 1)
    frequent = np.sort(np.argsort(-counts, kind="stable")[: MOST_BINS - 1])
    bins[frequent] = np.arange(MOST_BINS - 1)
    return bins


def _kernel(before: Codes, after: Codes, shares: Floats) -> tuple[tuple[float, ...], ...]:
    """Shares of `after` by `before`, with one imaginary row that follows the whole."""
    counts = np.zeros((shares.size, shares.size))
    np.add.at(counts, (before, after), 1)
    rows = (counts + shares) / (counts.sum(axis=1, keepdims=True) + 1)
    return tuple(tuple(row) for row in rows.tolist())


def _increments(expected: ExpectedPredictions, histograms: Sequence[Sequence[float]]) -> Floats:
    """What each sample adds, shape (samples, k)."""
    size = len(expected.bins)
    if any(len(histogram) != size for histogram in histograms):
        raise ValueError(f"histograms must have the {size} bins of the promise's grid")
    counts = np.array(histograms, dtype=np.float64).reshape(-1, size)
    grown = np.diff(counts, axis=0, prepend=np.zeros((1, size)))
    if not np.isfinite(grown).all() or (grown < 0).any():
        raise ValueError("counts must be finite and must not fall")
    merged = np.zeros((len(expected.shares), len(histograms)))
    np.add.at(merged, list(expected.bins), grown.T)
    return merged.T


def _distance(expected: ExpectedPredictions, canary: Floats, stable: Floats | None) -> float:
    if not canary.sum() or (stable is not None and not stable.sum()):
        return 0.0
    expected_shares = np.array(expected.shares)
    if stable is not None:
        expected_shares = stable / stable.sum() @ np.array(expected.kernel)
    return float(np.abs(canary / canary.sum() - expected_shares).sum() / 2)


def _evidence(
    expected: ExpectedPredictions, canary: Floats, stable: Floats | None, radius: float
) -> Evidence:
    sets = np.array(list(itertools.product((0.0, 1.0), repeat=canary.shape[1]))[1:-1])
    totals = canary.sum(axis=1)
    ranges = ranges_with_both_arms(totals, totals if stable is None else stable.sum(axis=1))
    if not ranges or not sets.size:
        return NO_EVIDENCE
    canary = np.array([canary[start:end].sum(axis=0) for start, end in ranges])
    if stable is None:
        gains = _gains_alone(canary @ sets.T, canary.sum(axis=1), sets @ expected.shares + radius)
    else:
        stable = np.array([stable[start:end].sum(axis=0) for start, end in ranges])
        gains = _gains_of_both(expected, sets, canary, stable, radius)
    capitals = itertools.accumulate(gains, np.add)
    logs = [float(np.logaddexp.reduce(c, axis=None)) - math.log(c.size) for c in capitals]
    return Evidence(now=logs[-1], peak=max(0.0, *logs))


def _gains_alone(hits: Floats, totals: Floats, limits: Floats) -> Iterator[Floats]:
    """Log growth by set and stake, shape (sets, stakes), of each interval."""
    stakes = _stakes(limits, np.inf)
    for hit, total in zip(hits, totals, strict=True):
        yield _log_gain(hit, total, stakes, limits)


def _gains_of_both(
    expected: ExpectedPredictions, sets: Floats, canary: Floats, stable: Floats, radius: float
) -> Iterator[Floats]:
    """As `_gains_alone`, with what stable's own predictions add."""
    chances = sets @ np.array(expected.kernel).T
    means = _means_so_far(sets @ expected.shares, chances, stable)
    for mine, other, mean in zip(canary, stable, means, strict=True):
        ratio = mine.sum() / other.sum()
        stakes = _stakes(mean + radius, 1 / (ratio * np.maximum(1 - mean, LEAST_SHARE)))
        won = _log_gain(sets @ mine, mine.sum(), stakes, mean + radius)
        against = 1 + ratio * stakes[:, None, :] * (mean[:, None] - chances)[:, :, None]
        yield won + np.einsum("b,sbk->sk", other, np.log(against))


def _means_so_far(held_out: Floats, chances: Floats, stable: Floats) -> Floats:
    """Each set's promised share by what stable predicted before the interval, shape (t, sets)."""
    before = stable.cumsum(axis=0) - stable
    seen = before.sum(axis=1, keepdims=True)
    means: Floats = (IMAGINARY_ROWS * held_out + before @ chances.T) / (IMAGINARY_ROWS + seen)
    return means


def _stakes(limits: Floats, most: Floats | float) -> Floats:
    """Bets that no single prediction can bankrupt; none on a set that may hold everything."""
    greatest: Floats = np.where(limits < 1, np.minimum(1 / limits, most), 0.0)
    stakes: Floats = greatest[:, None] * STAKES
    return stakes


def _log_gain(hits: Floats, total: float, stakes: Floats, limits: Floats) -> Floats:
    hit = hits[:, None] * np.log1p(stakes * (1 - limits)[:, None])
    won: Floats = hit + (total - hits)[:, None] * np.log1p(-stakes * limits[:, None])
    return won
