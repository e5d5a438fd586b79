"""When a column is compared with its season, and when with all rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from modelyard.domain.drift.block_effects import BlockEffects
from modelyard.domain.drift.season.column_seasons import Season, SeasonRows, find_season

BLOCKS, WEEKS = 4, 3
ROWS = SeasonRows(
    near=np.array([[True, False, False], [True, True, False], [False, True, True], [False] * 3]),
    weeks=np.array([[5, 1], [2, 8], [4, 4]]),
    blocks=np.array([[1, 0], [2, 3], [0, 4], [1, 1]]),
    before_last=np.array([3, 3]),
)


def effects(floor):
    """Effects that make this floor of the distance."""
    return {"KS D": BlockEffects(largest=floor / 1.25, mean=0.0, deviation=0.0)}


def summaries(of_all, of_last):
    """What is found of all blocks in their seasons, and of the last one a year before."""
    asked = []

    def summarize(pairs):
        asked.append([(rest.tolist(), block.tolist()) for rest, block in pairs])
        if len(pairs) == BLOCKS:
            return effects(of_all)
        return {"KS D": BlockEffects(largest=of_last, mean=of_last, deviation=0.0)}

    return summarize, asked


def test_each_block_is_compared_with_the_other_rows_of_its_season_and_the_last_a_year_before():
    summarize, asked = summaries(0.2, 0.1)
    found = find_season(ROWS, effects(0.8), summarize)
    assert found == Season(counts=((5, 1), (2, 8), (4, 4)), effects=effects(0.2))
    of_blocks = [([4, 1], [1, 0]), ([5, 6], [2, 3]), ([6, 8], [0, 4]), ([-1, -1], [1, 1])]
    assert asked == [of_blocks, [([3, 3], [1, 1])]]


@pytest.mark.parametrize(
    ("of_all", "of_last", "is_season"),
    [
        (0.36, 0.3, True),
        (0.37, 0.3, False),  # more than .45 of the floor without seasons
        (0.2, 0.19, True),
        (0.2, 0.2, False),  # a new regime has begun
    ],
)
def test_a_season_must_lower_the_floor_and_the_last_block_be_as_its_season_was(
    of_all, of_last, is_season
):
    summarize, _ = summaries(of_all, of_last)
    assert (find_season(ROWS, effects(0.8), summarize) is not None) is is_season


def test_without_a_year_or_rows_a_year_before_or_any_measure_no_season_is_known():
    summarize, _ = summaries(0.2, 0.1)
    no_year = replace(ROWS, near=ROWS.near[:0])
    new = replace(ROWS, before_last=np.array([0, 0]))
    assert [find_season(each, effects(0.8), summarize) for each in (None, no_year, new)] == [
        None
    ] * 3
    assert find_season(ROWS, effects(0.8), lambda _: {}) is None


def test_a_season_that_raises_the_floor_of_another_measure_is_not_taken():
    def summarize(pairs):
        both = effects(0.2) | {"null share": BlockEffects(largest=nulls, mean=0.0, deviation=0.0)}
        return both if len(pairs) == BLOCKS else {}

    whole = effects(0.8) | {"null share": BlockEffects(largest=0.08, mean=0.0, deviation=0.0)}
    nulls = 0.119
    assert find_season(ROWS, whole, summarize) is not None
    nulls = 0.121  # one and a half times as much
    assert find_season(ROWS, whole, summarize) is None
