from __future__ import annotations

import math

import numpy as np
import pytest

from modelyard.domain.canary.input_mix import (
    LEVEL_CELLS,
    NOTABLE_DISTANCE,
    SIZE_EDGES,
    InputDifference,
    cell_name,
    input_differences,
    level_cell,
    number_cell,
    range_edges,
)


def cells(column, counts):
    return {cell_name(column, place): count for place, count in enumerate(counts)}


def test_the_distance_is_total_variation_less_what_chance_adds():
    # .7 against .4 of one of two cells. Chance adds sqrt(2 v / pi) with v = p (1 - p) (1/n + 1/m).
    canary, stable = cells("dest", (700, 300)), cells("dest", (1600, 2400))
    spread = math.sqrt(0.46 * 0.54 * (1 / 1000 + 1 / 4000))
    (found,) = input_differences(canary, stable, 1.0)
    assert found.column == "dest"
    assert found.distance == pytest.approx(0.3 - spread * math.sqrt(2 / math.pi))


def test_what_may_be_chance_is_no_difference_and_correlated_rows_count_less():
    canary, stable = cells("dest", (70, 30)), cells("dest", (160, 240))
    assert input_differences(canary, stable, 1.0)
    assert input_differences(canary, stable, 20.0) == ()


def test_equal_rows_are_seldom_found_to_differ():
    random, found = np.random.default_rng(0), 0
    for _ in range(2000):
        one, other = (random.multinomial(n, [0.2] * 5) for n in (200, 800))
        found += bool(input_differences(cells("x", one), cells("x", other), 1.0))
    assert found <= 2


def test_the_greatest_difference_comes_first_and_inputs_of_one_arm_do_not_count():
    canary = {**cells("a", (600, 400)), **cells("b", (900, 100)), **cells("c", (9, 0))}
    stable = {**cells("a", (2000, 2000)), **cells("b", (2000, 2000))}
    found = input_differences(canary, stable, 1.0)
    assert [each.column for each in found] == ["b", "a"]
    assert all(isinstance(each, InputDifference) for each in found)
    assert all(each.distance > NOTABLE_DISTANCE for each in found)


def test_a_column_may_have_any_name():
    canary, stable = cells("a:b", (900, 100)), cells("a:b", (1000, 3000))
    assert input_differences(canary, stable, 1.0)[0].column == "a:b"


def test_numbers_without_limits_are_in_cells_by_their_size():
    edges = range_edges(-math.inf, math.inf)
    assert edges == SIZE_EDGES
    assert list(edges) == sorted(edges)
    found = [number_cell(value, edges) for value in (-1e9, -3.0, 0.0, 1.0, 2.0, 1e9)]
    assert found == sorted(found)
    assert len(set(found)) == 6
    assert number_cell(math.inf, edges) == len(edges)


@pytest.mark.parametrize(
    ("low", "high"), [(0, math.inf), (-math.inf, 0), (math.nan, 1), (0, math.nan), (1, 1), (2, 1)]
)
def test_numbers_with_one_limit_or_none_between_are_in_cells_by_their_size(low, high):
    assert range_edges(low, high) == SIZE_EDGES


@pytest.mark.parametrize(
    ("value", "cell"), [(-5, 0), (0, 0), (9.99, 0), (10, 1), (100, 9), (1e9, 9)]
)
def test_numbers_with_limits_are_in_ten_equal_cells(value, cell):
    assert number_cell(value, range_edges(0, 100)) == cell


def test_levels_share_a_few_cells():
    assert {level_cell(f"level {n}") for n in range(200)} == set(range(LEVEL_CELLS))
    assert level_cell("EWR") == level_cell("EWR")


def test_the_edges_of_sizes_reach_from_a_hundredth_to_a_million():
    # Servers count by them, so a canary and an older stable must have the same.
    assert SIZE_EDGES[0] == -(10**6)
    assert SIZE_EDGES[-1] == 10**6
    assert min(abs(edge) for edge in SIZE_EDGES) == pytest.approx(0.01)
    assert len(SIZE_EDGES) == 66
