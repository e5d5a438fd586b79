from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.domain.gate.delong import PairedDifference
from modelyard.domain.gate.metric import METRICS, find_metric
from modelyard.domain.gate.paired import (
    baseline_difference,
    non_inferiority,
    paired_difference,
    superiority,
)
from modelyard.domain.verdict import Outcome
from modelyard.errors import CannotAnswer

FRUIT = ("apple", "pear", "fig")


def difference(**changed):
    known = {
        "metric": "auc",
        "champion": 0.7,
        "challenger": 0.7,
        "difference": 0.0,
        "standard_error": 0.004,
        "clusters": 31,
        "rows": 3000,
    }
    return PairedDifference(**{**known, **changed})


def test_mean_absolute_error_by_hand():
    # Errors 1, 3, 2, 2 against 1, 1, 1, 5: champion 2, challenger 2. Gains 0, 2, 1, -3 sum to 2
    # and -2 in the two clusters, hence 2/1 (4 + 4) / 16.
    found = paired_difference(
        "mae", [10, 10, 10, 10], [11, 13, 8, 12], [9, 11, 9, 15], ["a", "a", "b", "b"]
    )
    assert found == PairedDifference(
        metric="mae",
        champion=2.0,
        challenger=2.0,
        difference=0.0,
        standard_error=1.0,
        clusters=2,
        rows=4,
    )


def test_root_mean_square_error_by_hand():
    # Squares 1, 49 and 9, 9: 5 against 3. Rows are linearised to 1/10 - 9/6 and 49/10 - 9/6.
    found = paired_difference("rmse", [0, 0], [1, 7], [3, 3], [1, 2])
    assert (found.champion, found.challenger, found.difference) == (5.0, 3.0, 2.0)
    assert found.standard_error == pytest.approx(math.sqrt(2 * (2 * 2.4**2) / 4))


@pytest.mark.parametrize(
    ("metric", "champion", "challenger"),
    [
        ("log_loss", -math.log(0.8 * 0.5) / 2, -math.log(0.9 * 0.4) / 2),
        ("brier", (0.04 + 0.25) / 2, (0.01 + 0.36) / 2),
        ("accuracy", 0.5, 1.0),
    ],
)
def test_binary_probabilities_by_hand(metric, champion, challenger):
    challenged = [0.9, 0.4] if metric == "accuracy" else [0.9, 0.6]
    found = paired_difference(metric, [1, 0], [0.8, 0.5 + 1e-12], challenged, [1, 2])
    assert (found.champion, found.challenger) == pytest.approx((champion, challenger), abs=1e-9)
    sign = 1 if metric == "accuracy" else -1
    assert found.difference == pytest.approx(sign * (challenger - champion), abs=1e-9)


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("log_loss", -math.log(0.5 * 0.3) / 2),
        ("brier", (0.25 + 0.09 + 0.04 + 0.49 + 0.36 + 0.01) / 2),
        ("accuracy", 0.5),
    ],
)
def test_class_probabilities_by_hand(metric, value):
    chances = [[0.5, 0.3, 0.2], [0.6, 0.3, 0.1]]
    found = paired_difference(metric, ["apple", "pear"], chances, chances, [1, 2], classes=FRUIT)
    assert found.champion == pytest.approx(value)
    assert (found.difference, found.standard_error) == (0.0, 0.0)


def test_predicted_levels_are_enough_for_accuracy():
    found = paired_difference(
        "accuracy",
        ["apple", "pear", "fig", "fig"],
        ["apple", "fig", "fig", "pear"],
        ["apple", "pear", "fig", "pear"],
        [1, 2, 3, 4],
        classes=FRUIT,
    )
    assert (found.champion, found.challenger, found.difference) == (0.5, 0.75, 0.25)


def test_row_metrics_agree_with_scikit_learn():
    from sklearn import metrics

    random = np.random.default_rng(0)
    labels, clusters = random.integers(2, size=500), np.arange(500)
    old, new = random.random(500), random.random(500)
    oracles = {
        "auc": metrics.roc_auc_score,
        "log_loss": metrics.log_loss,
        "brier": metrics.brier_score_loss,
        "accuracy": lambda y, p: metrics.accuracy_score(y, p > 0.5),
        "mae": metrics.mean_absolute_error,
        "mse": metrics.mean_squared_error,
        "rmse": metrics.root_mean_squared_error,
    }
    # Nobody else's calibration error is without bias; see `test_calibration`.
    assert set(oracles) == set(METRICS) - {"calibration"}
    for name, oracle in oracles.items():
        found = paired_difference(name, labels, old, new, clusters)
        values = (oracle(labels, old), oracle(labels, new))
        assert (found.champion, found.challenger) == pytest.approx(values, rel=1e-9)


@pytest.mark.long
@pytest.mark.parametrize("metric", ["log_loss", "rmse"])
def test_the_error_is_what_a_bootstrap_of_whole_clusters_finds(metric):
    random = np.random.default_rng(1)
    day = np.repeat(random.normal(size=50), 20)
    labels = (random.random(1000) < 0.3).astype(float)
    old = np.clip(0.3 + 0.1 * random.normal(size=1000), 0.01, 0.99)
    new = np.clip(old + 0.08 * day * (labels - 0.3), 0.01, 0.99)
    found = paired_difference(metric, labels, old, new, np.repeat(np.arange(50), 20))
    rows_of = np.arange(1000).reshape(50, 20)
    draws = []
    for _ in range(1000):
        rows = rows_of[random.integers(50, size=50)].ravel()
        again = paired_difference(metric, labels[rows], old[rows], new[rows], rows)
        draws.append(again.difference)
    assert found.standard_error == pytest.approx(np.std(draws, ddof=1), rel=0.1)


@pytest.mark.long
@settings(max_examples=60, deadline=None)
@given(data=st.data(), metric=st.sampled_from(sorted(METRICS)))
def test_swapping_negates_and_the_order_of_rows_changes_nothing(data, metric):
    rows = data.draw(st.integers(4, 25))
    share = st.lists(st.integers(0, 64), min_size=rows, max_size=rows).map(
        lambda s: np.array(s) / 64
    )
    old, new, clusters = data.draw(share), data.draw(share), data.draw(share) * 64 % 4
    labels = np.array([0, 1, *(data.draw(share)[2:] * 64 % 2)])
    found = paired_difference(metric, labels, old, new, clusters)
    swapped = paired_difference(metric, labels, new, old, clusters)
    assert swapped.difference == -found.difference
    assert swapped.standard_error == pytest.approx(found.standard_error)
    order = np.array(data.draw(st.permutations(range(rows))))
    moved = paired_difference(metric, labels[order], old[order], new[order], clusters[order])
    assert moved.difference == pytest.approx(found.difference, abs=1e-9)
    assert moved.standard_error == pytest.approx(found.standard_error, abs=1e-6)


@pytest.mark.parametrize(
    ("metric", "labels", "constant"),
    [
        ("auc", [0, 1, 1, 1], 0.5),
        ("log_loss", [0, 1, 1, 1], -(3 * math.log(0.75) + math.log(0.25)) / 4),
        ("brier", [0, 1, 1, 1], 0.1875),
        ("accuracy", [0, 1, 1, 1], 0.75),
        ("mae", [0, 1, 1, 5], 1.25),
        ("mse", [0, 1, 1, 2], 0.5),
        ("rmse", [0, 1, 1, 2], math.sqrt(0.5)),
    ],
)
def test_the_baseline_is_the_best_constant(metric, labels, constant):
    found = baseline_difference(metric, labels, [0.1, 0.5, 0.6, 0.9], [1, 2, 3, 4])
    assert found.champion == pytest.approx(constant)


def test_the_baseline_of_classes_is_their_shares():
    labels = ["apple", "apple", "fig", "pear"]
    found = baseline_difference("accuracy", labels, labels, [1, 2, 3, 4], classes=FRUIT)
    assert (found.champion, found.challenger, found.difference) == (0.5, 1.0, 0.5)


@pytest.mark.parametrize(
    ("moved", "outcome"),
    [(0.0, Outcome.PASS), (-0.02, Outcome.FAIL), (-0.01, Outcome.INCONCLUSIVE)],
)
def test_the_bounds_decide(moved, outcome):
    verdict = non_inferiority(difference(difference=moved), margin=0.01, alpha=0.05)
    assert verdict.outcome is outcome


def test_not_knowing_says_what_could_have_been_known():
    verdict = non_inferiority(difference(difference=-0.01), margin=0.01, alpha=0.05)
    assert verdict.reason == (
        "auc 0.7, the champion 0.7, worse by 0.01 ± 0.004 (standard error): "
        "31 clusters are too few to decide: they detect differences from 0.01 on"
    )


@pytest.mark.parametrize(
    ("margin", "said"),
    [(0.01, "worse than the champion by more than 0.01"), (0.0, "worse than the champion")],
)
def test_a_fail_says_than_what_it_is_worse(margin, said):
    verdict = non_inferiority(difference(difference=-0.05), margin=margin, alpha=0.05)
    assert verdict.outcome is Outcome.FAIL
    assert verdict.reason.endswith(f"(standard error): {said}")


def test_a_verdict_carries_every_number_behind_it():
    # Student's t with 30 degrees of freedom: 1.697261 at .95, 2.042272 at .975, .853767 at .8.
    verdict = non_inferiority(difference(), margin=0.01, alpha=0.05)
    assert verdict.reason == (
        "auc 0.7, the champion 0.7, better by 0 ± 0.004 (standard error): "
        "not worse than the champion by more than 0.01"
    )
    assert verdict.numbers == pytest.approx(
        {
            "champion": 0.7,
            "challenger": 0.7,
            "difference": 0.0,
            "standard_error": 0.004,
            "lower": -0.004 * 1.697261,
            "upper": 0.004 * 1.697261,
            "interval_low": -0.004 * 2.042272,
            "interval_high": 0.004 * 2.042272,
            "detectable": 0.004 * (1.697261 + 0.853767),
            "margin": 0.01,
            "alpha": 0.05,
            "clusters": 31,
            "rows": 3000,
        },
        rel=1e-5,
    )


def test_too_few_clusters_decide_nothing_however_clear_the_difference():
    verdict = non_inferiority(difference(difference=0.5, clusters=19), margin=0.01, alpha=0.05)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "19 clusters of 3000 rows, but at least 20 are needed" in verdict.reason


def test_one_cluster_decides_nothing_even_when_one_is_allowed():
    single = paired_difference("mae", [1, 2], [1, 1], [1, 2], ["day", "day"])
    verdict = non_inferiority(single, margin=0.01, alpha=0.05, least_clusters=1)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert all(math.isfinite(number) for number in verdict.numbers.values())


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1.5])
@pytest.mark.parametrize("metric", ["log_loss", "brier", "accuracy"])
def test_refuses_a_challenger_whose_predictions_are_not_probabilities(metric, bad):
    labels, clusters = [0, 1] * 20, range(40)
    found = paired_difference(metric, labels, [0.5] * 40, [bad] + [0.4] * 39, list(clusters))
    verdict = non_inferiority(found, margin=0.01, alpha=0.05)
    assert verdict.outcome is Outcome.FAIL
    assert "challenger's predictions cannot be scored" in verdict.reason
    assert all(math.isfinite(number) for number in verdict.numbers.values())


@pytest.mark.parametrize("metric", ["auc", "mae", "rmse"])
def test_refuses_a_challenger_that_predicts_nan(metric):
    found = paired_difference(metric, [0, 1] * 20, [0.5] * 40, [math.nan] * 40, list(range(40)))
    assert non_inferiority(found, margin=9, alpha=0.05).outcome is Outcome.FAIL
    assert superiority(found, alpha=0.05).outcome is Outcome.FAIL


def test_a_champion_that_predicts_nan_is_no_reason_to_pass_or_fail():
    found = paired_difference("mae", [0, 1] * 20, [math.nan] * 40, [0.5] * 40, list(range(40)))
    assert non_inferiority(found, margin=9, alpha=0.05).outcome is Outcome.INCONCLUSIVE


def test_class_probabilities_must_sum_to_one():
    found = paired_difference(
        "log_loss", ["fig"] * 2, [[0, 0, 1]] * 2, [[0, 0.5, 1]] * 2, [1, 2], classes=FRUIT
    )
    assert (found.champion, math.isnan(found.challenger)) == (0.0, True)


def test_superiority_asks_for_more_than_equality():
    same = superiority(difference(difference=0.0), alpha=0.05)
    better = superiority(difference(difference=0.1), alpha=0.05)
    worse = superiority(difference(difference=-0.1), alpha=0.05)
    assert [v.outcome for v in (same, better, worse)] == ["inconclusive", "pass", "fail"]
    assert better.reason.endswith("better than the baseline")


@pytest.mark.parametrize(
    "wrong",
    [{"margin": -0.01}, {"margin": math.nan}, {"alpha": 0.5}, {"alpha": 0}, {"alpha": math.nan}],
)
def test_a_policy_that_makes_no_sense_is_an_error(wrong):
    with pytest.raises(ValueError, match="must be"):
        non_inferiority(difference(), **{"margin": 0.01, "alpha": 0.05, **wrong})


@pytest.mark.parametrize(
    ("metric", "labels", "predictions", "classes", "said"),
    [
        ("f1", [0, 1], [0, 1], (), "no metric 'f1'"),
        ("mae", [0, math.nan], [0, 1], (), "1 of 2 labels are not finite"),
        ("brier", ["fig", "plum"], [[1, 0, 0]] * 2, FRUIT, "1 of 2 labels are no class"),
        ("brier", ["fig", "fig"], [[1, 0]] * 2, FRUIT, "champion predictions have shape"),
        ("accuracy", ["fig", "fig"], ["fig"], FRUIT, "champion predictions have shape"),
    ],
)
def test_evidence_that_cannot_be_measured_is_refused(metric, labels, predictions, classes, said):
    with pytest.raises(CannotAnswer, match=said):
        paired_difference(metric, labels, predictions, predictions, [1, 2], classes=classes)


def test_a_metric_says_its_direction():
    assert find_metric("auc").greater_is_better
    assert not find_metric("rmse").greater_is_better


def passes(metric, worlds, margin):
    """Share of simulated held-out sets whose challenger passes."""
    verdicts = [
        non_inferiority(paired_difference(metric, *world), margin=margin, alpha=0.05)
        for world in worlds
    ]
    return np.mean([verdict.passed for verdict in verdicts])


def forecasts(count, *, worse, clusters=25, rows_each=12):
    """Numbers whose champion and challenger errors share a day: the challenger's mae is greater."""
    random = np.random.default_rng(7)
    days = np.repeat(np.arange(clusters), rows_each)
    for _ in range(count):
        lean = random.normal(size=clusters)[days]
        champion = 10 + np.abs(random.normal(size=days.size))
        challenger = champion + worse + 0.5 * lean
        yield np.zeros(days.size), champion, challenger, days


def two_class_scores(count, *, worse, clusters=40, rows_each=20):
    """Scores N(label * d, 1) with a day effect of variance .3; its AUC is Phi(d / sqrt 2)."""
    from scipy.stats import norm

    random = np.random.default_rng(8)
    days = np.repeat(np.arange(clusters), rows_each)
    gaps = [math.sqrt(2) * norm.ppf(auc) for auc in (0.8, 0.8 - worse)]
    for _ in range(count):
        labels = (random.random(days.size) < 0.3).astype(int)
        shared = math.sqrt(0.4) * random.normal(size=days.size)
        scores = [
            labels * gap
            + shared
            + math.sqrt(0.3) * random.normal(size=clusters)[days]
            + math.sqrt(0.3) * random.normal(size=days.size)
            for gap in gaps
        ]
        yield labels, *scores, days


@pytest.mark.long
def test_a_challenger_exactly_at_the_margin_passes_no_more_than_alpha_on_clustered_rows():
    # 2,000 worlds: three Monte-Carlo errors of a share of .05 are .015.
    assert passes("mae", forecasts(2000, worse=0.1), margin=0.1) <= 0.05 + 0.015


def test_rows_taken_for_independent_would_pass_it_several_times_too_often():
    apart = ((y, a, b, np.arange(y.size)) for y, a, b, _ in forecasts(500, worse=0.1))
    assert passes("mae", apart, margin=0.1) > 0.15


@pytest.mark.long
def test_an_auc_exactly_at_the_margin_passes_no_more_than_alpha_on_clustered_rows():
    assert passes("auc", two_class_scores(2000, worse=0.03), margin=0.03) <= 0.05 + 0.015


def test_an_equal_challenger_usually_passes():
    assert passes("auc", two_class_scores(150, worse=0.0), margin=0.08) > 0.8
