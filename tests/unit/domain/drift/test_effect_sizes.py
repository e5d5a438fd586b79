"""Sizes of drift by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from modelyard.domain.drift.effect_sizes import (
    LARGEST_DISTANCE,
    ks_distance,
    largest_share_ratio,
    null_share_change,
    share_increase,
    total_variation_distance,
    wasserstein_distance,
)

NONE = np.array([0, 0, 0])


def test_changes_of_shares():
    assert null_share_change(0.4, 0.1) == pytest.approx(0.3)
    assert null_share_change(0.1, 0.4) == pytest.approx(0.3)
    assert share_increase(0.1, 0.4) == pytest.approx(0.3)
    assert share_increase(0.4, 0.1) == 0


def test_the_distance_of_distributions_is_the_greatest_gap_at_an_edge():
    # Until the first edge .5 against .2, until the second .75 against .9.
    assert ks_distance(np.array([2, 1, 1]), np.array([2, 7, 1])) == pytest.approx(0.3)
    assert ks_distance(NONE, np.array([2, 7, 1])) == ks_distance(np.array([1, 1, 1]), NONE) == 0
    assert ks_distance(np.array([4]), np.array([7])) == 0


def test_the_area_between_distributions_is_in_units_of_the_scale():
    edges, one, other = np.array([0.0, 1.0, 4.0]), np.array([2, 1, 1, 0]), np.array([2, 7, 1, 0])
    # Gaps of .3 over 1 and of .15 over 3.
    assert wasserstein_distance(one, other, edges, 0.5) == pytest.approx(2 * (0.3 + 0.45))
    assert wasserstein_distance(one, other, edges, 0.0) == 0
    assert wasserstein_distance(np.array([1, 0]), np.array([0, 1]), np.array([3.0]), 1.0) == 0
    far = np.array([0.0, 1.0, 1e308])
    assert wasserstein_distance(one, other, far, 1e-9) == LARGEST_DISTANCE


def test_the_distance_of_shares_is_less_what_chance_adds():
    one, other = np.array([80, 20]), np.array([50, 50])
    noise = math.sqrt(0.65 * 0.35 * (1 / 100 + 1 / 100) * 2 / math.pi)
    assert total_variation_distance(one, other) == pytest.approx(0.3 - noise)
    assert total_variation_distance(one, one) == 0
    assert total_variation_distance(NONE, np.array([1, 2, 3])) == 0
    assert total_variation_distance(np.array([1, 2, 3]), NONE) == 0


def test_the_share_that_changed_most_is_in_doublings_with_half_a_row_more():
    one, other = np.array([500, 400, 100]), np.array([520, 80, 400])
    ratio = math.log2((400.5 / 1001) / (100.5 / 1001))
    found, worst = largest_share_ratio(one, other)
    assert (found, worst) == (pytest.approx(math.log2(400.5 / 80.5)), 1)
    assert found > ratio
    turned, place = largest_share_ratio(other, one)
    assert (turned, place) == (pytest.approx(found), 1)


def test_no_share_that_moved_little_is_a_change():
    # The second level doubles, but by a thousandth of the rows.
    one, other = np.array([9990, 10]), np.array([9980, 20])
    assert largest_share_ratio(one, other) == (0, 0)
    assert largest_share_ratio(NONE, np.array([1, 2, 3])) == (0, 0)
    assert largest_share_ratio(np.array([1, 2, 3]), NONE) == (0, 0)
