"""Bets on sets of bins: their mean capital is the evidence that predictions are shifted."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from modelyard.domain.canary.error_rate import (
    NO_EVIDENCE,
    Evidence,
    ranges_with_both_arms,
    sum_ranges,
)
from modelyard.domain.specs.column_values import Floats

STAKES = np.array([0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9])  # as parts of the greatest possible bet
LEAST_SHARE = 1e-9  # of what is expected nowhere, and outside of what is expected to be everything
PRIOR_ROWS = 50  # rows distributed as held out, which stable's live rows soon outweigh

FORGOTTEN = 80.0
"""What is so far below another logarithm changes no digit beside it: float64 has 16 of them, and
e^-80 is 35 digits away."""

_CHUNK = 100_000
_ONE_THREAD = 2**18
"""Multiplications up to which OpenBLAS takes one thread; with more, threads wait for each other."""

_TILE = 8  # rows that OpenBLAS computes together, so that parts have the digits of the whole
_LIKELY = 16  # bets that show what the greatest will be
_GROWTH = 4  # of the looks until bets are left out, from one time to the next


def evidence_of_bets(
    kernel: Floats,
    shares: Floats,
    canary: Floats,
    stable: Floats | None,
    *,
    radius: float,
    most: float,
    is_peak_enough: bool = False,
) -> Evidence:
    """The evidence of `shift_evidence`.

    Args:
        kernel: By bin of stable, the expected shares of the canary's bins; without stable not read.
        shares: The canary's own shares, shape (k,).
        canary: What each sample adds to the canary's bins, shape (samples, k).
        stable: The same of stable; None if it is not compared with.
        radius: As there.
        most: As there.
        is_peak_enough: As there.
    """
    # Every set of bins but the empty and the whole one: the total variation distance is the largest
    # difference of any set's share.
    sets = _sets_of(canary.shape[1])
    totals = canary.sum(axis=1)
    ranges = ranges_with_both_arms(totals, totals if stable is None else stable.sum(axis=1))
    if not ranges or not sets.size:
        return NO_EVIDENCE
    canary = sum_ranges(canary, ranges)
    if stable is None:
        gains = _gains_alone(_times(canary, sets), canary.sum(axis=1), sets @ shares + radius)
        return _evidence(_logs_of_all(gains, len(sets), most))
    pair = _Pair(kernel, shares, sets, canary, sum_ranges(stable, ranges), radius)
    if is_peak_enough and _never_gains(pair):
        return NO_EVIDENCE
    return _evidence(_logs_of_living(pair, most))


def most_evidence_alone(
    shares: Floats, canary: Floats, starts: Sequence[int], *, radius: float
) -> list[float]:
    """What the evidence without stable reaches at most, of the looks from each of these on.

    It is quick, as it takes no logarithms.
    """
    sets = _sets_of(canary.shape[1])
    limits = sets @ shares + radius
    beyond = _times(canary, sets) - canary.sum(axis=1, keepdims=True) * limits
    # The logarithm of 1 + x is at most x, and no bet is greater than the greatest.
    gains = beyond * _greatest_bets(limits, np.inf)
    return [float(gains[start:].cumsum(axis=0).max(initial=0.0)) for start in starts]


@lru_cache(maxsize=16)
def _sets_of(bins: int) -> Floats:
    found = np.array(list(itertools.product((0.0, 1.0), repeat=bins))[1:-1])
    found.setflags(write=False)
    return found


def _times(looks: Floats, sets: Floats) -> Floats:
    """`looks @ sets.T`, in one thread and with the same digits on any number of cores."""
    step = max(1, _ONE_THREAD // (_TILE * sets.size)) * _TILE
    parts = [looks[at : at + step] @ sets.T for at in range(0, max(1, len(looks)), step)]
    return np.concatenate(parts) if len(parts) > 1 else parts[0]


def _evidence(logs: list[float]) -> Evidence:
    return Evidence(now=logs[-1], peak=max(0.0, *logs))


def _logs_of_all(gains: Iterator[Floats], sets: int, most: float) -> list[float]:
    """The logarithm of the mean capital at each look, of gains by set and stake."""
    # Capitals of all sets and stakes are averaged only here: each must grow by itself.
    logs, capital = list[float](), np.zeros((sets, STAKES.size))
    for some in gains:
        # A capped factor has a mean of at most 1 too.
        capitals = capital + np.minimum(some, most).cumsum(axis=0)
        logs += _log_means(capitals)
        capital = capitals[-1]
    return logs


def _logs_of_living(pair: _Pair, most: float) -> list[float]:
    """The logarithm of the mean capital at each look, without bets that cannot come back.

    A bet is left out after a look if its capital is `FORGOTTEN` or more below the greatest one at
    each later look, whatever it gains until then. It would not change a digit of a mean.
    """
    hopes = _hopes(pair, most)
    where, stake = (each.ravel() for each in np.mgrid[: len(pair.sets), : STAKES.size])
    capital, places, logs = np.zeros(where.size), np.arange(where.size), list[float]()
    bets, start = where.size, 0
    for end in _ends(pair.looks):
        for some in _chunks(start, end, where.size * pair.chances.shape[1]):
            gains = np.minimum(pair.gains_of(some, where, stake), most)
            # Added look by look, so that sums are the same whatever the chunks are.
            capitals = np.vstack([capital, gains]).cumsum(axis=0)[1:]
            capital, greatest = capitals[-1], capitals.max(axis=1)
            # A bet that is left out keeps its place, so that sums are formed in the same order.
            all_bets = np.zeros((len(capitals), bets))
            all_bets[:, places] = np.exp(capitals - greatest[:, None])
            logs += (greatest + np.log(all_bets.mean(axis=1))).tolist()
        left = capital + hopes[end - 1][where, stake] >= -FORGOTTEN
        where, stake, capital, places = where[left], stake[left], capital[left], places[left]
        start = end
    return logs


def _never_gains(pair: _Pair) -> bool:
    """Whether the mean capital is above its beginning at no look, even with all it gains at most.

    It is quick, as it takes hardly any logarithms or powers: most canaries are well.
    """
    paths = pair.ceilings.cumsum(axis=0)
    paths = paths[paths.max(axis=1) > 0]
    # The greatest one alone would be more than the beginnings of all; and its power may overflow.
    if paths.max(initial=0.0) * STAKES[-1] > math.log(paths.shape[1] * STAKES.size):
        return False
    return bool((np.exp(paths[..., None] * STAKES).mean(axis=(1, 2)) <= 1).all())


def _ends(looks: int) -> list[int]:
    """After how many looks bets are left out: soon after the start, where most of them are lost."""
    found = [1]
    while found[-1] < looks:
        found.append(min(looks, math.ceil(_GROWTH * found[-1])))
    return found


def _hopes(pair: _Pair, most: float) -> dict[int, Floats]:
    """By look after which bets are left out: the most that each may have beside the greatest later.

    That is the greatest difference at any later look of what the bet gains until then at most, and
    of the capital that the best of a few bets has then.
    """
    ceilings = pair.ceilings
    likely = np.argsort(-np.minimum(ceilings * STAKES[0], most).sum(axis=0))[:_LIKELY]
    gains = pair.gains_of(slice(None), likely, np.zeros_like(likely))
    greatest = np.minimum(gains, most).cumsum(axis=0).max(axis=1)
    found, hope = dict[int, Floats](), np.full((len(pair.sets), STAKES.size), -math.inf)
    ends = _ends(pair.looks)
    for start, end in reversed([*pairwise([0, *ends])]):
        found[end - 1] = hope
        for some in reversed([*_chunks(start, end, hope.size)]):
            most_gained = np.minimum(ceilings[some, :, None] * STAKES, most).cumsum(axis=0)
            beside = (most_gained - greatest[some, None, None]).max(axis=0)
            hope = np.maximum(beside, most_gained[-1] + hope)
    return found


def _log_means(capitals: Floats) -> list[float]:
    """The logarithm of the mean capital at each sample; of logarithms (t, sets, stakes)."""
    flat = capitals.reshape(len(capitals), -1)
    greatest = flat.max(axis=1)
    means: list[float] = (greatest + np.log(np.exp(flat - greatest[:, None]).mean(axis=1))).tolist()
    return means


def _chunks(start: int, end: int, cells: int) -> Iterator[slice]:
    """Ranges of looks of which each has about as many numbers as are quick to compute with."""
    step = max(1, _CHUNK // max(cells, 1))
    return (slice(at, min(at + step, end)) for at in range(start, end, step))


def _gains_alone(hits: Floats, totals: Floats, limits: Floats) -> Iterator[Floats]:
    """Log growth of the capital in some intervals, shape (intervals, sets, stakes)."""
    stakes = _greatest_bets(limits, np.inf)[..., None] * STAKES
    for some in _chunks(0, len(hits), stakes.size):
        yield _log_gain(hits[some, :, None], totals[some, None, None], stakes, limits[:, None])


@dataclass(frozen=True)
class _Pair:
    """Bets on the canary's predictions and against stable's own, in looks that have both."""

    kernel: Floats
    shares: Floats
    sets: Floats
    canary: Floats
    stable: Floats
    radius: float

    @property
    def looks(self) -> int:
        return len(self.canary)

    @cached_property
    def chances(self) -> Floats:
        """Each set's share of the canary's predictions by bin of stable, shape (sets, k)."""
        found: Floats = self.sets @ self.kernel.T
        return found

    @cached_property
    def means(self) -> Floats:
        """Each set's expected share after stable's predictions before the look, (looks, sets)."""
        before = self.stable.cumsum(axis=0) - self.stable
        seen = before.sum(axis=1, keepdims=True)
        prior = PRIOR_ROWS * (self.sets @ self.shares)
        found: Floats = (prior + _times(before, self.chances)) / (PRIOR_ROWS + seen)
        return found

    @cached_property
    def totals(self) -> Floats:
        found: Floats = self.canary.sum(axis=1)
        return found

    @cached_property
    def hits(self) -> Floats:
        return _times(self.canary, self.sets)

    @cached_property
    def ratios(self) -> Floats:
        found: Floats = self.totals / self.stable.sum(axis=1)
        return found

    @cached_property
    def greatest(self) -> Floats:
        """The greatest possible bet on each set, (looks, sets)."""
        # Neither bet may lose more than all: the one against stable is `ratio` times as large.
        left = np.maximum(1 - self.means, LEAST_SHARE)
        return _greatest_bets(self.means + self.radius, 1 / (self.ratios[:, None] * left))

    @cached_property
    def ceilings(self) -> Floats:
        """What the greatest bet on each set gains at most in each look, (looks, sets).

        The logarithm of 1 + x is at most x.
        """
        on = self.hits - self.totals[:, None] * (self.means + self.radius)
        rows = self.stable.sum(axis=1, keepdims=True)
        against = self.means * rows - _times(self.stable, self.chances)
        found: Floats = self.greatest * (on + self.ratios[:, None] * against)
        return found

    def gains_of(self, looks: slice, where: NDArray[np.intp], stake: NDArray[np.intp]) -> Floats:
        """Log growth of some bets in some looks, shape (looks, bets).

        Args:
            looks: The looks.
            where: The set of each bet.
            stake: The place of its stake.
        """
        stakes = self.greatest[looks].take(where, axis=1) * STAKES[stake]
        means = self.means[looks].take(where, axis=1)
        totals, ratios = self.totals[looks, None], self.ratios[looks, None]
        gain = _log_gain(self.hits[looks].take(where, axis=1), totals, stakes, means + self.radius)
        against = (ratios * stakes)[..., None] * (means[..., None] - self.chances[where])
        against += 1
        np.log(against, out=against)
        found: Floats = gain + np.einsum("tnb,tb->tn", against, self.stable[looks])
        return found


def _greatest_bets(limits: Floats, most: Floats | float) -> Floats:
    """Bets that no single prediction can bankrupt; 0 on a set that may hold everything.

    On a set that may hold nothing no bet can lose, so a number stands for an endless one.
    """
    endless = np.maximum(limits, LEAST_SHARE)
    found: Floats = np.where(limits < 1, np.minimum(1 / endless, most), 0.0)
    return found


def _log_gain(hits: Floats, totals: Floats | np.float64, stakes: Floats, limits: Floats) -> Floats:
    """Log growth of bets on the canary; all of a shape that goes together."""
    # The logarithm of a sum, as log1p takes three times as long.
    hit = hits * np.log(1 + stakes * (1 - limits))
    gain: Floats = hit + (totals - hits) * np.log(1 - stakes * limits)
    return gain
