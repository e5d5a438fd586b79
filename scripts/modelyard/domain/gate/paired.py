"""The tests of the gate: the paired difference of two models, and the verdicts on it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from modelyard.domain.gate.delong import (
    PairedDifference,
    cluster_correction,
    clustered_auc_difference,
)
from modelyard.domain.gate.inputs import Codes, cluster_codes
from modelyard.domain.gate.metric import (
    Kind,
    Metric,
    constant_predictions,
    find_metric,
    row_values,
)
from modelyard.domain.specs.column_values import Floats
from modelyard.domain.verdict import BASELINE, Outcome, Verdict

POWER = 0.8
"""The power at which a `detectable` difference is detected."""


def paired_difference(
    metric: str,
    labels: ArrayLike,
    champion: ArrayLike,
    challenger: ArrayLike,
    clusters: ArrayLike,
    *,
    classes: Sequence[Any] = (),
) -> PairedDifference:
    """The difference of two models' metrics on the same rows; positive if the challenger is better.

    For the AUC see `clustered_auc_difference`. Every other metric is a mean of row values, and the
    difference is the mean of d, the difference of row values. Its standard error is the
    cluster-robust sandwich estimate of an intercept (Liang and Zeger 1986, Biometrika 73:13-22; CR1
    in Cameron and Miller 2015, J. Human Resources 50:317-372). With G clusters and n rows

        var = G/(G-1) * sum over clusters of (sum over its rows of (d - mean d))^2 / n^2

    `rmse` is linearised first (delta method): a row value is e^2 / (2 rmse).

    Args:
        metric: A name in `METRICS`.
        labels: Shape (n,): 0 or 1, a level of `classes`, or for `mae`, `mse`, `rmse` a number.
        champion: Shape (n,): the probability of 1, or the predicted number. With `classes`, shape
            (n, k): a probability for each class, or for `accuracy` also shape (n,): a level.
        challenger: As `champion`.
        clusters: Shape (n,), the name of each row's cluster.
        classes: The k levels in the order of the probability columns; empty for binary labels.

    Returns:
        The difference; NaN if a model's predictions are not finite, or not probabilities. A
        multiclass `brier` is summed over classes (Brier 1950), 0 to 2. `accuracy` predicts the most
        probable class, and the first of equally probable ones.

    Raises:
        CannotAnswer: Unknown metric, shapes that differ, or labels or clusters that cannot be used.
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
    """The difference between the challenger and the best constant prediction, the baseline.

    The baseline takes the place of the champion: the class shares (so the majority class), an AUC
    of .5, the mean for `mse` and `rmse`, the median for `mae`. It is computed from the same labels,
    which favours it slightly. Arguments and errors are those of `paired_difference`; `superiority`
    gives the verdict.
    """
    constant = constant_predictions(find_metric(metric), labels, classes)
    return paired_difference(metric, labels, constant, challenger, clusters, classes=classes)


def non_inferiority(
    difference: PairedDifference, *, margin: float, alpha: float, least_clusters: int = 20
) -> Verdict:
    """The verdict on "the challenger is not worse than the champion by more than the margin".

    The null hypothesis is a difference of -margin or less. `pass` if the lower one-sided confidence
    bound is above -margin, `fail` if the upper one is below -margin, otherwise `inconclusive`. The
    bounds use Student's t distribution with clusters - 1 degrees of freedom. If the challenger has
    predictions that cannot be scored, it fails. If the champion has, or there are too few clusters,
    the verdict is inconclusive.

    Args:
        difference: From `paired_difference`.
        margin: In the metric's unit, not negative.
        alpha: One-sided level, between 0 and .5.
        least_clusters: Fewer clusters than this, or than 2, decide nothing.

    Returns:
        The verdict with its numbers: champion, challenger, difference, standard_error, lower, upper
        (one-sided at alpha), interval_low, interval_high (two-sided 95 %), detectable (the
        difference detected with 80 % power), margin, alpha, clusters, rows; only finite ones.

    Raises:
        ValueError: margin or alpha out of range.
    """
    if not (math.isfinite(margin) and margin >= 0):
        raise ValueError(f"margin must be a number of at least 0, not {margin}")
    return _verdict(difference, _Claim(margin=margin, rival="champion"), alpha, least_clusters)


def superiority(difference: PairedDifference, *, alpha: float, least_clusters: int = 20) -> Verdict:
    """The verdict on "the challenger is better than the baseline": `non_inferiority`, margin 0.

    The number `baseline` takes the place of `champion`.
    """
    return _verdict(difference, _Claim(margin=0, rival=BASELINE), alpha, least_clusters)


@dataclass(frozen=True, kw_only=True)
class _Claim:
    margin: float
    rival: str

    @property
    def against(self) -> str:
        return f"the {self.rival}"

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
    numbers = _numbers(difference, claim, alpha)
    outcome, why = _decide(difference, numbers, claim, max(least_clusters, 2))
    return Verdict(
        outcome=outcome,
        reason=f"{_summary(difference, claim)}: {why}",
        numbers={name: number for name, number in numbers.items() if math.isfinite(number)},
    )


def _decide(
    difference: PairedDifference, numbers: dict[str, float], claim: _Claim, least: int
) -> tuple[Outcome, str]:
    metric, clusters = difference.metric, difference.clusters
    # First what the challenger itself did wrong: more rows or clusters would not change it.
    if not math.isfinite(difference.challenger):
        return Outcome.FAIL, f"some of the challenger's predictions cannot be scored by {metric}"
    if not math.isfinite(difference.difference):
        return Outcome.INCONCLUSIVE, f"some predictions of {claim.against} cannot be scored"
    if clusters < least:
        return Outcome.INCONCLUSIVE, f"{clusters} clusters of rows, but at least {least} are needed"
    if numbers["lower"] > -claim.margin:
        return Outcome.PASS, claim.holds
    if numbers["upper"] < -claim.margin:
        return Outcome.FAIL, claim.is_refuted
    detectable = f"they detect differences from {numbers['detectable']:.2g} on"
    return Outcome.INCONCLUSIVE, f"{clusters} clusters are too few to decide: {detectable}"


def _summary(difference: PairedDifference, claim: _Claim) -> str:
    models = (
        f"{difference.metric} {difference.challenger:.4g}, {claim.against} "
        f"{difference.champion:.4g}"
    )
    if not math.isfinite(difference.difference):
        return models
    # "Better" and "worse" spare the reader the metric's direction.
    side = "worse" if difference.difference < 0 else "better"
    size, error = abs(difference.difference), difference.standard_error
    return f"{models}, {side} by {size:.2g} \N{PLUS-MINUS SIGN} {error:.2g} (standard error)"


def _numbers(difference: PairedDifference, claim: _Claim, alpha: float) -> dict[str, float]:
    # The bounds at alpha decide. The two-sided 95 % interval is for people, as is the detectable
    # difference, which needs the quantile of the level and that of the power.
    one_sided, two_sided, power = (
        _t_quantile(level, difference.clusters) * difference.standard_error
        for level in (1 - alpha, 0.975, POWER)
    )
    middle = difference.difference
    return {
        claim.rival: difference.champion,
        "challenger": difference.challenger,
        "difference": middle,
        "standard_error": difference.standard_error,
        "lower": middle - one_sided,
        "upper": middle + one_sided,
        "interval_low": middle - two_sided,
        "interval_high": middle + two_sided,
        "detectable": one_sided + power,
        "margin": claim.margin,
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
    """The value of each row in the metric, to first order, with the sign that makes more better."""
    sign = 1.0 if metric.greater_is_better else -1.0
    # Delta method: the root of a mean m changes by 1 / (2 root m) of a change of m.
    total = _total(metric, values)
    if metric.is_root and total > 0:
        return sign * values / (2 * total)
    return sign * values


def _sandwich(values: Floats, codes: Codes) -> float:
    # With one cluster its sum of centred values is 0: the error is unknown, not zero.
    clusters = int(codes.max()) + 1
    if clusters == 1:
        return math.inf
    sums = np.bincount(codes, values - values.mean()) / values.size
    return math.sqrt(cluster_correction(clusters) * float(sums @ sums))
