"""p values of effects under the null that nothing drifted: two-sample tests from counts alone."""

from __future__ import annotations

import numpy as np
from scipy import special  # `scipy.stats` takes seconds to import; tests compare with it

from modelyard.domain.drift.effect_sizes import Counts
from modelyard.domain.specs.column_values import Floats

_LEAST_EXPECTED = 5.0
_CHANCE = 0.001


def null_share_p_value(
    reference_nulls: int, reference: int, window_nulls: int, window: int
) -> float:
    """The p value of the pooled two-proportion z test, two-sided.

    Fleiss, Levin and Paik 2003, Statistical Methods for Rates and Proportions, section 3.1.
    """
    pooled = (reference_nulls + window_nulls) / (reference + window)
    error = np.sqrt(pooled * (1 - pooled) * (1 / reference + 1 / window))
    if error == 0:
        return 1.0
    z = abs(reference_nulls / reference - window_nulls / window) / error
    return float(2 * special.ndtr(-z))


def is_share_by_chance(found: int, rows: int, share: float) -> bool:
    """Whether so many rows are no sign that more than a share of all are so, binomial."""
    return 0 < found <= rows and float(special.bdtrc(found - 1, rows, share)) > _CHANCE


def outside_range_p_value(reference: int, outside: int, window: int) -> float:
    """The probability of at least `outside` window rows outside the reference's range, exactly.

    By symmetry of ranks it is the probability that the first outside + 1 of all rows, in random
    order, include at most one reference row. That is hypergeometric (Wilks 1942, distribution-free
    tolerance limits).
    """
    # The binomial at the rate 2/(n+1) would ignore that the range itself is random.
    if outside <= 0 or reference <= 0:
        return 1.0
    draws, rows = outside + 1, reference + window
    none = _log_choose(window, draws)
    one = np.log(reference) + _log_choose(window, outside)
    return float(min(1.0, np.exp(np.logaddexp(none, one) - _log_choose(rows, draws))))


def unlisted_levels_p_value(expected: int, reference: int, unseen: int, window: int) -> float:
    """The probability of at least `unseen` rows of unlisted levels, binomial at Good-Turing's rate.

    The probability that the next row has a new level is about (levels met once) / rows (Good 1953).

    Args:
        expected: Reference rows of levels met once, or of levels that the profile does not list.
        reference: Reference rows with a value.
        unseen: Window rows of unlisted levels.
        window: Window rows with a value.
    """
    if unseen <= 0 or reference <= 0:
        return 1.0
    # One is added, so that a reference without such levels does not mean a rate of zero.
    return float(special.bdtrc(unseen - 1, window, min(1.0, (expected + 1) / reference)))


def ks_p_value(distance: float, reference: int, window: int) -> float:
    """The p value of D by Kolmogorov's limit distribution at D sqrt(nm / (n + m)) (Smirnov 1948).

    D at bin edges is at most D of the raw rows, so the p value is never too small. Ties, as in
    integers, make it larger still.
    """
    if not reference or not window:
        return 1.0
    return float(special.kolmogorov(distance * np.sqrt(reference * window / (reference + window))))


def chi_square_p_value(reference: Counts, window: Counts) -> float:
    """The p value of Pearson's chi-square test on the 2 x K table, with K - 1 degrees of freedom.

    Levels with fewer than five expected rows in either window are pooled into one (Cochran 1954).
    """
    # Both rows of the table are random. A test against the reference's shares as if they were exact
    # has a level of 72 % instead of 5 % with 20 levels.
    n, m = int(reference.sum()), int(window.sum())
    if not n or not m:
        return 1.0
    table = _pooled(np.vstack([reference, window]).astype(np.float64))
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / (n + m)
    if table.shape[1] < 2:  # noqa: PLR2004 - one level has no shares to compare
        return 1.0
    statistic = float(np.sum((table - expected) ** 2 / expected))
    return float(special.chdtrc(table.shape[1] - 1, statistic))


def _pooled(table: Floats) -> Floats:
    smaller = table.sum(axis=1).min() / table.sum()
    ordered = table[:, np.argsort(-table.sum(axis=0), kind="stable")]
    rare = ordered.sum(axis=0) * smaller < _LEAST_EXPECTED
    rest = ordered[:, rare].sum(axis=1, keepdims=True)
    kept = ordered[:, ~rare]
    if kept.shape[1] and rest.sum() * smaller < _LEAST_EXPECTED:
        kept[:, -1:] += rest  # still too few together, so they join the rarest level left
        return kept
    return np.hstack([kept, rest])


def _log_choose(total: int, chosen: int) -> float:
    if chosen > total:
        return -np.inf
    return float(
        special.gammaln(total + 1)
        - special.gammaln(chosen + 1)
        - special.gammaln(total - chosen + 1)
    )
