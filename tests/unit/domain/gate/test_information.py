from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.domain.gate.delong import clustered_auc_difference
from modelyard.domain.gate.information import LEAST_ROWS, MOST_SKEWED, side_of
from modelyard.domain.gate.metric import find_metric
from modelyard.domain.gate.paired import non_inferiority, paired_difference, superiority
from modelyard.domain.verdict import Outcome


def quadratic_form(gains, codes):
    """Variance and degrees by matrices: the oracle of the sums in `side_of`."""
    members = np.equal.outer(np.arange(codes.max() + 1), codes).astype(float)
    sizes = members.sum(axis=1)
    centred = gains - gains.mean()
    groups = [centred[codes == code] for code in range(len(sizes))]
    within = sum(((g - g.mean()) ** 2).sum() for g in groups) / (len(gains) - len(sizes))
    between = sum(len(g) * g.mean() ** 2 for g in groups) / (len(sizes) - 1)
    size = (len(gains) - (sizes**2).sum() / len(gains)) / (len(sizes) - 1)
    shared = max(between - within, 0) / size
    rows = within * np.eye(len(gains)) + shared * members.T @ members
    # Sums of centred gains by cluster, as a matrix applied to the gains.
    centring = members @ (np.eye(len(gains)) - 1 / len(gains))
    sums = centring @ rows @ centring.T
    expected = np.trace(sums)
    variance = ((members @ centred) ** 2).sum() * rows.sum() / expected / len(gains) ** 2
    return variance, expected**2 / np.trace(sums @ sums)


@pytest.mark.parametrize(("seed", "clusters"), [(0, 9), (1, 9), (2, 9), (3, 9), (4, 2), (5, 3)])
def test_unequal_clusters_agree_with_the_matrices_of_the_quadratic_form(seed, clusters):
    random = np.random.default_rng(seed)
    codes = np.repeat(np.arange(clusters), random.integers(1, 12, size=clusters))
    gains = random.normal(size=codes.size) + random.normal(size=clusters)[codes] * seed / 2
    side = side_of("rows", gains, codes)
    assert (side.variance, side.degrees) == pytest.approx(quadratic_form(gains, codes))


@given(clusters=st.integers(2, 12), each=st.integers(1, 5), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_equal_clusters_have_one_degree_less_than_their_number(clusters, each, seed):
    gains = np.random.default_rng(seed).normal(size=clusters * each)
    codes = np.repeat(np.arange(clusters), each)
    side = side_of("rows", gains, codes)
    assert side.degrees == pytest.approx(clusters - 1)
    sums = np.bincount(codes, gains - gains.mean())
    usual = clusters / (clusters - 1) * (sums @ sums) / gains.size**2
    assert side.variance == pytest.approx(usual)


@pytest.mark.parametrize(("clusters", "is_shown"), [(299, False), (300, True)])
def test_equal_chances_are_shown_by_pairs_once_unseen_rows_add_a_tenth_of_the_margin(
    clusters, is_shown
):
    # Ten tenths of the rows: 10 (log(20) / G)^2 is a tenth of .01 from 300 clusters on.
    side = side_of("rows", np.zeros(clusters), np.arange(clusters))
    assert side.is_shown_by_pairs(0.01, 0.05) is is_shown


def test_one_huge_cluster_leaves_few_effective_ones():
    # With a variance between clusters alone, a cluster's sum has the variance n_g^2: one of 40 % in
    # thirty has nearly all of it.
    sizes = np.append(np.full(29, 60), 1160)
    codes = np.repeat(np.arange(30), sizes)
    gains = np.random.default_rng(1).normal(size=30)[codes]
    assert side_of("rows", gains, codes).effective_clusters < 3
    verdict = non_inferiority(
        paired_difference("mae", np.zeros(codes.size), 3 + gains, 3 + np.zeros(codes.size), codes),
        margin=5,
        alpha=0.05,
    )
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "the rows of 30 clusters, of unequal size, say as much as" in verdict.reason
    assert "at least 10 are needed; about" in verdict.reason


def test_positives_in_few_clusters_count_as_few():
    random = np.random.default_rng(2)
    codes = np.repeat(np.arange(200), 20)
    labels = np.isin(codes, (3, 4, 5)).astype(int)
    before, after = labels + random.normal(size=(2, codes.size))
    found = clustered_auc_difference(labels, before, after, codes)
    verdict = non_inferiority(found, margin=0.5, alpha=0.05)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "the positives of 200 clusters" in verdict.reason
    assert verdict.numbers["effective_clusters"] == pytest.approx(3, abs=0.01)


@pytest.mark.parametrize(("count", "known"), [(1, 1.0), (7, 7.0), (500, 500.0)])
def test_equal_differences_count_one_each(count, known):
    gains = np.zeros(1000)
    gains[:count] = -3.0
    side = side_of("rows", gains, np.arange(1000))
    assert side.informative_rows(0.1) == pytest.approx(known)


def test_normal_differences_count_nearly_two_thirds_each_and_small_ones_nothing():
    gains = np.random.default_rng(0).normal(size=100_000)
    side = side_of("rows", gains, np.arange(100_000))
    assert side.informative_rows(0) == pytest.approx(100_000 * 2 / math.pi, rel=0.02)
    assert side.informative_rows(9) == 0


def rare_harm(rows, harmed, metric="rmse"):
    """A challenger with the champion's errors, but for a few rows."""
    champion = np.random.default_rng(3).normal(size=rows)
    challenger = champion.copy()
    challenger[:harmed] = 10.0
    return paired_difference(metric, np.zeros(rows), champion, challenger, np.arange(rows))


@pytest.mark.parametrize("harmed", [0, 1, 5])
def test_harm_in_few_rows_or_in_none_is_no_pass_and_no_fail(harmed):
    # A challenger with harm in .2 % of the rows looks like each of these in 500 rows.
    verdict = non_inferiority(rare_harm(500, harmed), margin=0.1, alpha=0.05)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert f"but at least {LEAST_ROWS} are needed; about" in verdict.reason


def scaled_errors(errors, factor, clusters=None):
    """A challenger whose errors are so many times the champion's, judged by squared errors."""
    rows = np.arange(errors.size) if clusters is None else clusters
    return paired_difference("mse", np.zeros(errors.size), errors, factor * errors, rows)


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    ("draw", "margin"),
    [
        (lambda random: random.standard_t(3, 2000), 0.21 * 3),
        (lambda random: random.lognormal(size=2000), 0.21 * math.exp(2)),
        (lambda random: random.pareto(2.5, 2000) + 1, 0.21 * 5),
    ],
)
def test_squared_errors_of_heavy_tails_seldom_pass_at_the_margin(draw, margin):
    # The margin is the true difference, .21 times the mean square of the errors.
    random, passed, as_before = np.random.default_rng(6), 0, 0
    for _ in range(200):
        found = scaled_errors(draw(random), 1.1)
        passed += non_inferiority(found, margin=margin, alpha=0.05).passed
        as_before += non_inferiority(replace(found, parts=None), margin=margin, alpha=0.05).passed
    assert passed / 200 <= 0.05
    assert as_before / 200 > 0.1


def test_a_pass_that_rests_on_a_few_heavy_losses_is_inconclusive_and_says_what_is_enough():
    # One of 100 loses .5, and the others gain or lose .1: by hand, the sum of cubes over the sum
    # of squares to the power of 1.5 is .125 / .26^1.5, nearly, and 100 (.936 / .15)^2 is 3,900.
    gains = np.append(np.tile([0.01, -0.01], 50)[:99], -0.5)
    found = paired_difference("mae", np.zeros(100), 2 + np.zeros(100), 2 - gains, np.arange(100))
    verdict = non_inferiority(found, margin=0.02, alpha=0.05, least_informative=1)
    assert found.parts.harm_skewness(0) == pytest.approx(0.94, abs=0.02)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "a few of 100 rows lose far more than the others" in verdict.reason
    assert verdict.reason.endswith("about 3900 rows like these would be enough")


def test_heavy_gains_do_not_hinder_a_pass_and_the_more_skewed_of_rows_and_days_counts():
    random = np.random.default_rng(2)
    errors, days = random.standard_t(3, 2000), np.repeat(np.arange(40), 50)
    better, worse = scaled_errors(errors, 0.9, days), scaled_errors(errors, 1.02, days)
    assert by_hand(better.parts.centred) < -MOST_SKEWED
    assert non_inferiority(better, margin=0.1, alpha=0.05).passed
    assert worse.parts.harm_skewness(0) == pytest.approx(
        max(by_hand(-errors * errors), by_hand(np.bincount(days, -errors * errors)))
    )


def by_hand(gains):
    return float(-((gains - gains.mean()) ** 3).mean() / gains.std() ** 3 / math.sqrt(gains.size))


def test_skewness_is_that_of_clusters_where_rows_of_a_cluster_are_alike():
    days = np.repeat(np.arange(30), 10)
    by_day = -np.random.default_rng(2).lognormal(size=30)
    found = paired_difference("mae", np.zeros(300), np.zeros(300), -by_day[days], days)
    assert found.parts.harm_skewness(0) == pytest.approx(by_hand(by_day))
    assert found.parts.harm_skewness(0) > MOST_SKEWED


@pytest.mark.parametrize("better", [0.1, 0.3, 0.7])
@pytest.mark.parametrize("size", [1e-6, 1, 1e6])
def test_rounding_of_equal_gains_is_no_skewness(better, size):
    champion = (2 + np.random.default_rng(1).random(25)) * size
    challenger = champion - better * size
    found = paired_difference("mae", np.zeros(25), champion, challenger, np.arange(25))
    assert non_inferiority(found, margin=0.01 * size, alpha=0.05).passed


@pytest.mark.parametrize("least", [0.0, 0.05, 0.5])
def test_a_few_clusters_that_gain_less_than_the_others_are_no_harm(least):
    gains = np.repeat(np.append(np.linspace(0.9, 1.1, 29), least), 10)
    days = np.repeat(np.arange(30), 10)
    found = paired_difference("mae", np.zeros(300), 3 + np.zeros(300), 3 - gains, days)
    assert by_hand(gains[::10]) > MOST_SKEWED
    assert non_inferiority(found, margin=0.01, alpha=0.05).passed
    lost = np.where(gains < gains.max() * 0.6, -8.0, gains)
    found = paired_difference("mae", np.zeros(300), 3 + np.zeros(300), 3 - lost, days)
    assert non_inferiority(found, margin=0.01, alpha=0.05).outcome is Outcome.INCONCLUSIVE


def test_an_auc_has_the_skewness_of_positives_and_negatives_together():
    random = np.random.default_rng(3)
    labels, days = random.integers(0, 2, 600), np.repeat(np.arange(30), 20)
    before, after = labels + random.normal(size=(2, 600))
    # Mirrored labels and scores leave the AUC, and what each day adds to it, as they are.
    found = clustered_auc_difference(labels, before, after, days)
    mirrored = clustered_auc_difference(1 - labels, -before, -after, days)
    assert found.parts.harm_skewness(0) == pytest.approx(mirrored.parts.harm_skewness(0))


def test_without_a_differing_row_three_thousand_are_enough():
    # ln(20) / .001: in so many rows harm in one of a thousand would have shown.
    assert not non_inferiority(rare_harm(2995, 0), margin=0.1, alpha=0.05).passed
    verdict = non_inferiority(rare_harm(2996, 0), margin=0.1, alpha=0.05)
    assert verdict.passed
    few = non_inferiority(rare_harm(2900, 0), margin=0.1, alpha=0.05)
    assert few.reason.endswith("about 3000 rows would be enough")


@pytest.mark.parametrize(("clusters", "is_shown"), [(1999, False), (2000, True)])
def test_equal_rows_are_shown_from_so_many_clusters_on_as_would_have_had_rare_harm(
    clusters, is_shown
):
    side = side_of("rows", np.zeros(clusters), np.arange(clusters))
    assert side.is_shown_without(0.1, math.exp(-2), math.inf) is is_shown


def test_a_metric_with_a_worst_value_passes_an_equal_model_on_fewer_rows():
    labels = np.arange(400) % 2
    same = np.where(labels == 1, 0.8, 0.3)
    found = paired_difference("accuracy", labels, same, same, np.arange(400))
    assert non_inferiority(found, margin=0.03, alpha=0.05).passed
    assert not non_inferiority(found, margin=0.005, alpha=0.05).passed


@pytest.mark.parametrize("metric", ["accuracy", "log_loss", "brier", "auc"])
def test_no_row_loses_more_than_the_worst_of_its_metric(metric):
    labels, wrong, right = np.array([1, 0] * 20), [0.0, 1.0] * 20, [1.0, 0.0] * 20
    found = paired_difference(metric, labels, right, wrong, np.arange(40))
    worst = find_metric(metric).worst
    assert all(np.abs(side.gains).max() <= worst for side in found.sides)
    assert math.isfinite(worst)


@pytest.mark.long
def test_bets_that_decide_for_few_rows_seldom_pass_a_challenger_at_the_margin():
    # Loses 1 in a share of the rows that equals the margin: the worst case of a bounded metric.
    random, passed = np.random.default_rng(5), 0
    labels = np.zeros(150, dtype=int)
    for _ in range(2000):
        challenger = np.where(random.random(150) < 0.04, 1.0, 0.0)
        found = paired_difference("accuracy", labels, np.zeros(150), challenger, np.arange(150))
        passed += non_inferiority(found, margin=0.04, alpha=0.05).passed
    assert passed / 2000 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 2000)


@pytest.mark.parametrize("factor", [1, 1 + 2e-16, 1 - 2e-16])
def test_a_constant_is_not_better_than_the_best_constant(factor):
    for rows in (100, 500, 1466):
        labels = np.random.default_rng(rows).random(rows) < 0.3
        best = np.full(rows, labels.mean())
        found = paired_difference("log_loss", labels, best, best * factor, np.arange(rows))
        verdict = superiority(found, alpha=0.05)
        assert (found.difference, verdict.outcome) == (0.0, Outcome.INCONCLUSIVE)


def test_an_equal_model_with_margin_zero_is_a_tie():
    random = np.random.default_rng(0)
    labels = random.random(5000) < 0.4
    chances = random.random(5000)
    found = paired_difference("log_loss", labels, chances, chances, np.arange(5000))
    verdict = non_inferiority(found, margin=0, alpha=0.05)
    assert verdict.outcome is Outcome.INCONCLUSIVE


def test_an_inconclusive_comparison_names_the_clusters_that_would_be_enough():
    # By the definition of detectable: at so many clusters it equals the margin.
    random = np.random.default_rng(1)
    errors = np.abs(random.normal(size=(2, 300)))
    found = paired_difference("mae", np.zeros(300), *errors, np.arange(300))
    numbers = non_inferiority(found, margin=0.05, alpha=0.05).numbers
    scale = math.sqrt(numbers["enough_clusters"] / 300)
    assert numbers["detectable"] / scale == pytest.approx(0.05)


def test_without_a_margin_the_clusters_that_would_be_enough_show_the_difference_that_was_found():
    random = np.random.default_rng(2)
    errors = np.abs(random.normal(size=(2, 300)))
    found = paired_difference("mae", np.zeros(300), *errors, np.arange(300))
    numbers = superiority(found, alpha=0.05).numbers
    assert 0 < abs(found.difference) < numbers["detectable"]
    scale = math.sqrt(numbers["enough_clusters"] / 300)
    assert numbers["detectable"] / scale == pytest.approx(abs(found.difference))


def bad_days(days, share, loss, random):
    """Equal models, but on each of a share of the days so many of 200 rows go wrong."""
    clusters = np.repeat(np.arange(days), 200)
    harmed = (random.random(days) < share)[clusters] & (random.random(days * 200) < loss)
    wrong = np.where(harmed, 1.0, 0.0)
    labels = np.zeros(days * 200, dtype=int)
    return paired_difference("accuracy", labels, np.zeros(days * 200), wrong, clusters)


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    ("days", "share", "loss"), [(25, 1 / 25, 0.5), (60, 1 / 60, 0.6), (30, 0.1, 0.2)]
)
def test_harm_on_a_day_of_many_is_not_shown_absent_by_the_rows_of_other_days(days, share, loss):
    random, passed = np.random.default_rng(1), 0
    for _ in range(200):
        found = bad_days(days, share, loss, random)
        passed += non_inferiority(found, margin=share * loss, alpha=0.05).passed
    assert passed / 200 <= 0.05


def test_days_without_a_differing_row_are_enough_where_bets_on_days_say_so():
    # 4.94 is ln(7 stakes / .05), and .9 the largest stake: 4.94 / ln(1 + .9 * .05 / .95) = 107.
    random = np.random.default_rng(1)
    few = non_inferiority(bad_days(60, 0, 0, random), margin=0.05, alpha=0.05)
    assert few.outcome is Outcome.INCONCLUSIVE
    assert few.reason.endswith("about 110 clusters like these would be enough")
    assert non_inferiority(bad_days(110, 0, 0, random), margin=0.05, alpha=0.05).passed


def test_without_a_worst_value_three_thousand_clusters_are_needed_and_not_rows():
    errors = np.random.default_rng(1).normal(size=6000)
    days, pairs = np.repeat(np.arange(60), 100), np.repeat(np.arange(3000), 2)
    assert not non_inferiority(scaled_errors(errors, 1, days), margin=0.1, alpha=0.05).passed
    assert non_inferiority(scaled_errors(errors, 1, pairs), margin=0.1, alpha=0.05).passed


@pytest.mark.parametrize(("rows", "size"), [(1, 300), (3, 500), (12, 100)])
def test_a_challenger_that_mends_outliers_passes_and_one_that_makes_them_does_not(rows, size):
    errors = np.random.default_rng(1).normal(size=4000)
    outliers = errors.copy()
    outliers[:rows] += size
    cells = np.zeros(4000), np.arange(4000)
    mended = paired_difference("mae", cells[0], outliers, errors, cells[1])
    made = paired_difference("mae", cells[0], errors, outliers, cells[1])
    assert non_inferiority(mended, margin=0.1, alpha=0.05).passed
    assert not non_inferiority(made, margin=0.1, alpha=0.05).passed
