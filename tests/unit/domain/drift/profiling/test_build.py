from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.domain.drift.detection import check_window
from modelyard.domain.drift.profiling import build
from modelyard.domain.drift.profiling.build import build_profile, build_profile_of_parts
from modelyard.domain.drift.profiling.numbers import _take_scale
from modelyard.domain.drift.profiling.parts import Part
from modelyard.domain.specs.contract import Column

COLUMNS = (
    Column(name="x", type="number", nullable=True),
    Column(name="whole", type="integer", nullable=True),
    Column(name="c", type="category", nullable=True),
    Column(name="b", type="boolean", nullable=True),
)
DAY_ONE = np.datetime64("2024-01-01T09:00", "us")


def training(seed, rows, days):
    """Rows of some days, a few without a time, in an order of their own."""
    random = np.random.default_rng(seed)
    minutes = random.integers(0, days * 1440, rows)
    times = DAY_ONE + minutes.astype("timedelta64[m]")
    season = np.sin(minutes / 1440 / 58)
    times[random.random(rows) < 0.02] = np.datetime64("NaT")
    whole = random.choice([-3.0, 0.0, 0.0, 2.0**53 - 1, np.nan], rows)
    names = [None, "often", "often", *(f"level {n}" for n in range(260))]
    table = {
        "x": np.where(random.random(rows) < 0.1, np.nan, random.normal(size=rows) + 3 * season),
        "whole": whole,
        "c": np.array(names, dtype=object)[random.zipf(1.4, rows) % len(names)],
        "b": np.array([True, False, None], dtype=object)[random.integers(0, 3, rows)],
    }
    known = ~np.isnat(times)
    since = times[known].min() if known.any() else DAY_ONE
    blocks = np.where(known, (times - since).astype("timedelta64[D]").astype(np.int64) // 7, 0)
    return table, blocks, times


def in_parts(table, blocks, times, pieces):
    """Reads the rows in these pieces; each reads them in an order of its own."""
    random = np.random.default_rng(0)

    def read(names):
        for place in random.permutation(len(pieces)).tolist():
            rows = pieces[place]
            yield Part(
                table={name: table[name][rows] for name in names},
                blocks=blocks[rows],
                times=None if times is None else times[rows],
            )

    return read


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    rows=st.integers(0, 400),
    days=st.sampled_from([3, 90, 400, 800]),
    cuts=st.lists(st.floats(0, 1), max_size=6),
    has_times=st.booleans(),
)
def test_any_cut_and_any_order_of_the_parts_gives_the_same_profile(
    seed, rows, days, cuts, has_times
):
    table, blocks, times = training(seed, rows, days)
    known = times if has_times else None
    whole = build_profile(table, COLUMNS, blocks, times=known)
    order = np.random.default_rng(seed).permutation(rows)
    pieces = np.split(order, sorted(int(cut * rows) for cut in cuts))
    read = in_parts(table, blocks, known, pieces)
    profile = build_profile_of_parts(read, COLUMNS, has_times=has_times)
    assert json.dumps(profile.to_document()) == json.dumps(whole.to_document())
    window = {name: values[: rows // 2] for name, values in table.items()}
    assert check_window(profile, window, least_rows=1) == check_window(whole, window, least_rows=1)


def test_rows_of_large_blocks_are_chosen_by_what_they_hold_in_any_order():
    table, blocks, times = training(1, 80_000, 56)
    times = times.astype("datetime64[h]").astype("datetime64[us]")  # many rows are alike
    whole = build_profile(table, COLUMNS, blocks, times=times)
    assert np.bincount(blocks).max() > 9_000
    pieces = np.array_split(np.random.default_rng(2).permutation(80_000), 7)
    read = in_parts(table, blocks, times, pieces)
    assert build_profile_of_parts(read, COLUMNS, has_times=True) == whole
    assert whole.habits


def test_a_profile_of_many_small_blocks_reads_its_columns_in_turns(monkeypatch):
    table, blocks, times = training(3, 3_000, 400)
    whole = build_profile(table, COLUMNS, blocks, times=times)
    monkeypatch.setattr("modelyard.domain.drift.profiling.build._MOST_COUNTS", 1)
    assert build_profile(table, COLUMNS, blocks, times=times) == whole


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    rows=st.integers(0, 400),
    most=st.integers(1, 2_000),
    has_times=st.booleans(),
)
def test_how_many_columns_are_sorted_together_changes_nothing(seed, rows, most, has_times):
    table, blocks, times = training(seed, rows, 90)
    columns = [Column(name=f"{each.name}{n}", type=each.type) for n in range(3) for each in COLUMNS]
    table = {each.name: table[each.name[:-1]] for each in columns}
    known = times if has_times else None
    whole = build_profile(table, columns, blocks, times=known)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "_MOST_VALUES", most)
        assert build_profile(table, columns, blocks, times=known) == whole


@pytest.mark.parametrize(("most", "together"), [(1, 1), (250_000, 1), (999_999, 3), (10**9, 6)])
def test_of_columns_with_many_rows_a_few_are_in_memory_at_a_time(monkeypatch, most, together):
    monkeypatch.setattr(build, "_MOST_VALUES", most)
    rows, size = 250_000, 2_000
    random = np.random.default_rng(0)
    columns = [Column(name=f"x{n}", type="number") for n in range(6)]
    table = {each.name: random.normal(size=rows) for each in columns}

    def read(names):
        for first in range(0, rows, size):
            part = {name: table[name][first : first + size].copy() for name in names}
            yield Part(table=part, blocks=np.zeros(size, dtype=np.int64))

    build_profile_of_parts(read, columns, has_times=False)  # what is loaded once is not counted
    tracemalloc.start()
    try:
        build_profile_of_parts(read, columns, has_times=False)
        held = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Besides the columns there are parts and counts, less than one more column.
    assert 8 * rows * together < held < 8 * rows * (together + 1)


def test_the_share_of_rows_that_are_there_twice_is_kept_with_six_digits():
    table = {"x": np.array([1.0, 1.0, 2.0])}
    times = np.full(3, DAY_ONE)
    profile = build_profile(table, COLUMNS[:1], np.zeros(3, dtype=np.int64), times=times)
    assert profile.to_document()["repeated"] == 0.666667


@pytest.mark.parametrize("seed", range(20))
def test_the_scale_of_values_without_a_spread_is_numpys_standard_deviation(seed):
    random = np.random.default_rng(seed)
    values = np.sort(np.where(random.random(9_999) < 0.8, 0.1, random.normal(size=9_999)))
    places = np.ceil(len(values) * np.array([0.001, 0.999]) - 1).astype(int)
    expected = float(np.std(np.clip(values, *values[places])))
    assert _take_scale(values) == expected


def test_the_edges_of_a_column_with_a_few_huge_values_stay_fine():
    x = np.append(np.random.default_rng(1).normal(size=5000), [1e9] * 20)
    blocks = np.zeros(len(x), dtype=np.int64)
    (column,) = build_profile({"x": x}, COLUMNS[:1], blocks).columns
    assert len(column.edges) == 200
    assert column.edges[100] == pytest.approx(np.quantile(x, 0.5), abs=0.02)


def test_the_share_of_rows_that_are_there_twice_is_known_of_each_block():
    random = np.random.default_rng(1)
    table = {"x": random.normal(size=3000)}
    hours = np.arange(3000) * np.timedelta64(12, "m")
    times = DAY_ONE.astype("datetime64[m]") + hours
    twins = np.arange(1000, 1200)  # of the second block
    rows = np.concatenate([np.arange(3000), twins])
    blocks = (np.arange(3000) // 1000)[rows]
    cut = np.array_split(random.permutation(len(rows)), 3)
    read = in_parts({"x": table["x"][rows]}, blocks, times[rows], cut)
    profile = build_profile_of_parts(read, COLUMNS[:1], has_times=True)
    assert profile.repeated == pytest.approx(400 / 3200)
    assert profile.repeated_of_blocks == (0.0, round(400 / 1200, 4), 0.0)
    alone = build_profile(table, COLUMNS[:1], np.arange(3000) // 1000, times=times)
    assert alone.repeated_of_blocks == ()
    assert "repeated_of_blocks" not in alone.to_document()
