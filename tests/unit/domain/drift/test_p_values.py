"""P values of drift at their edges, against those of a library."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from modelyard.domain.drift.p_values import (
    chi_square_p_value,
    is_share_by_chance,
    ks_p_value,
    null_share_p_value,
    outside_range_p_value,
    unlisted_levels_p_value,
)


@pytest.mark.parametrize(("nulls", "new_nulls"), [(0, 0), (500, 200)])
def test_equal_shares_of_all_or_nothing_are_no_evidence(nulls, new_nulls):
    assert null_share_p_value(nulls, 500, new_nulls, 200) == 1.0


@pytest.mark.parametrize(("reference", "outside", "window"), [(50, 3, 20), (9, 1, 4), (5, 4, 4)])
def test_few_rows_outside_the_range_have_the_p_of_draws_without_replacement(
    reference, outside, window
):
    expected = stats.hypergeom(reference + window, reference, outside + 1).cdf(1)
    assert outside_range_p_value(reference, outside, window) == pytest.approx(expected)


def test_where_every_reference_row_has_a_level_of_its_own_new_ones_are_no_evidence():
    assert unlisted_levels_p_value(50, 50, 30, 30) == 1.0


def test_nothing_to_compare_is_no_evidence():
    assert outside_range_p_value(50, 0, 20) == outside_range_p_value(0, 3, 20) == 1.0
    assert unlisted_levels_p_value(3, 50, 0, 20) == unlisted_levels_p_value(3, 0, 2, 20) == 1.0
    assert ks_p_value(0.5, 0, 20) == ks_p_value(0.5, 20, 0) == 1.0
    some, none = np.array([9, 9]), np.array([0, 0])
    assert chi_square_p_value(some, none) == chi_square_p_value(none, some) == 1.0


@pytest.mark.parametrize(
    ("rare", "pooled"),
    [
        # The second window has a third of the rows. Each rare level has fewer than 5 expected
        # there, both together have 6.
        ([[40, 30, 6, 6], [20, 15, 4, 2]], [[40, 30, 12], [20, 15, 6]]),
        # Together they have 2, and join the rarest level left.
        ([[40, 30, 3, 2], [20, 15, 1, 0]], [[40, 35], [20, 16]]),
    ],
)
def test_rare_levels_are_pooled_and_join_the_rarest_other_where_they_are_too_few(rare, pooled):
    expected = stats.chi2_contingency(pooled, correction=False).pvalue
    assert chi_square_p_value(*np.array(rare)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("found", "rows", "share", "by_chance"),
    [
        (1, 2, 0.35, True),
        (2, 2, 0.05, True),
        (5, 5, 0.5, True),
        (5, 5, 0.05, False),
        (50, 50, 0.35, False),
        (40, 100, 0.35, True),
        (1, 1, 0.0, False),
    ],
)
def test_a_share_of_few_rows_is_chance_unless_it_is_far_beyond(found, rows, share, by_chance):
    assert is_share_by_chance(found, rows, share) == by_chance
