"""Which looks predict as on held-out rows, and what was counted in them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from modelyard.domain.canary.shift.looks import (
    counts_of_looks,
    distance_by_chance,
    looks_with,
    sound_looks,
)

EVEN = (0.5, 0.5)


def sound(rows, *, allowed=0.1, effects=None):
    added = np.array(rows, dtype=float)
    return sound_looks(added, EVEN, allowed, effects or [1.0] * len(added)).tolist()


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
    # With the look before it the far one is off by .15, and with all four by .075.
    assert sound([near, far, near, near]) == [False, False, False, True]
    assert sound([near, near, near, near, far]) == [True] * 4 + [False]


def test_looks_that_are_each_too_small_to_tell_are_held_against_the_shares_together():
    row = (2, 0)
    assert sound([row] * 3) == [True] * 3
    assert sound([row] * 5) == [False] * 5


def test_rows_that_count_as_one_leave_more_to_chance():
    looks = [(70, 30), (70, 30), (70, 30), (70, 30)]
    assert not any(sound(looks))
    assert all(sound(looks, effects=[50.0] * 4))


def test_looks_without_rows_are_in_order():
    assert sound([(0, 0), (0, 0)]) == [True, True]


def test_a_look_has_something_if_any_bin_has_more_than_before():
    assert looks_with([[1, 0], [1, 0], [1, 2], [1, 2]]).tolist() == [True, False, True, False]
    assert looks_with([0, 3, 3, 4]).tolist() == [False, True, False, True]


def test_only_what_was_added_in_some_looks_counts():
    totals, looks = [[1, 2], [4, 2], [9, 5]], np.array([True, False, True])
    assert counts_of_looks(totals, looks).tolist() == [[1, 2], [1, 2], [6, 5]]
    assert counts_of_looks([1, 4, 9], ~looks).tolist() == [0, 3, 3]
