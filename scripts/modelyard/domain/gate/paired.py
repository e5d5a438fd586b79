"""The tests of the gate: the paired difference of two models, and the verdicts on it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from modelyard.domain.gate.calibration import Miscalibration
from modelyard.domain.gate.delong import (
    PairedDifference,
    cluster_correction,
    clustered_auc_difference,
    without_rounding,
)
from modelyard.domain.gate.information import (
    LEAST_ROWS,
    MOST_SKEWED,
    Parts,
    Side,
    side_of,
)
from modelyard.domain.gate.inputs import Codes, cluster_codes
from modelyard.domain.gate.metric import (
    Kind,
    Metric,
    constant_predictions,
    find_metric,
    miscalibration_of,
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

    and for clusters of unequal size the factor of `information.side_of` instead of G/(G-1).
    `rmse` is linearised first (delta method): a row value is e^2 / (2 rmse). `calibration` is a
    mean over pairs of rows, and so is linearised too: see `calibration.miscalibration`.

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
    codes = cluster_codes(clusters, np.size(labels))
    before, after = (
        _measured(chosen, labels, predictions, classes, codes, model)
        for model, predictions in (("champion", champion), ("challenger", challenger))
    )
    sign = 1.0 if chosen.greater_is_better else -1.0
    first, second = before.value, after.value
    gains = sign * (after.influence - before.influence)
    side = side_of("rows", gains, codes)
    return PairedDifference(
        metric=metric,
        champion=first,
        challenger=second,
        difference=without_rounding(sign * (second - first), first, second),
        standard_error=math.sqrt(side.variance),
        clusters=int(codes.max()) + 1,
        rows=gains.size,
        sides=(side,),
        error_of_equal_clusters=_sandwich(gains, codes),
        parts=Parts(
            centred=(gains - gains.mean()) / gains.size,
            weights=np.full(gains.size, 1 / gains.size),
            codes=codes,
        ),
        curvatures=(before.curvature, after.curvature),
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
    difference: PairedDifference,
    *,
    margin: float,
    alpha: float,
    least_clusters: int = 20,
    least_informative: int = LEAST_ROWS,
) -> Verdict:
    """The verdict on "the challenger is not worse than the champion by more than the margin".

    The null hypothesis is a difference of -margin or less. `pass` if the lower one-sided confidence
    bound is above -margin, `fail` if the upper one is below -margin, otherwise `inconclusive`. The
    bounds use Student's t distribution with the degrees of freedom that the clusters carry, which
    is clusters - 1 if they are equal. If the challenger has predictions that cannot be scored, it
    fails. If the champion has, the verdict is inconclusive. So it is with too few clusters, fewer
    than half as many effective ones, and fewer informative rows than `least_informative`, unless
    they decide all the same (`Side.is_shown_without`). A pass is inconclusive if the difference is
    too skewed towards harm, unless bets show it too.

    Args:
        difference: From `paired_difference`.
        margin: In the metric's unit, not negative.
        alpha: One-sided level, between 0 and .5.
        least_clusters: Fewer clusters than this, or than 2, decide nothing.
        least_informative: Fewer informative rows than this decide nothing, see above.

    Returns:
        The verdict with its numbers: champion, challenger, difference, standard_error, lower, upper
        (one-sided at alpha), interval_low, interval_high (two-sided 95 %), detectable (the
        difference detected with 80 % power), enough_clusters (how many clusters like these would
        detect the margin, or with margin 0 the difference), margin, alpha, clusters, rows, degrees,
        effective_clusters, informative_rows; only finite ones.

    Raises:
        ValueError: margin or alpha out of range.
    """
    if not (math.isfinite(margin) and margin >= 0):
        raise ValueError(f"margin must be a number of at least 0, not {margin}")
    return _verdict(
        difference,
        _Claim(margin=margin, rival="champion"),
        alpha,
        _Least(least_clusters, least_informative),
    )


def superiority(
    difference: PairedDifference,
    *,
    alpha: float,
    least_clusters: int = 20,
    least_informative: int = LEAST_ROWS,
) -> Verdict:
    """The verdict on "the challenger is better than the baseline": `non_inferiority`, margin 0.

    The number `baseline` takes the place of `champion`.
    """
    return _verdict(
        difference,
        _Claim(margin=0, rival=BASELINE),
        alpha,
        _Least(least_clusters, least_informative),
    )


def p_of_harm(difference: PairedDifference, margin: float) -> float:
    """The p of "worse by more than the margin", one-sided; 0 for predictions without a score."""
    if not math.isfinite(difference.difference):
        return 0.0
    from scipy.special import stdtr  # noqa: PLC0415 - a second to load, and METRICS needs none

    lead, error = difference.difference + margin, difference.standard_error
    if not error > 0:
        return 0.0 if lead < 0 else 1.0
    curvature = difference.curvatures[0]
    quantile = -lead / error
    if curvature and lead < 0:  # the t of which lead + t error + t^2 curvature is 0
        quantile = (math.sqrt(error**2 - 4 * curvature * lead) - error) / (2 * curvature)
    return float(stdtr(difference.degrees, -quantile)) if difference.degrees > 0 else 1.0


@dataclass(frozen=True)
class _Least:
    clusters: int
    informative: int


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


def _verdict(difference: PairedDifference, claim: _Claim, alpha: float, least: _Least) -> Verdict:
    if not 0 < alpha < 0.5:  # noqa: PLR2004 - beyond one half the two bounds change places
        raise ValueError(f"alpha must be between 0 and .5, not {alpha}")
    numbers = _numbers(difference, claim, alpha)
    outcome, why = _decide(difference, numbers, claim, least)
    return Verdict(
        outcome=outcome,
        reason=f"{_summary(difference, claim)}: {why}",
        numbers={name: number for name, number in numbers.items() if math.isfinite(number)},
    )


def _decide(
    difference: PairedDifference, numbers: dict[str, float], claim: _Claim, least: _Least
) -> tuple[Outcome, str]:
    metric, clusters = difference.metric, difference.clusters
    # First what the challenger itself did wrong: more rows or clusters would not change it.
    if not math.isfinite(difference.challenger):
        return Outcome.FAIL, f"some of the challenger's predictions cannot be scored by {metric}"
    if not math.isfinite(difference.difference):
        return Outcome.INCONCLUSIVE, f"some predictions of {claim.against} cannot be scored"
    if clusters < (needed := max(least.clusters, 2)):
        return (
            Outcome.INCONCLUSIVE,
            f"{clusters} clusters of {difference.rows} rows, but at least {needed} are needed",
        )
    if missing := _missing_information(difference, claim, least, numbers["alpha"]):
        return Outcome.INCONCLUSIVE, missing
    return _decide_by_bounds(difference, numbers, claim)


def _decide_by_bounds(
    difference: PairedDifference, numbers: dict[str, float], claim: _Claim
) -> tuple[Outcome, str]:
    clusters = difference.clusters
    if numbers["lower"] > -claim.margin:
        if skewed := _skewed_to_harm(difference, claim, numbers["alpha"]):
            return Outcome.INCONCLUSIVE, skewed
        return Outcome.PASS, claim.holds
    if numbers["upper"] < -claim.margin:
        return Outcome.FAIL, claim.is_refuted
    if not claim.margin and not difference.difference:
        return Outcome.INCONCLUSIVE, f"equal to {claim.against}, and a tie is no evidence"
    few = f"they detect differences from {numbers['detectable']:.2g} on"
    if difference.sides:
        enough = _rounded_up(_enough_clusters(difference, claim, numbers["detectable"]))
        units = "rows" if clusters == difference.rows else "clusters"
        few = f"{few}; about {enough} {units} like these would be enough"
    return Outcome.INCONCLUSIVE, f"{clusters} clusters are too few to decide: {few}"


def _missing_information(
    difference: PairedDifference, claim: _Claim, least: _Least, alpha: float
) -> str | None:
    for side in difference.sides:
        if side.effective_clusters < least.clusters / 2:
            return _few_clusters(side, difference.clusters, least.clusters / 2)
        material = _material(difference, claim)
        few = side.informative_rows(material) < least.informative
        metric = find_metric(difference.metric)
        if metric.is_of_pairs:
            few &= not side.is_shown_by_pairs(claim.margin, alpha)
        worst = metric.worst
        if few and not side.is_shown_without(claim.margin, alpha, worst):
            without = side.clusters_without_difference(claim.margin, alpha, worst)
            return _few_rows(side, material, least.informative, without)
    return None


def _material(difference: PairedDifference, claim: _Claim) -> float:
    """From which gain on a row counts."""
    # A calibration error is of pairs of rows: what a row adds to it shrinks with their number.
    return 0.0 if find_metric(difference.metric).is_of_pairs else claim.margin


def _skewed_to_harm(difference: PairedDifference, claim: _Claim, alpha: float) -> str | None:
    if difference.parts is None:
        return None
    skewness = difference.parts.harm_skewness(difference.difference + claim.margin)
    if skewness < MOST_SKEWED:
        return None
    worst = find_metric(difference.metric).worst
    if all(side.is_won(claim.margin, alpha, worst) for side in difference.sides):
        return None
    # Of a mean over G clusters the skewness shrinks with the root of G.
    enough = difference.clusters * (skewness / MOST_SKEWED) ** 2
    units = "rows" if difference.clusters == difference.rows else "clusters"
    return (
        f"a few of {difference.clusters} {units} lose far more than the others, so harm may be "
        f"greater than they show; about {_rounded_up(enough)} {units} like these would be enough"
    )


def _few_clusters(side: Side, clusters: int, least: float) -> str:
    found = side.effective_clusters
    more = f"; about {_rounded_up(clusters * least / found)} clusters like these would be enough"
    return (
        f"the {side.name} of {clusters} clusters, of unequal size, say as much as {found:.2g} "
        f"equal ones, but at least {least:g} are needed{more if found else ''}"
    )


def _few_rows(side: Side, material: float, least: int, without: float) -> str:
    found, rows, clusters = side.informative_rows(material), side.gains.size, side.sums.size
    apart = f"by {material:g} or more" if material else "at all"
    # Without a single such row nothing says how many there would be among more rows.
    enough = _rounded_up(max(clusters * least / found if found else 0, without))
    return (
        f"the models differ {apart} on few of {rows} {side.name}: they say as much as {found:.2g} "
        f"equal ones, but at least {least} are needed; about {enough} "
        f"{side.name if clusters == rows else 'clusters like these'} would be enough"
    )


def _rounded_up(number: float) -> str:
    """The number with two digits, rounded up: it is an estimate."""
    if not math.isfinite(number):
        return "infinitely many"
    unit = int(10 ** max(0, math.floor(math.log10(max(number, 1))) - 1))
    return str(math.ceil(number / unit) * unit)


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
    quantiles = [_t_quantile(level, difference.degrees) for level in (1 - alpha, 0.975, POWER)]
    one_sided, two_sided, power = (each * difference.standard_error for each in quantiles)
    # A squared distance that is too small by chance has too small an error as well: its root has
    # the same one everywhere. (root + t e)^2 is the square, + 2 t e root, + t^2 e^2, the curvature.
    of_champion, of_challenger = (
        quantiles[0] ** 2 * each if each else 0.0 for each in difference.curvatures
    )
    middle = difference.difference
    detectable = one_sided + power
    return {
        claim.rival: difference.champion,
        "challenger": difference.challenger,
        "difference": middle,
        "standard_error": difference.standard_error,
        "lower": middle - one_sided - of_challenger,
        "upper": middle + one_sided + of_champion,
        "interval_low": middle - two_sided,
        "interval_high": middle + two_sided,
        "detectable": detectable,
        "margin": claim.margin,
        "alpha": alpha,
        "clusters": difference.clusters,
        "rows": difference.rows,
        **_information(difference, claim, detectable),
    }


def _information(
    difference: PairedDifference, claim: _Claim, detectable: float
) -> dict[str, float]:
    if not difference.sides or not math.isfinite(difference.difference):
        return {}
    sides = difference.sides
    return {
        "enough_clusters": _enough_clusters(difference, claim, detectable),
        "degrees": difference.degrees,
        "effective_clusters": min(side.effective_clusters for side in sides),
        "informative_rows": min(
            side.informative_rows(_material(difference, claim)) for side in sides
        ),
    }


def _enough_clusters(difference: PairedDifference, claim: _Claim, detectable: float) -> float:
    # The width of the bounds shrinks with the root of the number of clusters.
    size = claim.margin or abs(difference.difference)
    return difference.clusters * (detectable / size) ** 2 if size else math.inf


def _t_quantile(level: float, degrees: float) -> float:
    from scipy.special import stdtrit  # noqa: PLC0415 - a second to load, and METRICS needs none

    return float(stdtrit(degrees, level)) if degrees > 0 else math.inf


def _measured(
    metric: Metric,
    labels: ArrayLike,
    predictions: ArrayLike,
    classes: Sequence[Any],
    codes: Codes,
    model: str,
) -> Miscalibration:
    """A model's metric, and what each row adds to it to first order."""
    if metric.is_of_pairs:
        return miscalibration_of(labels, predictions, classes, codes, model)
    values = row_values(metric, labels, predictions, classes, model)
    mean = float(values.mean())
    if not metric.is_root:
        return Miscalibration(value=mean, influence=values)
    # Delta method: the root of a mean m changes by 1 / (2 root m) of a change of m.
    total = math.sqrt(mean)
    return Miscalibration(value=total, influence=values / (2 * total) if total > 0 else values)


def _sandwich(values: Floats, codes: Codes) -> float:
    # With one cluster its sum of centred values is 0: the error is unknown, not zero.
    clusters = int(codes.max()) + 1
    if clusters == 1:
        return math.inf
    sums = np.bincount(codes, values - values.mean()) / values.size
    return math.sqrt(cluster_correction(clusters) * float(sums @ sums))
