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
from modelyard.domain.drift.row_keys import row_keys, share_of_runs
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
    absent = [each.name for each in _watched(columns) if each.name not in table]
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
    watched = _watched(columns)
    calendar = read_calendar(read)
    numbers = [NumberRows(c, calendar) for c in watched if c.type in {"number", "integer"}]
    levels = [LevelRows(c, calendar) for c in watched if c.type not in {"number", "integer"}]
    repeated = _read_first(read, watched, calendar, numbers, levels, has_times=has_times)
    profiles: dict[str, ColumnProfile] = {}
    together = max(1, _MOST_COUNTS // max(1, calendar.blocks * _BINS))
    for first in range(0, len(watched), together):
        names = {column.name for column in watched[first : first + together]}
        own: list[NumberRows | LevelRows] = [*numbers, *levels]
        own = [each for each in own if each.column.name in names]
        _read_counts(read, calendar, own)
        for each in own:
            profiles[each.column.name] = each.profile()
    return Profile(
        rows=calendar.rows,
        blocks=calendar.blocks,
        columns=tuple(profiles[column.name] for column in watched),
        block_rows=calendar.raised_rows,
        repeated=repeated,
        habits=read_habits(read, watched, calendar) if has_times else (),
    )


def _watched(columns: Sequence[Column]) -> list[Column]:
    # Timestamps always move, so their drift would mean nothing.
    return [column for column in columns if column.type != "timestamp"]


def _read_first(
    read: ReadParts,
    watched: Sequence[Column],
    calendar: Calendar,
    numbers: Sequence[NumberRows],
    levels: Sequence[LevelRows],
    *,
    has_times: bool,
) -> float | None:
    """Read the ranges and levels of all columns; returns the share of rows that are there twice."""
    keys = Collected(calendar.rows if has_times else 0, np.uint64)
    for part in read([column.name for column in watched]):
        blocks = calendar.blocks_of(part)
        for number in numbers:
            number.add_range(part.table[number.column.name], blocks)
        for level in levels:
            level.add_levels(part.table[level.column.name], blocks)
        if has_times:
            keys.add(row_keys(part.table, watched, times=part.times))
    return round(share_of_runs(keys.in_order()), 6) if has_times else None


def _read_counts(
    read: ReadParts, calendar: Calendar, columns: Sequence[NumberRows | LevelRows]
) -> None:
    """Read the quantiles of each number, then the counts of all columns together."""
    numbers = [each for each in columns if isinstance(each, NumberRows)]
    together = max(1, _MOST_VALUES // max(1, calendar.rows))
    for first in range(0, len(numbers), together):
        chosen = numbers[first : first + together]
        for part in read([each.column.name for each in chosen]):
            for number in chosen:
                number.collect(part.table[number.column.name])
        for number in chosen:
            number.read_shape()
    for level in columns:
        if isinstance(level, LevelRows):
            level.read_shape()
    for part in read([each.column.name for each in columns]):
        blocks = calendar.blocks_of(part)
        year = calendar.year_of(part, blocks)
        for each in columns:
            each.add_counts(part.table[each.column.name], blocks, year)
