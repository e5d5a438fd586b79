"""E-processes on error rates: evidence from counts that is valid at any time."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from modelyard.domain.specs.column_values import Floats

# The alternatives that a mixture averages over. A wider grid finds more, a finer one finds it a
# little sooner; the test is valid with any.
RATE_RATIOS = np.exp(np.geomspace(0.1, 7.0, 20))  # of the canary's rate to stable's: 1.1 to 1,100
BASE_RATES = np.geomspace(2e-4, 0.6, 16)  # error rates that both arms may have in common
# Of slow or refused requests: nearly all requests of both arms may be.
WIDE_RATES = np.append(BASE_RATES, [0.75, 0.9, 0.97, 0.995])
EXCESSES = np.array([0.05, 0.1, 0.2, 0.4, 0.8])  # beyond a margin, as parts of what is possible
LIMIT_SHIFTS = np.geomspace(0.1, 8.0, 20)  # distances from a limit, in log odds

LEAST_LIMIT = 1e-6  # at a limit of 0 or 1 a single contrary row would be infinite evidence
BISECTIONS = 50  # halve an interval below the spacing of float64


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The logarithm of an e-value against a null hypothesis, in nats; 0 is no evidence.

    Under the null an e-process reaches 1/alpha at any time with probability at most alpha (Ville
    1939). So it may be evaluated after every request, and the test may stop at any time.

    Args:
        now: The log e-value after the last sample.
        peak: The greatest log e-value so far, at least 0.
    """

    now: float
    peak: float

    def ever_rejects(self, alpha: float) -> bool:
        """Whether the null was rejected at any time."""
        return self.peak >= math.log(1 / alpha)

    def rejects_now(self, alpha: float) -> bool:
        """Whether all samples together reject the null."""
        return self.now >= math.log(1 / alpha)


NO_EVIDENCE = Evidence(now=0.0, peak=0.0)


def against_not_worse(
    canary_totals: ArrayLike,
    canary_errors: ArrayLike,
    stable_totals: ArrayLike,
    stable_errors: ArrayLike,
    *,
    most: float = math.inf,
) -> Evidence:
    """Evidence against the null "in no interval is the canary's error rate above stable's".

    If the rates are equal, each of an interval's errors is the canary's with probability
    n_c/(n_c + n_s). This is the two-sample test of Turner, Ly and Grunwald 2024, J. Stat. Plan.
    Inference 230:106116, conditional on the number of errors. The likelihood ratio of "r times as
    likely" is averaged over r > 1 (Robbins 1970, Ann. Math. Stat. 41:1397-1409; Howard et al. 2021,
    Ann. Stat. 49:1055-1080). Errors are in fact drawn without replacement, which only lowers the
    mean (Hoeffding 1963, theorem 4); a canary better than stable lowers it too. Traffic shares and
    error rates may change between samples.

    Args:
        canary_totals: Shape (t,), requests of the canary from the start until each sample.
        canary_errors: Shape (t,), how many of these were errors.
        stable_totals: Shape (t,), requests of stable.
        stable_errors: Shape (t,), how many of these were errors.
        most: The most that one interval may add, so that one bad moment decides nothing; a capped
            factor has a mean of at most 1 too.

    Raises:
        ValueError: Counts fall, are negative or not finite, or errors exceed requests.
    """
    counts = (canary_totals, canary_errors, stable_totals, stable_errors)
    canary, canary_hits, stable, stable_hits = _joint_increments(*counts)
    share = canary / (canary + stable)
    # Each ratio r is a likelihood ratio: k log r - e log(1 + p (r - 1)) for k of e errors, share p.
    gains = canary_hits[:, None] * np.log(RATE_RATIOS)
    gains -= (canary_hits + stable_hits)[:, None] * np.log1p(share[:, None] * (RATE_RATIOS - 1))
    return _mixture(gains, most)


def against_worse_by(
    canary_totals: ArrayLike,
    canary_errors: ArrayLike,
    stable_totals: ArrayLike,
    stable_errors: ArrayLike,
    margin: float,
    *,
    rates: Floats = BASE_RATES,
) -> Evidence:
    """Evidence against the null "in every interval the canary is worse by the margin or more".

    The alternative is "both rates are t", averaged over t. Its likelihood is divided by that of its
    reverse information projection on the null, the nearest pair (u + margin, u). Because the null
    is convex, this is an e-variable for one request of each arm (Turner and Grunwald 2023, Stat.
    Probab. Lett. 198:109835); for given numbers of requests it follows by the inequality of
    arithmetic and geometric means.

    Args:
        canary_totals: As in `against_not_worse`.
        canary_errors: As in `against_not_worse`.
        stable_totals: As in `against_not_worse`.
        stable_errors: As in `against_not_worse`.
        margin: Difference of rates, from 0 to 1. At 0 and at 1 there is never any evidence.
        rates: The rates t that are averaged over.

    Raises:
        ValueError: margin out of range, or counts as in `against_not_worse`.
    """
    counts = (canary_totals, canary_errors, stable_totals, stable_errors)
    return _mixture(_gains_over_margin(counts, margin, rates, rates))


def against_within(
    canary_totals: ArrayLike,
    canary_hits: ArrayLike,
    stable_totals: ArrayLike,
    stable_hits: ArrayLike,
    margin: float,
    *,
    allowed: ArrayLike | None = None,
    most: float = math.inf,
) -> Evidence:
    """Evidence against the null "in no interval is the canary worse by more than the margin".

    As `against_worse_by`, from the other side of the line: the alternatives are beyond the margin.

    Args:
        canary_totals: As in `against_not_worse`, and so are the other three, of hits of any kind.
        canary_hits: As above.
        stable_totals: As above.
        stable_hits: As above.
        margin: As in `against_worse_by`; at 1 there is never any evidence.
        allowed: Shape (t,), the most evidence that there may be until each sample, so that one bad
            moment decides nothing: a capped factor has a mean of at most 1 too. None for no cap.
        most: As in `against_not_worse`.

    Raises:
        ValueError: margin out of range, or counts as in `against_not_worse`.
    """
    base = WIDE_RATES[WIDE_RATES + margin < 1][:, None]
    above = (base + margin + EXCESSES * (1 - base - margin)).ravel()
    below = np.broadcast_to(base, (base.size, EXCESSES.size)).ravel()
    counts = (canary_totals, canary_hits, stable_totals, stable_hits)
    gains = _gains_over_margin(counts, margin, above, below)
    if allowed is not None and gains.size:
        ranges = ranges_with_both_arms(*(counted_increments(counts[arm]) for arm in (0, 2)))
        gains = np.minimum(gains, sum_ranges(counted_increments(allowed), ranges)[:, None])
    return _mixture(gains, most)


def against_at_most(
    totals: ArrayLike, hits: ArrayLike, limit: float, *, most: float = math.inf
) -> Evidence:
    """Evidence against the null "the share of hits is never above the limit", for one arm.

    Bernoulli likelihood ratios of larger shares to the limit, averaged (Robbins 1970, as in
    `against_not_worse`). The share may change between samples.

    Args:
        totals: Shape (t,), counts from the start until each sample.
        hits: Shape (t,), how many of these are errors, nulls or unseen levels.
        limit: At least 0. From 1 on there is never any evidence.
        most: As in `against_not_worse`.

    Raises:
        ValueError: limit out of range, or counts as in `against_not_worse`.
    """
    if limit >= 1:
        return NO_EVIDENCE
    return _against_limit(totals, hits, max(limit, LEAST_LIMIT), LIMIT_SHIFTS, most)


def against_at_least(
    totals: ArrayLike, hits: ArrayLike, limit: float, *, most: float = math.inf
) -> Evidence:
    """Evidence against the null "the share of hits is never below the limit".

    Otherwise as `against_at_most`. At a limit of 0 there is never any evidence.
    """
    if limit <= 0:
        return NO_EVIDENCE
    return _against_limit(totals, hits, min(limit, 1 - LEAST_LIMIT), -LIMIT_SHIFTS, most)


def counted_increments(totals: ArrayLike) -> Floats:
    """What each sample adds to counts that start at 0, along the first axis.

    Raises:
        ValueError: Counts fall, are negative or not finite.
    """
    added: Floats = np.diff(np.asarray(totals, dtype=np.float64), axis=0, prepend=0.0)
    if not np.isfinite(added).all() or (added < 0).any():
        raise ValueError("counts must be finite and must not fall")
    return added


def _against_limit(
    totals: ArrayLike,
    hits: ArrayLike,
    limit: float,
    shifts: Floats,
    most: float,
) -> Evidence:
    if not 0 < limit < 1:
        raise ValueError(f"limit must be from 0 to 1, not {limit}")
    total, hit = (column[:, None] for column in _increments(totals, hits))
    # Shifted in log odds, alternatives stay between 0 and 1 at any limit.
    alternatives = 1 / (1 + (1 - limit) / limit * np.exp(-shifts))
    gains = _log_ratio(total, hit, alternatives, limit)
    return _mixture(gains, most)


def _gains_over_margin(
    counts: tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike],
    margin: float,
    above: Floats,
    below: Floats,
) -> Floats:
    """Log ratios of pairs of rates to the nearest pair (u + margin, u); (intervals, pairs)."""
    if not 0 <= margin <= 1:
        raise ValueError(f"margin must be from 0 to 1, not {margin}")
    canary, canary_hits, stable, stable_hits = (c[:, None] for c in _joint_increments(*counts))
    if margin == 1:
        return canary[:0]
    shares, which = np.unique(canary / (canary + stable), return_inverse=True)
    pairs = (tuple(above.tolist()), tuple(below.tolist()))
    nearest = _projections(margin, *pairs, tuple(shares.tolist()))[which.ravel()]
    gains = _log_ratio(canary, canary_hits, above, nearest + margin)
    return gains + _log_ratio(stable, stable_hits, below, nearest)


def _increments(totals: ArrayLike, hits: ArrayLike) -> tuple[Floats, Floats]:
    total, hit = counted_increments(totals), counted_increments(hits)
    if (total < hit).any():
        raise ValueError("errors must not exceed requests")
    return total, hit


def _joint_increments(
    canary_totals: ArrayLike,
    canary_errors: ArrayLike,
    stable_totals: ArrayLike,
    stable_errors: ArrayLike,
) -> list[Floats]:
    """Increments of the four counts, summed over intervals in which both arms answered."""
    canary = _increments(canary_totals, canary_errors)
    stable = _increments(stable_totals, stable_errors)
    ranges = ranges_with_both_arms(canary[0], stable[0])
    return [sum_ranges(column, ranges) for column in (*canary, *stable)]


def sum_ranges(increments: Floats, ranges: list[tuple[int, int]]) -> Floats:
    """The sums of the ranges, which follow each other, along the first axis."""
    if not ranges:
        return increments[:0]
    sums: Floats = np.add.reduceat(increments[: ranges[-1][1]], [start for start, _ in ranges])
    return sums


def ranges_with_both_arms(first: Floats, second: Floats) -> list[tuple[int, int]]:
    """The shortest ranges of samples in which both arms answered.

    One arm alone is no comparison, so its requests wait for the other's. A last range that lacks an
    arm is left out.

    Args:
        first: Shape (t,), what one arm answered between samples.
        second: Shape (t,), what the other arm answered.
    """
    ranges: list[tuple[int, int]] = []
    start, has_first, has_second = 0, False, False
    for end, (one, other) in enumerate(zip(first.tolist(), second.tolist(), strict=True), start=1):
        has_first, has_second = has_first or one != 0, has_second or other != 0
        if has_first and has_second:
            ranges.append((start, end))
            start, has_first, has_second = end, False, False
    return ranges


# Intervals are often split alike, and the projections are nearly all of the work.
@functools.lru_cache(maxsize=32)
def _projections(
    margin: float, above: tuple[float, ...], below: tuple[float, ...], shares: tuple[float, ...]
) -> Floats:
    """The u of the pair (u + margin, u) nearest to each pair of rates, shape (shares, pairs)."""
    canary, stable = np.array(above), np.array(below)
    share = np.array(shares)[:, None]
    ends = np.clip([canary - margin, stable], 0.0, 1 - margin)
    shape = np.broadcast(canary, share).shape
    low, high = (np.broadcast_to(end, shape) for end in (ends.min(axis=0), ends.max(axis=0)))
    for _ in range(BISECTIONS):
        # The divergence is convex in u, so the sign of its slope says on which side the least is.
        u = (low + high) / 2
        slope = share * (u + margin - canary) / ((u + margin) * (1 - u - margin))
        slope += (1 - share) * (u - stable) / (u * (1 - u))
        low, high = np.where(slope < 0, u, low), np.where(slope < 0, high, u)
    middle: Floats = (low + high) / 2
    return middle


def _log_ratio(total: Floats, hit: Floats, above: Floats, below: Floats | float) -> Floats:
    gain: Floats = hit * np.log(above / below) + (total - hit) * np.log((1 - above) / (1 - below))
    return gain


def _mixture(gains: Floats, most: float = math.inf) -> Evidence:
    """Evidence averaged over alternatives, from log factors of shape (samples, alternatives).

    Args:
        gains: The log factors.
        most: The most that one sample may add to the average. The part of each alternative in it
            is known before the sample, and so a capped average has a mean of at most 1 too.
    """
    if not gains.size:
        return NO_EVIDENCE
    # The mean of e-processes is one too. Logarithms, because a product of factors would overflow.
    capitals = np.minimum(gains, most).cumsum(axis=0)
    paths = np.logaddexp.reduce(capitals, axis=1) - math.log(gains.shape[1])
    if most < math.inf:
        before = np.vstack([np.zeros(gains.shape[1]), capitals[:-1]])
        grown = np.logaddexp.reduce(before + gains, axis=1) - np.logaddexp.reduce(before, axis=1)
        paths = np.minimum(grown, most).cumsum()
    return Evidence(now=float(paths[-1]), peak=max(0.0, float(paths.max())))
