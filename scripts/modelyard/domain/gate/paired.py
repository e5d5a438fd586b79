"""The statistics of the gate: two models on the same clustered rows, and what follows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from modelyard.domain.gate.delong import (
    Codes,
    Floats,
    PairedDifference,
    cluster_codes,
    clustered_auc_difference,
)
from modelyard.domain.gate.metric import (
    Kind,
    Metric,
    constant_predictions,
    find_metric,
    row_values,
)
from modelyard.domain.verdict import Outcome, Verdict

POWER = 0.8
"""With which `detectable` differences are detected."""


def paired_difference(
    metric: str,
    labels: ArrayLike,
    champion: ArrayLike,
    challenger: ArrayLike,
    clusters: ArrayLike,
    *,
    classes: Sequence[Any] = (),
) -> PairedDifference:
    """Both models' metric on the same rows and their difference, positive when challenger wins.

    The AUC's error is `clustered_auc_difference`. Every other metric is a mean of row values d;
    its error is the cluster-robust sandwich of an intercept (Liang and Zeger 1986, Biometrika
    73:13-22; CR1 in Cameron and Miller 2015, J. Human Resources 50:317-372), G clusters, n rows:

        var = G/(G-1) * sum over clusters of (sum over its rows of (d - mean d))^2 / n^2

    `rmse` is linearised first (delta method): d = e^2 / (2 rmse) of one model minus the other's.

    Args:
        metric: A name in `METRICS`.
        labels: Shape (n,): 0 or 1, a level of `classes`, or for `mae`, `mse`, `rmse` a number.
        champion: Shape (n,): the probability of 1 or the predicted number. With `classes`, shape
            (n, k): a probability a class, or for `accuracy` also shape (n,): the predicted level.
        challenger: As `champion`.
        clusters: Shape (n,), what the row's cluster is called.
        classes: The k levels in the order of the probability columns; empty for binary labels.

    Returns:
        The difference; NaN where a model's predictions are not finite, or not probabilities.
        A multiclass `brier` is summed over classes (Brier 1950), 0 to 2. `accuracy` predicts the
        most probable class, the first of equals.

    Raises:
        CannotAnswer: Unknown metric, shapes that differ, labels or clusters that cannot be used.
    """
    chosen = find_metric(metric)
    if chosen.kind is Kind.RANKS:
        return clustered_auc_difference(labels, champion, challenger, clusters)
    before = row_values(chosen, labels, champion, classes, "champion")
    after = row_values(chosen, labels, challenger, classes, "challenger")
    codes = cluster_codes(clusters, before.size)
    sign = 1.0 if chosen.greater_is_better else -1.0
    first, second = _total(chosen, before), _total(chosen, after)
    return PairedDifference(
        metric=metric,
        champion=first,
        challenger=second,
        difference=sign * (second - first),
        standard_error=_sandwich(_influence(chosen, after) - _influence(chosen, before), codes),
        clusters=int(codes.max()) + 1,
        rows=before.size,
    )


def baseline_difference(
    metric: str,
    labels: ArrayLike,
    challenger: ArrayLike,
    clusters: ArrayLike,
    *,
    classes: Sequence[Any] = (),
) -> PairedDifference:
    """How much better the challenger is than predicting the same for every row.

    The baseline, in the place of the champion, is the best constant of these very labels, which
    slightly favours it: the class shares (hence the majority class), an AUC of .5, the mean for
    `mse` and `rmse`, the median for `mae`. Arguments and errors are `paired_difference`'s; judge
    the result with `superiority`.
    """
    constant = constant_predictions(find_metric(metric), labels, classes)
    return paired_difference(metric, labels, constant, challenger, clusters, classes=classes)


def non_inferiority(
    difference: PairedDifference, *, margin: float, alpha: float, least_clusters: int = 20
) -> Verdict:
    """Whether the challenger is not worse than the champion by more than a margin.

    `pass` if the lower one-sided bound is above -margin, `fail` if the upper one is below it,
    else `inconclusive`. Bounds use Student's t with clusters - 1 degrees of freedom. Predictions
    of the challenger that cannot be scored fail; those of the champion, or too few clusters, are
    inconclusive.

    Args:
        difference: From `paired_difference`.
        margin: In the metric's unit, not negative.
        alpha: One-sided level, between 0 and .5.
        least_clusters: Fewer clusters than this decide nothing; never less than 2.

    Returns:
        The verdict. Its numbers: champion, challenger, difference, standard_error, lower, upper
        (one-sided at alpha), interval_low, interval_high (two-sided 95 %), detectable (the
        difference found with 80 % power), margin, alpha, clusters, rows; finite ones only.

    Raises:
        ValueError: margin or alpha out of range.
    """
    if not (math.isfinite(margin) and margin >= 0):
        raise ValueError(f"margin must be a number of at least 0, not {margin}")
    return _verdict(
        difference, _Claim(margin=margin, against="the champion"), alpha, least_clusters
    )


def superiority(difference: PairedDifference, *, alpha: float, least_clusters: int = 20) -> Verdict:
    """Whether the challenger is better than a trivial baseline: `non_inferiority` at margin 0."""
    return _verdict(difference, _Claim(margin=0, against="the baseline"), alpha, least_clusters)


@dataclass(frozen=True, kw_only=True)
class _Claim:
    margin: float
    against: str

    @property
    def holds(self) -> str:
        worse = f"not worse than {self.against} by more than {self.margin:g}"
        return worse if self.margin else f"better than {self.against}"

    @property
    def is_refuted(self) -> str:
        worse = f"worse than {self.against} by more than {self.margin:g}"
        return worse if self.margin else f"worse than {self.against}"


def _verdict(
    difference: PairedDifference, claim: _Claim, alpha: float, least_clusters: int
) -> Verdict:
    if not 0 < alpha < 0.5:  # noqa: PLR2004 - beyond one half the two bounds change places
        raise ValueError(f"alpha must be between 0 and .5, not {alpha}")
    numbers = _numbers(difference, claim.margin, alpha)
    outcome, said = _decide(difference, numbers, claim, max(least_clusters, 2))
    return Verdict(
        outcome=outcome,
        reason=f"{_models(difference, claim)}: {said}",
        numbers={name: number for name, number in numbers.items() if math.isfinite(number)},
    )


def _decide(
    difference: PairedDifference, numbers: dict[str, float], claim: _Claim, least: int
) -> tuple[Outcome, str]:
    metric, clusters = difference.metric, difference.clusters
    if not math.isfinite(difference.challenger):
        return Outcome.FAIL, f"some of the challenger's predictions cannot be scored by {metric}"
    if not math.isfinite(difference.difference):
        return Outcome.INCONCLUSIVE, f"some predictions of {claim.against} cannot be scored"
    if clusters < least:
        return Outcome.INCONCLUSIVE, f"{clusters} clusters of rows, at least {least} are needed"
    if numbers["lower"] > -claim.margin:
        return Outcome.PASS, claim.holds
    if numbers["upper"] < -claim.margin:
        return Outcome.FAIL, claim.is_refuted
    least_found = f"the least difference they find is {numbers['detectable']:.2g}"
    return Outcome.INCONCLUSIVE, f"{clusters} clusters cannot tell: {least_found}"


def _models(difference: PairedDifference, claim: _Claim) -> str:
    return (
        f"{difference.metric} {difference.challenger:.4g}, {claim.against} "
        f"{difference.champion:.4g}, {difference.difference:+.2g} \N{PLUS-MINUS SIGN} "
        f"{difference.standard_error:.2g}"
    )


def _numbers(difference: PairedDifference, margin: float, alpha: float) -> dict[str, float]:
    one_sided, two_sided, power = (
        _t_quantile(level, difference.clusters) * difference.standard_error
        for level in (1 - alpha, 0.975, POWER)
    )
    middle = difference.difference
    return {
        "champion": difference.champion,
        "challenger": difference.challenger,
        "difference": middle,
        "standard_error": difference.standard_error,
        "lower": middle - one_sided,
        "upper": middle + one_sided,
        "interval_low": middle - two_sided,
        "interval_high": middle + two_sided,
        "detectable": one_sided + power,
        "margin": margin,
        "alpha": alpha,
        "clusters": difference.clusters,
        "rows": difference.rows,
    }


def _t_quantile(level: float, clusters: int) -> float:
    from scipy.special import stdtrit  # noqa: PLC0415 - a second to load, and METRICS needs none

    return float(stdtrit(clusters - 1, level)) if clusters > 1 else math.inf


def _total(metric: Metric, values: Floats) -> float:
    mean = float(values.mean())
    return math.sqrt(mean) if metric.is_root else mean


def _influence(metric: Metric, values: Floats) -> Floats:
    """What each row adds to the metric, to first order; oriented so that more is better."""
    sign = 1.0 if metric.greater_is_better else -1.0
    total = _total(metric, values)
    if metric.is_root and total > 0:
        return sign * values / (2 * total)
    return sign * values


def _sandwich(values: Floats, codes: Codes) -> float:
    clusters = int(codes.max()) + 1
    if clusters == 1:
        return math.inf
    sums = np.bincount(codes, values - values.mean()) / values.size
    return math.sqrt(clusters / (clusters - 1) * float(sums @ sums))
