"""Counts of the parts of a window are those of the whole."""

from __future__ import annotations

import math

import numpy as np
import pytest

from modelyard.domain.drift.column_checks import ColumnCounts, ColumnTally, check_column
from modelyard.domain.drift.profiling.build import build_profile
from modelyard.domain.specs.column_values import CodedValues
from modelyard.domain.specs.contract import Column

COLUMNS = (Column(name="temp", type="number"), Column(name="station", type="category"))
RANDOM = np.random.default_rng(4)


def rows(count, spread=1.0):
    station = RANDOM.choice(["a", "b", "new"], count).astype(object)
    station[RANDOM.random(count) < 0.1] = None
    temp = RANDOM.normal(0, spread, count)
    temp[RANDOM.random(count) < 0.1] = np.nan
    return {"temp": temp, "station": station}


PROFILE = {
    each.name: each
    for each in build_profile(rows(5200), COLUMNS, np.repeat(np.arange(52), 100)).columns
}


def counted(profile, *parts):
    tally = ColumnTally(profile)
    for part in parts:
        tally.add(part)
    return tally.counts()


@pytest.mark.parametrize("name", ["temp", "station"])
@pytest.mark.parametrize("cuts", [(0,), (1,), (100, 101, 400), (500,)])
def test_parts_add_up_to_the_whole(name, cuts):
    values = rows(500, spread=3.0)[name]
    assert counted(PROFILE[name], *np.split(values, cuts)) == counted(PROFILE[name], values)


def test_numbers_are_counted_by_bin_beyond_the_range_and_without_a_value():
    profile = PROFILE["temp"]
    low, high = profile.minimum, profile.maximum
    found = counted(profile, np.array([low - 1, low, 0.0, np.nan, high, high + 1, high + 2]))
    assert (found.rows, found.nulls, sum(found.bins), found.outside) == (7, 1, 6, 3)
    assert (found.minimum, found.maximum) == (low - 1, high + 2)


def test_levels_are_counted_by_name():
    values = np.array(["b", None, "a", "b", "z"], dtype=object)
    assert counted(PROFILE["station"], values) == ColumnCounts(
        rows=5, nulls=1, levels={"a": 1, "b": 2, "z": 1}
    )


def test_coded_texts_are_counted_as_texts_are():
    coded = CodedValues(codes=np.array([1, 0, 2, 1, 0]), distinct=("a", None, "z"))
    found = counted(PROFILE["station"], coded)
    assert found == counted(PROFILE["station"], coded.to_array())
    assert (found.rows, found.nulls, found.levels) == (5, 2, {"a": 2, "z": 1})


def test_of_no_values_nothing_is_the_least_or_the_greatest():
    found = counted(PROFILE["temp"], np.array([np.nan]))
    assert (found.rows, found.nulls, found.outside) == (1, 1, 0)
    assert (found.minimum, found.maximum) == (math.inf, -math.inf)


def details(before, now):
    """What each check says of a column of levels, from its rows by level."""
    values = np.repeat(np.array([*before], dtype=object), [*before.values()])
    blocks = np.arange(len(values)) % 20
    (profile,) = build_profile({"station": values}, COLUMNS[1:], blocks).columns
    counts = ColumnCounts(rows=sum(now.values()), nulls=0, levels=now)
    checks = check_column(profile, counts, limit=0.01, enough_blocks=True, least_rows=100)
    return {check.reason: check.detail for check in checks}


def test_the_level_whose_share_moved_most_is_named():
    found = details({"a": 600, "b": 300, "c": 100}, {"a": 560, "b": 100, "c": 340})
    assert found["shape"] == "'c' 10.00% -> 34.00%"


def test_new_levels_are_named_the_most_frequent_first():
    found = details({"a": 600, "b": 400}, {"a": 590, "b": 380, "y": 9, "z": 19, "x": 2})
    assert found["new"] == "30 rows of levels not listed: 'z' (19), 'y' (9), 'x' (2)"
