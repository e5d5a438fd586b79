from __future__ import annotations

import numpy as np
import pytest

from modelyard.domain.drift.row_keys import known_share
from modelyard.domain.drift.second_look.chosen_rows import (
    MOST_ROWS,
    Places,
    choose_rows,
    content_keys,
)

START = np.datetime64("2024-01-01", "us")


def test_of_few_rows_all_are_chosen():
    times = START + np.arange(MOST_ROWS) * np.timedelta64(1, "s")
    assert len(choose_rows(content_keys({}, times))) == MOST_ROWS


@pytest.mark.parametrize(
    "numbers",
    [
        {},
        {"x": np.zeros(100_000)},
        {"x": np.full(100_000, np.nan)},
        {"x": np.arange(100_000) % 20.0},
        {"x": np.random.default_rng(0).normal(size=100_000)},
    ],
    ids=["no numbers", "zeros", "nulls", "in step", "all different"],
)
@pytest.mark.parametrize("step", [0, 1, 3600])
def test_about_as_many_as_wanted_are_chosen_whatever_the_rows_hold(numbers, step):
    times = START + np.arange(100_000) // 7 * np.timedelta64(step, "s")
    rows = choose_rows(content_keys(numbers, times))
    assert abs(len(rows) - MOST_ROWS) < 5 * np.sqrt(MOST_ROWS)
    # Rows in an order fall in step with every n-th one: here each of 20 has its share.
    shares = np.bincount(rows % 20, minlength=20) / len(rows)
    assert np.abs(shares - 1 / 20).max() < 0.02


def test_the_same_rows_are_chosen_in_any_order():
    random = np.random.default_rng(1)
    numbers = {"x": random.integers(0, 9, 60_000) * 1.0, "y": random.normal(size=60_000).round(1)}
    times = START + random.integers(0, 50, 60_000) * np.timedelta64(1, "h")
    order = random.permutation(60_000)
    moved = {name: values[order] for name, values in numbers.items()}

    def chosen(table, at):
        rows = choose_rows(content_keys(table, at))
        return sorted(
            np.stack([at[rows].astype(float), *(v[rows] for v in table.values())]).T.tolist()
        )

    assert chosen(moved, times[order]) == chosen(numbers, times)


def test_rows_that_are_alike_have_places_of_their_own_also_in_several_parts():
    keys = content_keys({"x": np.zeros(9)}, np.full(9, START))
    assert len(set(keys.tolist())) == 1
    places = Places(np.sort(keys))
    apart = [*places.of(keys[:4]).tolist(), *places.of(keys[4:]).tolist()]
    assert len(set(apart)) == 9
    assert sorted(apart) == sorted(Places(np.sort(keys)).of(keys).tolist())


def test_of_no_rows_none_is_known_and_none_is_known_before_the_first():
    keys = np.arange(4, dtype=np.uint64)
    assert known_share(keys, keys[1:3]) == 0.5
    assert known_share(keys, keys[:1]) == 0.25
    assert known_share(keys, keys[:0]) == 0
    assert known_share(keys[:0], keys) == 0
