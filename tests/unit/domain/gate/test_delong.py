from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.domain.gate.delong import (
    PairedDifference,
    clustered_auc_difference,
    without_rounding,
)
from modelyard.errors import CannotAnswer


def clustered_scores(seed, clusters=60, rows_each=30, positives=0.25):
    """Rows whose scores share a day effect that helps one model and hurts the other."""
    random = np.random.default_rng(seed)
    codes = np.repeat(np.arange(clusters), rows_each)
    labels = (random.random(codes.size) < positives).astype(int)
    day, own, lean = (random.normal(size=n) for n in (codes.size, codes.size, clusters))
    champion = labels + day
    challenger = labels * (1 + 0.5 * lean[codes]) + 0.8 * day + 0.6 * own
    return labels, champion, challenger, codes


def test_four_rows_by_hand():
    # Champion orders 3 of the 4 pairs rightly, the challenger 3 and one tie.
    # Placements: champion 1, .5 | 1, .5; challenger 1, .75 | .75, 1; difference 0, .25 | -.25, .5.
    # Centred on .125: -.125, .125 | -.375, .375, so 2/1 (2/64)/4 + 2/1 (18/64)/4.
    found = clustered_auc_difference(
        [1, 1, 0, 0], [0.9, 0.4, 0.3, 0.5], [0.9, 0.5, 0.5, 0.1], ["a", "b", "c", "d"]
    )
    assert found == PairedDifference(
        metric="auc",
        champion=0.75,
        challenger=0.875,
        difference=0.125,
        standard_error=math.sqrt(2 * (2 / 64) / 4 + 2 * (18 / 64) / 4),
        clusters=4,
        rows=4,
    )


@pytest.mark.parametrize("decimals", [1, 9])
def test_with_every_row_its_own_cluster_it_is_plain_delong(decimals):
    from MLstatkit import Delong_test

    labels, champion, challenger, _ = clustered_scores(1)
    champion, challenger = champion.round(decimals), challenger.round(decimals)
    found = clustered_auc_difference(labels, champion, challenger, np.arange(labels.size))
    z, _, first, second = Delong_test(
        labels, champion, challenger, return_ci=False, return_auc=True, verbose=0
    )
    assert (found.champion, found.challenger) == pytest.approx((first, second), abs=1e-12)
    assert found.difference / found.standard_error == pytest.approx(z, rel=1e-9)


@pytest.mark.long
def test_clusters_widen_the_error_as_a_bootstrap_of_whole_clusters_does():
    labels, champion, challenger, codes = clustered_scores(2)
    found = clustered_auc_difference(labels, champion, challenger, codes)
    rows_apart = clustered_auc_difference(labels, champion, challenger, np.arange(labels.size))
    random, days = np.random.default_rng(3), np.arange(labels.size).reshape(60, 30)
    draws = []
    for _ in range(800):
        rows = days[random.integers(60, size=60)].ravel()
        again = clustered_auc_difference(labels[rows], champion[rows], challenger[rows], rows)
        draws.append(again.difference)
    assert found.standard_error == pytest.approx(np.std(draws, ddof=1), rel=0.12)
    assert found.standard_error > 1.3 * rows_apart.standard_error


@pytest.mark.long
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_order_of_rows_and_rising_transformations_change_nothing(data):
    rows = data.draw(st.integers(4, 30))
    score = st.lists(st.integers(-50, 50), min_size=rows, max_size=rows).map(np.array)
    champion, challenger, codes = data.draw(score), data.draw(score), data.draw(score) % 5
    labels = np.array([0, 1, *data.draw(score)[2:] % 2])
    found = clustered_auc_difference(labels, champion, challenger, codes)
    moved = clustered_auc_difference(labels, champion * 3 + 7, np.exp(challenger / 9), codes)
    assert moved == found
    order = np.array(data.draw(st.permutations(range(rows))))
    shuffled = clustered_auc_difference(
        labels[order], champion[order], challenger[order], codes[order]
    )
    assert shuffled.difference == pytest.approx(found.difference, abs=1e-12)
    assert shuffled.standard_error == pytest.approx(found.standard_error, abs=1e-7)


def test_swapping_the_models_negates_the_difference():
    labels, champion, challenger, codes = clustered_scores(4)
    found = clustered_auc_difference(labels, champion, challenger, codes)
    swapped = clustered_auc_difference(labels, challenger, champion, codes)
    assert swapped == PairedDifference(
        metric="auc",
        champion=found.challenger,
        challenger=found.champion,
        difference=-found.difference,
        standard_error=found.standard_error,
        clusters=60,
        rows=1800,
    )


def test_a_score_that_is_not_finite_leaves_no_number_behind():
    found = clustered_auc_difference(
        [0, 0, 1, 1], [0.1, 0.1, 0.2, 0.3], [0.1, math.inf, 0.3, 0.3], [1, 2, 3, 4]
    )
    assert found.champion == 1.0
    for number in (found.challenger, found.difference, found.standard_error):
        assert math.isnan(number)


def test_one_cluster_of_positives_says_nothing_of_the_error():
    found = clustered_auc_difference([1, 1, 0, 0], [1, 2, 1, 0], [2, 1, 1, 0], ["a", "a", "b", "c"])
    assert found.standard_error == math.inf


@pytest.mark.parametrize(
    ("labels", "scores", "clusters", "said"),
    [
        ([1, 1], [0.1, 0.2], [1, 2], "2 of 2 are 1"),
        ([0, 2], [0.1, 0.2], [1, 2], "1 of 2 labels are not 0 or 1"),
        ([], [], [], "at least one row"),
        ([0, 1], [0.1], [1, 2], r"shape \(1,\)"),
        ([0, 1], ["high", "low"], [1, 2], "not numbers"),
        ([0, 1], [0.1, 0.2], [1], "cluster column has shape"),
        ([0, 1], [0.1, 0.2], [1, math.nan], "1 of 2 rows have no cluster"),
        ([0, 1], [0.1, 0.2], np.array([None, "a"], dtype=object), "1 of 2 rows have no cluster"),
        ([0, 1], [0.1, 0.2], np.array(["NaT", "2013-04-01"], dtype="M8[D]"), "no cluster"),
    ],
)
def test_evidence_that_cannot_be_compared_is_refused_with_its_numbers(
    labels, scores, clusters, said
):
    with pytest.raises(CannotAnswer, match=said):
        clustered_auc_difference(labels, scores, scores, clusters)


def test_if_all_clusters_count_alike_there_is_one_degree_less_than_clusters():
    found = clustered_auc_difference(*clustered_scores(7, clusters=12))
    assert found.with_equal_clusters().degrees == 11
    assert found.degrees < 11


def test_a_month_of_flights_takes_a_fraction_of_a_second():
    labels, champion, challenger, codes = clustered_scores(5, clusters=30, rows_each=1000)
    start = time.thread_time()
    clustered_auc_difference(labels, champion, challenger, codes)
    assert time.thread_time() - start < 0.5


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_a_difference_of_a_million_millionth_of_a_metric_is_rounding(size):
    assert without_rounding(0.9e-12 * size, size, 0.0) == 0
    assert without_rounding(-0.9e-12 * size, size, 0.5 * size) == 0
    assert without_rounding(-1.1e-12 * size, size, 0.0) == -1.1e-12 * size
