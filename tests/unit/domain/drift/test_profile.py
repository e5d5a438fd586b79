from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import modelyard.domain.drift.profiling.numbers as under_test
from modelyard.domain.drift.block_effects import BlockEffects
from modelyard.domain.drift.profile import LevelProfile, NumberProfile, Profile
from modelyard.domain.drift.profiling.build import build_profile
from modelyard.domain.drift.row_keys import row_keys
from modelyard.domain.specs.contract import Column
from modelyard.errors import CannotAnswer

NUMBER = Column(name="x", type="number", nullable=True)
CATEGORY = Column(name="c", type="category", nullable=True)


def levels(*values):
    return np.array(values, dtype=object)


def one_block(rows):
    return np.zeros(rows, dtype=np.int64)


def test_keeps_the_rows_nulls_range_and_counts_of_a_number():
    values = np.array([3.0, 1.0, np.nan, 2.0, 2.0])
    profile = build_profile({"x": values}, [NUMBER], one_block(5))
    (column,) = profile.columns
    assert isinstance(column, NumberProfile)
    assert (column.rows, column.nulls, column.minimum, column.maximum) == (5, 1, 1.0, 3.0)
    assert (column.edges, column.counts) == ((1.0, 2.0, 3.0), (1, 2, 1, 0))


def test_a_spread_beyond_all_floats_has_no_scale():
    values = np.array([-1.5e308, 1.5e308] * 10)
    (column,) = build_profile({"x": values}, [NUMBER], one_block(20)).columns
    assert column.scale == 0


def test_keeps_the_most_frequent_levels_and_counts_the_others_together():
    values = levels(*["often"] * 3, *[f"level{i:03}" for i in range(250)], None)
    profile = build_profile({"c": values}, [CATEGORY], one_block(254))
    (column,) = profile.columns
    assert isinstance(column, LevelProfile)
    assert (len(column.counts), column.other, column.singles, column.nulls) == (200, 51, 199, 1)
    assert list(column.counts.items())[:2] == [("often", 3), ("level000", 1)]


def test_keeps_a_boolean_as_two_levels_and_skips_timestamps():
    table = {"b": np.array([1.0, 0.0, np.nan, 1.0]), "at": levels(*["2013-01-01"] * 4)}
    columns = [Column(name="b", type="boolean"), Column(name="at", type="timestamp")]
    (column,) = build_profile(table, columns, one_block(4)).columns
    assert isinstance(column, LevelProfile)
    assert (column.counts, column.nulls) == ({"true": 2, "false": 1}, 1)


def test_counts_what_is_no_level_as_null():
    odd = levels("a", None, float("nan"), 7, ["a"], "b")
    (column,) = build_profile({"c": odd}, [CATEGORY], np.arange(6) // 3).columns
    assert isinstance(column, LevelProfile)
    assert (column.counts, column.nulls) == ({"a": 1, "b": 1}, 4)


def test_bins_hold_equal_shares_of_a_continuous_column():
    values = np.random.default_rng(1).normal(size=20_000)
    (column,) = build_profile({"x": values}, [NUMBER], one_block(20_000)).columns
    assert isinstance(column, NumberProfile)
    assert len(column.edges) == 200
    assert column.scale == pytest.approx(1.0, abs=0.02)
    inner = np.array(column.counts[2:-2])
    assert 95 <= inner.min() <= inner.max() <= 105


def test_edges_are_a_thousandth_at_each_end_and_even_shares_between():
    values = np.arange(100_000.0)
    (column,) = build_profile({"x": values}, [NUMBER], one_block(100_000)).columns
    assert isinstance(column, NumberProfile)
    shares = [0.001, *(0.005 + 0.99 * each / 197 for each in range(198)), 0.999]
    wanted = np.quantile(values, shares, method="inverted_cdf")
    assert column.edges == pytest.approx(wanted, abs=1)


def test_edges_keep_apart_values_that_differ_only_far_behind_the_point():
    values = 1_380_000_000 + np.arange(1000.0) / 1000
    (column,) = build_profile({"x": values}, [NUMBER], one_block(1000)).columns
    assert isinstance(column, NumberProfile)
    assert len(column.edges) == 200


def test_measures_each_block_against_the_others():
    values = np.array([0.0, 1.0] * 10 + [0.0, 3.0] * 10 + [0.0, np.nan] * 10)
    blocks = np.repeat([7, 8, 9], 20)
    profile = build_profile({"x": values}, [NUMBER], blocks)
    (column,) = profile.columns
    assert profile.blocks == 3
    assert column.effects["null share"].largest == 0.5  # 10 of 20 against none of 40
    assert column.effects["rows outside"] == BlockEffects(
        largest=0.5, mean=0.166667, deviation=0.288675
    )  # the 3s of block 8
    assert column.effects["KS D"].mean == pytest.approx((1 / 3 + 1 / 2 + 1 / 2) / 3, abs=1e-6)


def test_measures_levels_that_only_one_block_has():
    values = levels(*["a"] * 30, *["a"] * 20, *["b"] * 10)
    profile = build_profile({"c": values}, [CATEGORY], np.repeat([0, 1], 30))
    assert profile.columns[0].effects["unlisted rows"].largest == pytest.approx(1 / 3, abs=1e-6)


def test_a_block_cut_short_is_reference_but_no_window():
    blocks = np.repeat([0, 1, 2], [100, 100, 40])
    profile = build_profile({"x": np.arange(240.0)}, [NUMBER], blocks)
    assert (profile.blocks, profile.columns[0].rows) == (2, 240)


def test_refuses_data_without_a_column_or_with_other_blocks():
    with pytest.raises(CannotAnswer, match="columns without data: c"):
        build_profile({"x": np.zeros(3)}, [NUMBER, CATEGORY], one_block(3))
    with pytest.raises(CannotAnswer, match="3 rows, 2 block ids") as raised:
        build_profile({"x": np.zeros(3)}, [NUMBER], one_block(2))
    assert raised.value.hint == "check the data against the contract first"


def test_refuses_a_document_of_another_format_or_with_a_part_missing():
    document = build_profile({"x": np.zeros(3)}, [NUMBER], one_block(3)).to_document()
    with pytest.raises(CannotAnswer, match="format 2, this version reads 1"):
        Profile.from_document({**document, "format": 2})
    with pytest.raises(CannotAnswer, match="rows"):
        Profile.from_document({name: document[name] for name in ("format", "columns")})
    del document["columns"][0]["edges"]
    with pytest.raises(CannotAnswer, match="edges"):
        Profile.from_document(document)


def test_keeps_a_column_as_wide_as_floats_are():
    values = np.array([-1.7e308, 1.7e308] * 4 + [0.0])
    (column,) = build_profile({"x": values}, [NUMBER], one_block(9)).columns
    assert isinstance(column, NumberProfile)
    assert (column.minimum, column.maximum, column.scale) == (-1.7e308, 1.7e308, 0.0)


@pytest.mark.long
@given(
    numbers=st.lists(st.floats(allow_infinity=False) | st.just(0.0), max_size=30),
    whole=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=30),
    names=st.lists(st.none() | st.text(max_size=3), max_size=30),
    blocks=st.integers(1, 4),
)
def test_reads_back_exactly_what_it_wrote(numbers, whole, names, blocks):
    rows = min(len(numbers), len(whole), len(names))
    table = {
        "x": np.array(numbers[:rows]),
        "i": np.array(whole[:rows], dtype=np.int64),
        "c": levels(*names[:rows]),
    }
    columns = [NUMBER, Column(name="i", type="integer"), CATEGORY]
    profile = build_profile(table, columns, np.arange(rows) % blocks)
    text = json.dumps(profile.to_document(), allow_nan=False)
    assert Profile.from_document(json.loads(text)) == profile
    assert build_profile(table, columns, np.arange(rows) % blocks) == profile


@pytest.mark.long
def test_stays_below_130_kb_for_fifty_columns():
    rng = np.random.default_rng(2)
    rows = 200_000
    table, columns = {}, []
    for number in range(30):
        table[f"number_{number}"] = rng.lognormal(0, 1 + number / 15, rows)
        columns.append(Column(name=f"number_{number}", type="number"))
    for number in range(20):
        size = (5, 20, 50)[number % 3]
        weights = 1 / np.arange(1, size + 1)
        drawn = rng.choice(size, rows, p=weights / weights.sum())
        table[f"category_{number}"] = np.array([f"level_{i}" for i in range(size)], dtype=object)[
            drawn
        ]
        columns.append(Column(name=f"category_{number}", type="category"))
    profile = build_profile(table, columns, np.arange(rows) * 13 // rows)
    assert len(json.dumps(profile.to_document(), separators=(",", ":"))) <= 130_000


@given(values=st.lists(st.integers(-50, 50) | st.floats(-1e300, 1e300), min_size=1, max_size=300))
def test_quantiles_of_sorted_values_are_those_of_numpy(values):
    known = np.sort(np.array(values, dtype=np.float64))
    shares = [0.001, 0.005, 0.25, 0.5, 0.75, 0.995, 0.999]
    expected = np.quantile(known, shares, method="inverted_cdf")
    assert under_test._quantiles(known, shares).tolist() == expected.tolist()


def test_keys_of_levels_are_those_of_their_texts():
    mixed = levels("a", "b", None, "a", True, 1, 1.0, "1", float("nan"))
    keys = row_keys({"c": mixed}, [CATEGORY])
    assert keys.tolist() == row_keys({"c": levels(*map(str, mixed))}, [CATEGORY]).tolist()
    assert len(set(keys.tolist())) == 7  # "a" twice, and 1 and "1"
    assert len(row_keys({"c": levels(["x"], {}, "y")}, [CATEGORY])) == 3
