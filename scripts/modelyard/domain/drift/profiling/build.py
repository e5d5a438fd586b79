"""Builds the profile of training data from parts of its rows.

The order of the rows, and how they are cut into parts, change nothing. What is in memory is a part,
all values of one number column or of a few short ones, and one key of each row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from modelyard.domain.drift.profile import ColumnProfile, Profile
from modelyard.domain.drift.profiling.calendar import Calendar, read_calendar
from modelyard.domain.drift.profiling.habits import read_habits
from modelyard.domain.drift.profiling.levels import LevelRows
from modelyard.domain.drift.profiling.numbers import NumberRows
from modelyard.domain.drift.profiling.parts import Collected, Part, ReadParts
from modelyard.domain.drift.profiling.shards import ProfileShard, split_profile, watched_columns
from modelyard.domain.drift.row_keys import keys_in_blocks, repeated_of_blocks, row_keys
from modelyard.domain.specs.column_values import Array, Table, count_rows
from modelyard.domain.specs.contract import Column
from modelyard.errors import CannotAnswer

_MOST_COUNTS = 4_000_000
"""Counts by block and bin that are in memory at a time, a few for each: 30 MB of each kind."""

_MOST_VALUES = 4_000_000
"""Values of number columns that are sorted together, of one column at least: 32 MB."""

_BINS = 200


def build_profile(
    table: Table,
    columns: Sequence[Column],
    blocks: npt.NDArray[np.integer[Any]],
    *,
    times: Array | None = None,
) -> Profile:
    """The profile of training data in memory, which must keep its contract.

    Args:
        table: The training data.
        columns: Columns to watch; timestamps are skipped.
        blocks: Shape (rows,): each row's calendar block, as long as a monitoring window. A block
            with less than half the rows of the median block counts as cut off: its rows belong to
            the reference, but it is not compared with the other blocks.
        times: Shape (rows,): each row's time; None without times.

    Raises:
        CannotAnswer: A column is missing, or `blocks` has another length than the table.
    """
    absent = [each.name for each in watched_columns(columns) if each.name not in table]
    if absent or len(blocks) != count_rows(table):
        raise CannotAnswer(
            f"drift profile: {count_rows(table)} rows, {len(blocks)} block ids, columns without "
            f"data: {', '.join(absent) or 'none'}",
            hint="check the data against the contract first",
        )

    def read(names: Sequence[str]) -> Iterator[Part]:
        yield Part(
            table={name: table[name] for name in names},
            blocks=blocks.astype(np.int64, copy=False),
            times=times,
        )

    return build_profile_of_parts(read, columns, has_times=times is not None)


def build_profile_of_parts(
    read: ReadParts, columns: Sequence[Column], *, has_times: bool
) -> Profile:
    """As `build_profile`, of rows that are read in parts.

    Args:
        read: Reads the rows.
        columns: Columns to watch; timestamps are skipped.
        has_times: Whether the rows have times.
    """
    (whole,) = split_profile(columns, 1, has_times=has_times)
    return build_shard(read, columns, whole)


def build_shard(read: ReadParts, columns: Sequence[Column], shard: ProfileShard) -> Profile:
    """The part of the profile that a shard has to make, as a profile of its columns.

    Args:
        read: Reads the rows: all of them, in every shard.
        columns: Columns to watch; timestamps are skipped.
        shard: The shard.
    """
    watched = watched_columns(columns)
    calendar = read_calendar(read)
    own = [column for column in watched if column.name in shard.columns]
    numbers = [NumberRows(c, calendar) for c in own if c.type in {"number", "integer"}]
    levels = [LevelRows(c, calendar) for c in own if c.type not in {"number", "integer"}]
    read_too = watched if shard.has_repeated else own
    repeated, of_blocks = _read_first(
        read, read_too, calendar, numbers, levels, has_keys=shard.has_repeated
    )
    profiles: dict[str, ColumnProfile] = {}
    together = max(1, _MOST_COUNTS // max(1, calendar.blocks * _BINS))
    for first in range(0, len(own), together):
        names = {column.name for column in own[first : first + together]}
        counted: list[NumberRows | LevelRows] = [*numbers, *levels]
        counted = [each for each in counted if each.column.name in names]
        _read_counts(read, calendar, counted)
        for each in counted:
            profiles[each.column.name] = each.profile()
    return Profile(
        rows=calendar.rows,
        blocks=calendar.blocks,
        columns=tuple(profiles[column.name] for column in own),
        block_rows=calendar.raised_rows,
        repeated=repeated,
        repeated_of_blocks=of_blocks,
        habits=read_habits(read, watched, calendar) if shard.has_habits else (),
    )


def _read_first(
    read: ReadParts,
    watched: Sequence[Column],
    calendar: Calendar,
    numbers: Sequence[NumberRows],
    levels: Sequence[LevelRows],
    *,
    has_keys: bool,
) -> tuple[float | None, tuple[float, ...]]:
    """Read the ranges and levels of all columns; returns the share of rows that are there twice.

    That of all rows, None without keys, and that of each block, none if no block has such rows.
    """
    if not (watched or has_keys):
        return None, ()
    keys = Collected(calendar.rows if has_keys else 0, np.uint64)
    for part in read([column.name for column in watched]):
        blocks = calendar.blocks_of(part)
        for number in numbers:
            number.add_range(part.table[number.column.name], blocks)
        for level in levels:
            level.add_levels(part.levels(level.column.name), blocks)
        if has_keys:
            found = row_keys(part.table, watched, times=part.times, coded=part.coded)
            keys.add(keys_in_blocks(found, blocks, calendar.blocks))
    if not has_keys:
        return None, ()
    twice = repeated_of_blocks(keys.in_order(), calendar.blocks)
    # Keys within a block have some bits less, so a pair of rows may agree by chance.
    shares = tuple(round(each / n, 4) for each, n in zip(twice, calendar.block_rows, strict=False))
    return round(sum(twice) / max(1, calendar.rows), 6), shares if any(shares) else ()


def _read_counts(
    read: ReadParts, calendar: Calendar, columns: Sequence[NumberRows | LevelRows]
) -> None:
    """Read the quantiles of each number, then the counts of all columns together."""
    numbers = [each for each in columns if isinstance(each, NumberRows)]
    levels = [each for each in columns if isinstance(each, LevelRows)]
    together = max(1, _MOST_VALUES // max(1, calendar.rows))
    for first in range(0, len(numbers), together):
        chosen = numbers[first : first + together]
        for part in read([each.column.name for each in chosen]):
            for number in chosen:
                number.collect(part.table[number.column.name])
        for number in chosen:
            number.read_shape()
    for level in levels:
        level.read_shape()
    for part in read([each.column.name for each in columns]):
        blocks = calendar.blocks_of(part)
        year = calendar.year_of(part, blocks)
        for number in numbers:
            number.add_counts(part.table[number.column.name], blocks, year)
        for level in levels:
            level.add_counts(part.levels(level.column.name), blocks, year)
