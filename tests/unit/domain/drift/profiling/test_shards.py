from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from modelyard.domain.drift.profile import Profile
from modelyard.domain.drift.profiling.build import build_profile_of_parts, build_shard
from modelyard.domain.drift.profiling.shards import (
    MOST_SHARDS,
    ProfileShard,
    join_profiles,
    read_shard_name,
    shard_names,
    split_profile,
)
from modelyard.domain.specs.contract import Column
from modelyard.errors import CannotAnswer, Refused
from unit.domain.drift.profiling.test_build import COLUMNS, DAY_ONE, in_parts, training

WIDE = (
    Column(name="at", type="timestamp"),
    *(Column(name=f"x{n}", type="number") for n in range(14)),
    *(Column(name=f"c{n}", type="category") for n in range(4)),
)


def stored(profile: Profile) -> bytes:
    return json.dumps(profile.to_document(), sort_keys=True).encode()


def in_shards(read, columns, count, *, has_times, seed=0):
    """The profile of shards that were made in any order, each read back from what it stored."""
    shards = split_profile(columns, count, has_times=has_times)
    order = np.random.default_rng(seed).permutation(len(shards)).tolist()
    made = [stored(build_shard(read, columns, shards[place])) for place in order]
    return join_profiles(columns, [Profile.from_document(json.loads(each)) for each in made])


@settings(max_examples=40, deadline=None)
@example(seed=1, rows=400, days=800, count=8, pieces=3, has_times=True)
@given(
    seed=st.integers(0, 2**31),
    rows=st.integers(0, 400),
    days=st.sampled_from([3, 90, 400, 800]),
    count=st.integers(1, MOST_SHARDS),
    pieces=st.integers(1, 5),
    has_times=st.booleans(),
)
def test_any_number_of_shards_in_any_order_gives_the_same_bytes(
    seed, rows, days, count, pieces, has_times
):
    table, blocks, times = training(seed, rows, days)
    columns = [Column(name=f"{each.name}{n}", type=each.type) for n in range(2) for each in COLUMNS]
    table = {each.name: table[each.name[:-1]] for each in columns}
    known = times if has_times else None
    cut = np.array_split(np.random.default_rng(seed).permutation(rows), pieces)
    read = in_parts(table, blocks, known, cut)
    whole = build_profile_of_parts(read, columns, has_times=has_times)
    joined = in_shards(read, columns, count, has_times=has_times, seed=seed)
    assert stored(joined) == stored(whole)


def test_habits_and_rows_that_are_there_twice_come_from_the_one_shard_that_looked_for_them():
    table, blocks, times = training(1, 20_000, 56)
    times = times.astype("datetime64[h]").astype("datetime64[us]")
    read = in_parts(table, blocks, times, [np.arange(20_000)])
    whole = build_profile_of_parts(read, COLUMNS, has_times=True)
    assert whole.habits
    assert whole.repeated is not None
    assert stored(in_shards(read, COLUMNS, 8, has_times=True)) == stored(whole)


@given(count=st.integers(1, 99), has_times=st.booleans())
def test_each_column_is_in_one_shard_and_none_is_left_with_nothing_to_do(count, has_times):
    shards = split_profile(WIDE, count, has_times=has_times)
    columns = sorted(name for shard in shards for name in shard.columns)
    assert columns == sorted(column.name for column in WIDE if column.name != "at")
    assert ProfileShard() not in shards
    assert sum(shard.has_repeated for shard in shards) == has_times
    assert sum(shard.has_habits for shard in shards) == has_times
    assert len(shards) == min(count, len(columns) + 2 * has_times)


def test_a_profile_without_columns_is_one_shard():
    assert len(split_profile(WIDE[:1], 8, has_times=False)) == 1
    read = in_parts({}, np.zeros(3, dtype=np.int64), None, [np.arange(3)])
    assert in_shards(read, WIDE[:1], 8, has_times=False).rows == 3


def test_habits_read_all_numbers_so_their_shard_has_fewer_columns_than_another():
    shards = split_profile(WIDE, 4, has_times=True)
    busy = next(shard for shard in shards if shard.has_habits)
    assert len(busy.columns) < min(len(each.columns) for each in shards if each is not busy)


def test_a_shard_is_named_by_its_number_and_how_many_there_are():
    assert shard_names(2) == ("1-of-2", "2-of-2")
    assert [read_shard_name(name, count=64) for name in shard_names(64)] == list(range(64))


@pytest.mark.parametrize("name", ["3-of-2", "0-of-2", "1-of-3", "1", "", "01-of-2", "1-of-2\n"])
def test_refuses_the_name_of_a_shard_that_there_is_not(name):
    with pytest.raises(Refused, match="is no shard of this profile: it has 1-of-2 to 2-of-2"):
        read_shard_name(name, count=2)


def test_refuses_shards_that_are_missing_there_twice_or_of_other_rows():
    table, blocks, _ = training(1, 50, 30)
    times = np.full(50, DAY_ONE)
    read = in_parts(table, blocks, times, [np.arange(50)])
    shards = split_profile(COLUMNS, 2, has_times=True)
    parts = [build_shard(read, COLUMNS, shard) for shard in shards]
    for wrong in ([parts[0]], [*parts, parts[1]], []):
        with pytest.raises(CannotAnswer, match=r"its shards have the columns .* expected b, c, "):
            join_profiles(COLUMNS, wrong)
    with pytest.raises(CannotAnswer, match="its shards were made of different rows"):
        join_profiles(COLUMNS, [parts[0], replace(parts[1], rows=49)])
