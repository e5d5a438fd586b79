"""Evidence from counts that stays valid however often one looks: e-processes on error rates."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

RATE_RATIOS = np.exp(np.geomspace(0.1, 7.0, 20))  # how many times worse a canary may turn out
BASE_RATES = np.geomspace(2e-4, 0.6, 16)  # what the common error rate may turn out to be
LIMIT_SHIFTS = np.geomspace(0.1, 8.0, 20)  # distance from a limit, in log odds
LEAST_LIMIT = 1e-6  # at 0 and 1 a single contrary row would be infinite evidence
BISECTIONS = 50


@dataclass(frozen=True, kw_only=True)
class TwoArmSample:
    """Requests and errors of both arms, counted from the start of the comparison until now.

    Args:
        canary_total: Requests the canary answered.
        canary_errors: Those that were errors.
        stable_total: Requests stable answered.
        stable_errors: Those that were errors.
    """

    canary_total: float
    canary_errors: float
    stable_total: float
    stable_errors: float


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A log e-value against a null hypothesis, in nats; 0 is no evidence.

    By Ville (1939) an e-process reaches 1/alpha at any time with probability at most alpha if its
    null holds, so one may look after every request and stop whenever one likes.

    Args:
        now: After the last sample.
        peak: The greatest so far, at least 0.
    """

    now: float
    peak: float

    def ever_rejects(self, alpha: float) -> bool:
        """Whether the null was rejected at some time."""
        return self.peak >= math.log(1 / alpha)

    def rejects_now(self, alpha: float) -> bool:
        """Whether the null is rejected by all that was seen until now."""
        return self.now >= math.log(1 / alpha)


NO_EVIDENCE = Evidence(now=0.0, peak=0.0)


def against_not_worse(samples: Sequence[TwoArmSample]) -> Evidence:
    """Evidence against "in no interval is the canary's error rate above stable's".

    Given an interval's errors, each is the canary's with probability n_c/(n_c + n_s) if the rates
    are equal (the two-sample test of Turner and Grunwald 2022, arXiv:2106.02693, conditional on
    the number of errors). The likelihood ratio of "r times as likely" is mixed over r > 1 (Robbins
    1970, Ann. Math. Stat. 41:1397-1409; Howard et al. 2021, Ann. Stat. 49:1055-1080). Errors are
    really drawn without replacement, which only lowers its mean (Hoeffding 1963, theorem 4), and
    so does a better canary. Shares and rates may change between samples.

    Args:
        samples: Counts that never fall, oldest first.

    Raises:
        ValueError: Counts fall, are negative or not finite, or errors exceed requests.
    """
    canary_total, canary_errors, stable_total, stable_errors = _joint_increments(samples)
    share = canary_total / (canary_total + stable_total)
    gains = canary_errors[:, None] * np.log(RATE_RATIOS)
    gains -= (canary_errors + stable_errors)[:, None] * np.log1p(share[:, None] * (RATE_RATIOS - 1))
    return _mixture(gains)


def against_worse_by(samples: Sequence[TwoArmSample], margin: float) -> Evidence:
    """Evidence against "in every interval the canary is worse by the margin or more".

    The alternative "both rates are t" is divided by its reverse information projection on the null,
    the nearest pair (u + margin, u), which makes an e-variable of every request because the null is
    convex (Turner and Grunwald 2023, Stat. Probab. Lett. 198:109835); fixed numbers of requests an
    arm follow by the inequality of arithmetic and geometric means. Mixed over t.

    Args:
        samples: Counts that never fall, oldest first.
        margin: Difference of rates, from 0 to 1; nothing is evidence at either end.

    Raises:
        ValueError: margin out of range, or counts as in `against_not_worse`.
    """
    if not 0 <= margin <= 1:
        raise ValueError(f"margin must be from 0 to 1, not {margin}")
    canary_total, canary_errors, stable_total, stable_errors = (
        column[:, None] for column in _joint_increments(samples)
    )
    rates = _rates_below(margin)
    shares, which = np.unique(canary_total / (canary_total + stable_total), return_inverse=True)
    nearest = _projections(margin, tuple(shares.tolist()))[which.ravel()]
    gains = _log_ratio(canary_total, canary_errors, rates, nearest + margin)
    gains += _log_ratio(stable_total, stable_errors, rates, nearest)
    return _mixture(gains)


def against_at_most(totals: ArrayLike, hits: ArrayLike, limit: float) -> Evidence:
    """Evidence against "the share of hits never is above the limit", for one arm.

    Bernoulli likelihood ratios of greater shares to the limit, mixed (Robbins 1970, as in
    `against_not_worse`); the share may change between samples.

    Args:
        totals: Shape (t,), counts from the start until each sample.
        hits: Shape (t,), the errors, nulls or unseen levels among them.
        limit: At least 0; from 1 on nothing can be evidence.

    Raises:
        ValueError: limit out of range, or counts as in `against_not_worse`.
    """
    if limit >= 1:
        return NO_EVIDENCE
    return _against_limit(totals, hits, max(limit, LEAST_LIMIT), LIMIT_SHIFTS)


def against_at_least(totals: ArrayLike, hits: ArrayLike, limit: float) -> Evidence:
    """Evidence against "the share of hits never is below the limit"; else as `against_at_most`.

    Of a limit of 0 nothing is evidence.
    """
    if limit <= 0:
        return NO_EVIDENCE
    return _against_limit(totals, hits, min(limit, 1 - LEAST_LIMIT), -LIMIT_SHIFTS)


def _against_limit(totals: ArrayLike, hits: ArrayLike, limit: float, shifts: Floats) -> Evidence:
    if not 0 < limit < 1:
        raise ValueError(f"limit must be from 0 to 1, not {limit}")
    total, hit = (column[:, None] for column in _increments(totals, hits))
    alternatives = 1 / (1 + (1 - limit) / limit * np.exp(-shifts))
    return _mixture(_log_ratio(total, hit, alternatives, limit))


def _increments(totals: ArrayLike, hits: ArrayLike) -> tuple[Floats, Floats]:
    """What was counted between samples, from counts that start at nothing."""
    total, hit = (np.diff(np.asarray(c, dtype=np.float64), prepend=0.0) for c in (totals, hits))
    if not (np.isfinite(total).all() and np.isfinite(hit).all()):
        raise ValueError("counts must be finite")
    if (hit < 0).any() or (total < hit).any():
        raise ValueError("counts must not fall, and no more errors can be new than requests")
    return total, hit


def _joint_increments(samples: Sequence[TwoArmSample]) -> tuple[Floats, Floats, Floats, Floats]:
    """Increments of both arms, joined until both answered something: one alone says nothing."""
    canary = _increments([s.canary_total for s in samples], [s.canary_errors for s in samples])
    stable = _increments([s.stable_total for s in samples], [s.stable_errors for s in samples])
    ranges = ranges_with_both_arms(canary[0], stable[0])
    return (
        _sum_ranges(canary[0], ranges),
        _sum_ranges(canary[1], ranges),
        _sum_ranges(stable[0], ranges),
        _sum_ranges(stable[1], ranges),
    )


def _sum_ranges(column: Floats, ranges: list[tuple[int, int]]) -> Floats:
    if not ranges:
        return np.zeros(0)
    sums: Floats = np.add.reduceat(column[: ranges[-1][1]], [start for start, _ in ranges])
    return sums


def ranges_with_both_arms(first: Floats, second: Floats) -> list[tuple[int, int]]:
    """The shortest ranges of samples in which both arms answered; a last one without is left out.

    Args:
        first: Shape (t,), what one arm answered between samples.
        second: Shape (t,), the other.
    """
    ranges: list[tuple[int, int]] = []
    start, one, other = 0, False, False
    answered = zip(np.asarray(first).tolist(), np.asarray(second).tolist(), strict=True)
    for end, (mine, its) in enumerate(answered, start=1):
        one, other = one or mine != 0, other or its != 0
        if one and other:
            ranges.append((start, end))
            start, one, other = end, False, False
    return ranges


def _rates_below(margin: float) -> Floats:
    rates: Floats = BASE_RATES[BASE_RATES + margin < 1]
    return rates


@functools.lru_cache(maxsize=32)
def _projections(margin: float, shares: tuple[float, ...]) -> Floats:
    """A row a share; intervals are often split alike, and this is nearly all of the work."""
    return _projection(_rates_below(margin), margin, np.array(shares)[:, None])


def _projection(rates: Floats, margin: float, share: Floats) -> Floats:
    """The u of the pair (u + margin, u) nearest to (rate, rate), by bisecting the derivative."""
    low = np.broadcast_to(np.maximum(0.0, rates - margin), np.broadcast(rates, share).shape)
    high = np.broadcast_to(np.minimum(rates, 1 - margin), low.shape)
    for _ in range(BISECTIONS):
        u = (low + high) / 2
        slope = share * (u + margin - rates) / ((u + margin) * (1 - u - margin))
        slope += (1 - share) * (u - rates) / (u * (1 - u))
        low, high = np.where(slope < 0, u, low), np.where(slope < 0, high, u)
    middle: Floats = (low + high) / 2
    return middle


def _log_ratio(total: Floats, hit: Floats, above: Floats, below: Floats | float) -> Floats:
    gain: Floats = hit * np.log(above / below) + (total - hit) * np.log((1 - above) / (1 - below))
    return gain


def _mixture(gains: Floats) -> Evidence:
    """Evidence of equally weighted alternatives: `gains` has shape (samples, alternatives)."""
    if not gains.size:
        return NO_EVIDENCE
    paths = np.logaddexp.reduce(gains.cumsum(axis=0), axis=1) - math.log(gains.shape[1])
    return Evidence(now=float(paths[-1]), peak=max(0.0, float(paths.max())))
