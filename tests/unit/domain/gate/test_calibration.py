from __future__ import annotations

import numpy as np
import pytest

from modelyard.domain.gate import calibration
from modelyard.domain.gate.calibration import miscalibration
from modelyard.domain.gate.paired import non_inferiority, p_of_harm, paired_difference
from modelyard.domain.verdict import Outcome
from modelyard.errors import CannotAnswer


def test_two_bins_by_hand():
    # All predictions are .2 or .6. Residuals: .2, -.8, .2 and -.4, .6.
    said = np.array([0.2, 0.2, 0.2, 0.6, 0.6])
    happened = np.array([0, 1, 0, 1, 0]) == 1
    found = miscalibration(said[:, None], happened[:, None], np.arange(5))
    products = [0.2 * -0.3, -0.8 * 0.2, 0.2 * -0.3, -0.4 * 0.6, 0.6 * -0.4]
    assert found.value == pytest.approx(np.mean(products))
    assert found.influence == pytest.approx(2 * np.array(products) - np.mean(products))


def test_the_curvature_is_the_variance_of_a_bins_mean_residual_by_its_share():
    said, happened = np.full(4, 0.5), np.array([1, 1, 0, 1]) == 1
    rows, days = np.arange(4), np.array([0, 0, 1, 1])
    # Residuals -.5, -.5, .5, -.5 with mean -.25: by rows 3 x .25^2 + .75^2, by days 2 x .5^2.
    by_rows, by_days = (
        miscalibration(said[:, None], happened[:, None], codes).curvature for codes in (rows, days)
    )
    assert by_rows == pytest.approx((3 * 0.25**2 + 0.75**2) / 16)
    assert by_days == pytest.approx(2 * 0.5**2 / 16)


def test_the_bounds_are_those_of_the_root_of_a_squared_distance():
    # One bin: the root of the challenger's error is its mean residual, with a plain t test.
    random = np.random.default_rng(7)
    said = np.full(4000, 0.7)
    labels = (random.random(4000) < 0.5).astype(int)
    half = np.full(4000, labels.mean())
    found = paired_difference("calibration", labels, half, said, np.arange(4000))
    verdict = non_inferiority(found, margin=0.06, alpha=0.05)
    residual = 0.7 - labels.mean()
    bound = (residual + 1.645 * np.std(labels) / np.sqrt(4000)) ** 2
    assert -verdict.numbers["lower"] == pytest.approx(bound, rel=0.01)
    assert p_of_harm(found, 0.03) < p_of_harm(found, 0.035) < 0.5


def test_rows_of_one_cluster_are_not_held_against_each_other():
    said = np.full(4, 0.5)
    happened = np.array([1, 1, 0, 1]) == 1
    found = miscalibration(said[:, None], happened[:, None], np.array([0, 0, 1, 1]))
    # Residuals -.5, -.5 against the mean 0 of the other cluster, and .5, -.5 against -.5.
    assert found.value == pytest.approx(np.mean([0, 0, -0.25, 0.25]))


def test_it_is_nothing_in_the_mean_for_true_chances_however_few_rows_there_are():
    random = np.random.default_rng(2)
    values, plain = [], []
    for _ in range(400):
        said = random.random(100)
        happened = random.random(100) < said
        values.append(miscalibration(said[:, None], happened[:, None], np.arange(100)).value)
        bins = np.argsort(np.argsort(said)) // 10
        plain.append(np.mean([(said - happened)[bins == each].mean() ** 2 for each in range(10)]))
    assert abs(np.mean(values)) < 3 * np.std(values) / 20
    assert np.mean(plain) > 20 * abs(np.mean(values))


def test_it_is_the_squared_distance_of_chances_that_are_too_high():
    random = np.random.default_rng(3)
    chance = 0.1 + 0.7 * random.random(100_000)
    labels = (random.random(100_000) < chance).astype(int)
    found = paired_difference("calibration", labels, chance, chance + 0.1, np.arange(100_000))
    assert found.champion == pytest.approx(0, abs=2e-4)
    assert found.challenger == pytest.approx(0.01, abs=1e-3)
    assert found.difference == pytest.approx(found.champion - found.challenger)
    assert non_inferiority(found, margin=0.0025, alpha=0.05).outcome is Outcome.FAIL


@pytest.mark.long
def test_its_standard_error_agrees_with_many_draws():
    random, differences, errors = np.random.default_rng(4), [], []
    days = np.repeat(np.arange(40), 25)
    for _ in range(300):
        chance = 1 / (1 + np.exp(-random.normal(size=1000) - 0.5 * random.normal(size=40)[days]))
        labels = (random.random(1000) < chance).astype(int)
        found = paired_difference("calibration", labels, chance, 0.7 * chance + 0.25, days)
        differences.append(found.difference)
        errors.append(found.standard_error)
    assert np.mean(errors) == pytest.approx(np.std(differences), rel=0.15)


def test_equal_models_of_many_rows_pass_with_a_margin():
    random = np.random.default_rng(5)
    chance = random.random(200_000)
    labels = (random.random(200_000) < chance).astype(int)
    close = np.clip(chance + 0.001 * random.normal(size=200_000), 0, 1)
    found = paired_difference("calibration", labels, chance, close, np.arange(200_000))
    assert non_inferiority(found, margin=0.001, alpha=0.05).passed


def test_several_classes_are_summed_and_values_that_are_no_chances_fail():
    random = np.random.default_rng(6)
    chances = random.dirichlet((1, 1, 1), size=3000)
    labels = (random.random(3000)[:, None] > chances.cumsum(axis=1)).sum(axis=1)
    sure = np.eye(3)[chances.argmax(axis=1)] * 0.9 + 0.1 / 3
    rows = np.arange(3000)
    found = paired_difference("calibration", labels, chances, sure, rows, classes=(0, 1, 2))
    parts = [
        miscalibration(sure[:, [each]], (labels == each)[:, None], rows).value for each in range(3)
    ]
    assert found.challenger == pytest.approx(sum(parts))
    assert non_inferiority(found, margin=0.01, alpha=0.05).outcome is Outcome.FAIL
    broken = np.where(rows[:, None] == 7, np.nan, sure)
    found = paired_difference("calibration", labels, chances, broken, rows, classes=(0, 1, 2))
    assert non_inferiority(found, margin=1, alpha=0.05).outcome is Outcome.FAIL
    with pytest.raises(CannotAnswer):
        paired_difference("calibration", labels[:5], chances, sure, rows, classes=(0, 1, 2))


@pytest.mark.parametrize("stray", [float("nan"), 1.5])
def test_one_prediction_that_is_no_chance_leaves_the_calibration_unknown(stray):
    labels, said = np.tile([0, 1], 50), np.full(100, 0.5)
    broken = said.copy()
    broken[3] = stray
    found = paired_difference("calibration", labels, said, broken, np.arange(100))
    assert np.isnan(found.challenger)
    assert np.isfinite(found.champion)
    verdict = non_inferiority(found, margin=0.1, alpha=0.05)
    assert verdict.outcome is Outcome.FAIL


def sure_positives(share, rows, random):
    """Labels, chances near 0 or 1 that tell them apart, and others that are too low for ones."""
    labels = (random.random(rows) < share).astype(int)
    said = np.where(labels == 1, random.beta(30, 10, rows), random.beta(2, 40, rows))
    return labels, np.where(said > 0.35, 0.98, 0.01) + 0.001 * said, said


@pytest.mark.parametrize(("share", "counts"), [(0.1, True), (0.13, False)])
def test_an_edge_in_a_gap_of_the_chances_widens_the_bounds(share, counts):
    # Of a tenth of positives some are in the lower bin by chance, or negatives in the upper one.
    labels, _, said = sure_positives(share, 4000, np.random.default_rng(3))
    change = calibration._change_by_edges(said, said - labels, np.arange(4000))
    assert (change > 0.0003) is counts


def test_gradual_chances_hardly_feel_where_the_edges_are():
    random = np.random.default_rng(4)
    said = random.random(4000)
    labels = random.random(4000) < said
    assert calibration._change_by_edges(said, said - labels, np.arange(4000)) < 0.0002
    assert calibration._change_by_edges(np.full(9, 0.5), np.full(9, 0.5), np.arange(9)) == 0.0


@pytest.mark.long
def test_a_challenger_at_the_margin_whose_sure_positives_are_a_tenth_passes_no_more_than_alpha():
    random = np.random.default_rng(7)
    labels, before, after = sure_positives(0.1, 1_000_000, random)
    margin = -paired_difference("calibration", labels, before, after, np.arange(10**6)).difference
    passes = 0
    for _ in range(200):  # before the edges counted, 27 % passed
        labels, before, after = sure_positives(0.1, 2000, random)
        found = paired_difference("calibration", labels, before, after, np.arange(2000))
        passes += non_inferiority(found, margin=margin, alpha=0.05).passed
    assert passes <= 16
