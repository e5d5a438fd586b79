"""Which looks predict as on held-out rows, and what was counted in them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from modelyard.domain.canary.shift.looks import (
    and_next,
    counts_of_looks,
    distance_by_chance,
    distance_by_look,
    far_looks,
    looks_with,
)

EVEN = (0.5, 0.5)


def sound(rows, *, allowed=0.1, effects=None):
    added = np.array(rows, dtype=float)
    far = far_looks(added, EVEN, allowed, effects or [1.0] * len(added))
    return (~and_next(far)).tolist()


def test_what_chance_adds_is_a_mean_and_two_deviations_by_hand():
    # Two bins with variances .25 / 100: mean .5 * 2 * sqrt(2 / pi) * .05, and the rest.
    expected = math.sqrt(2 / math.pi) * 0.05 + math.sqrt(2 * (1 - 2 / math.pi) * 0.005)
    assert distance_by_chance(EVEN, 100) == pytest.approx(expected)
    assert distance_by_chance(EVEN, 400) == pytest.approx(expected / 2)
    assert distance_by_chance(EVEN, 1) > 1
    assert [distance_by_chance(EVEN, rows) for rows in (0, -1)] == [1.0, 1.0]


def test_a_look_that_is_too_far_away_spoils_itself_and_the_next_one():
    near, far = (5000, 5000), (8000, 2000)
    assert sound([near] * 4) == [True] * 4
    # With the look before it the far one is off by .15, which says nothing of that one.
    assert sound([near, far, near, near]) == [True, False, False, True]
    assert sound([near, near, near, near, far]) == [True] * 4 + [False]


def test_looks_that_are_each_too_small_to_tell_are_held_against_the_shares_together():
    row = (2, 0)
    assert sound([row] * 3) == [True] * 3
    assert sound([row] * 5) == [False] * 5


def test_looks_are_held_together_without_those_that_are_far_by_themselves():
    far, row = (8000, 2000), (55, 45)
    # Without the far look and the next one, the others are off by .05.
    assert sound([row, row, far, row, row, row]) == [True, True, False, False, True, True]
    # Two that are off by .16 are too few to tell, and four are not.
    assert sound([far, *[(66, 34)] * 7]) == [False, False, True, True, *[False] * 4]


def test_differences_that_cancel_over_all_looks_do_not_in_each():
    up, level = (900.0, 100.0), (500.0, 500.0)
    mine, expected = np.array([up, level] * 4), np.array([level, up] * 4)
    chance = math.sqrt(2 / math.pi * 0.7 * 0.3 * 2 / 1000)
    found = distance_by_look(mine, expected, [1.0] * 8)
    assert found == pytest.approx(0.4 - chance)
    # Rows that count as one leave more to chance, and alike looks are explained by it.
    assert distance_by_look(mine, expected, [4.0] * 8) == pytest.approx(0.4 - 2 * chance)
    assert distance_by_look(mine, mine, [1.0] * 8) < 0


def test_the_distance_by_look_is_of_looks_with_rows_of_both_by_the_rows_of_the_arm():
    nothing = (0.0, 0.0)
    mine = np.array([(9e6, 1e6), nothing, (1e6, 0.0), (10e6, 20e6)])
    expected = np.array([(5e6, 5e6), (1e6, 0.0), nothing, (1e6, 2e6)])
    assert distance_by_look(mine, expected, [1.0] * 4) == pytest.approx(0.1, abs=1e-3)
    assert distance_by_look(mine[:1], expected[2:3], [1.0]) == 0.0


def test_rows_that_count_as_one_leave_more_to_chance():
    looks = [(70, 30), (70, 30), (70, 30), (70, 30)]
    assert not any(sound(looks))
    assert all(sound(looks, effects=[50.0] * 4))


def test_one_great_request_spoils_no_looks_that_it_is_held_together_with():
    rows, request = (50, 50), (2000, 0)
    effects = [2000.0, 1.0, 1.0, 1.0]
    assert all(sound([request, rows, rows, rows], effects=effects))


def test_looks_without_rows_are_in_order():
    assert sound([(0, 0), (0, 0)]) == [True, True]


def test_a_look_has_something_if_any_bin_has_more_than_before():
    assert looks_with([[1, 0], [1, 0], [1, 2], [1, 2]]).tolist() == [True, False, True, False]
    assert looks_with([0, 3, 3, 4]).tolist() == [False, True, False, True]


def test_only_what_was_added_in_some_looks_counts():
    totals, looks = [[1, 2], [4, 2], [9, 5]], np.array([True, False, True])
    assert counts_of_looks(totals, looks).tolist() == [[1, 2], [1, 2], [6, 5]]
    assert counts_of_looks([1, 4, 9], ~looks).tolist() == [0, 3, 3]
