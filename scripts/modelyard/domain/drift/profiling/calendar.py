"""The calendar of rows that are read in parts: their blocks, their days, and the year they know."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from modelyard.domain.drift.block_effects import Integers
from modelyard.domain.drift.profiling.clocks import BlockDays
from modelyard.domain.drift.profiling.parts import Part, ReadParts
from modelyard.domain.drift.season.weeks import Year, YearRows, find_year
from modelyard.domain.specs.column_values import Array

_MICROS_A_DAY = 24 * 60 * 60 * 10**6
_DAYS = 2**31  # more than the calendar has, so that a block and a day are one number
_LATEST = np.iinfo(np.int64).max


@dataclass(frozen=True, kw_only=True)
class Calendar:
    """The calendar of all rows.

    Args:
        rows: The number of rows.
        ids: The block ids in ascending order.
        numbers: The number of each, 0, 1, 2 ...; -1 for a block that is cut off.
        block_rows: Rows of each whole block.
        raised_rows: The same; those of a block with few days are raised to the usual days.
        year: The year that the rows know, if they do.
        block_days: The days of whole blocks; None without times.
    """

    rows: int
    ids: Integers
    numbers: Integers
    block_rows: Integers
    raised_rows: tuple[int, ...]
    year: Year | None
    block_days: BlockDays | None

    @property
    def blocks(self) -> int:
        """The number of whole blocks."""
        return len(self.block_rows)

    def blocks_of(self, part: Part) -> Integers:
        """The number of each row's block."""
        return _blocks_of(part, self.ids, self.numbers)

    def year_of(self, part: Part, blocks: Integers) -> YearRows | None:
        """Where each row is in the year."""
        if self.year is None or part.times is None:
            return None
        return self.year.place(part.times, blocks)


def read_calendar(read: ReadParts) -> Calendar:
    """The calendar of all rows; no column is read."""
    rows: dict[int, int] = {}
    first: dict[int, int] = {}
    for part in read(()):
        ids, places, counts = np.unique(part.blocks, return_inverse=True, return_counts=True)
        moments = np.full(len(ids), _LATEST)
        if part.times is not None:
            micros, known = _micros(part.times)
            np.minimum.at(moments, places[known], micros[known])
        for block, count, moment in zip(
            ids.tolist(), counts.tolist(), moments.tolist(), strict=True
        ):
            rows[block] = rows.get(block, 0) + count
            first[block] = min(first.get(block, _LATEST), moment)
    ids = np.array(sorted(rows), dtype=np.int64)
    counts = np.array([rows[block] for block in ids.tolist()], dtype=np.int64)
    # A block with less than half the rows of the median one is cut off.
    whole = counts * 2 >= np.median(counts) if len(ids) else np.zeros(0, dtype=np.bool_)
    numbers = np.where(whole, np.cumsum(whole) - 1, -1)
    since = min((first[block] for block in ids[whole].tolist()), default=_LATEST)
    days, shifted = _read_days(read, ids, numbers, since)
    of_days = None
    if days is not None:
        of_days = BlockDays(blocks=days // _DAYS - 1, days=days % _DAYS - _DAYS // 2)
    return Calendar(
        rows=sum(rows.values()),
        ids=ids,
        numbers=numbers,
        block_rows=counts[whole],
        raised_rows=_raised(counts[whole], shifted),
        year=None if of_days is None else find_year(of_days.days, of_days.blocks),
        block_days=None if of_days is None else of_days.whole(),
    )


def _read_days(
    read: ReadParts, ids: Integers, numbers: Integers, since: int
) -> tuple[Integers | None, Integers | None]:
    """Each block with each of its days, and each whole one with its days since a moment."""
    days, shifted, has_times = np.zeros(0, np.int64), np.zeros(0, np.int64), False
    for part in read(()):
        if part.times is None:
            continue
        has_times = True
        micros, known = _micros(part.times)
        micros, blocks = micros[known], _blocks_of(part, ids, numbers)[known]
        # Blocks begin at -1 and days before 1970.
        days = np.union1d(
            days, _distinct((blocks + 1) * _DAYS + _DAYS // 2 + micros // _MICROS_A_DAY)
        )
        whole = blocks >= 0
        # From the first moment on, as blocks are: a week from noon on has seven days, not eight.
        after = (micros[whole] - since) // _MICROS_A_DAY
        shifted = np.union1d(shifted, _distinct(blocks[whole] * _DAYS + after))
    return (days, shifted) if has_times else (None, None)


def _raised(rows: Integers, pairs: Integers | None) -> tuple[int, ...]:
    # Else the first and last weeks of a training, which are cut off, make half a week look usual.
    if pairs is None or not len(rows):
        return tuple(rows.tolist())
    days = np.maximum(1, np.bincount(pairs // _DAYS, minlength=len(rows)))
    usual = np.quantile(days, 0.5, method="higher")
    return tuple(np.rint(rows * np.maximum(1, usual / days)).astype(int).tolist())


def _micros(times: Array) -> tuple[Integers, npt.NDArray[np.bool_]]:
    moments = times.astype("datetime64[us]")
    return moments.astype(np.int64), ~np.isnat(moments)


def _blocks_of(part: Part, ids: Integers, numbers: Integers) -> Integers:
    found: Integers = numbers[np.searchsorted(ids, part.blocks)]
    return found


def _distinct(values: Integers) -> Integers:
    """The different values; rows of one time mostly come together."""
    changes = np.flatnonzero(values[1:] != values[:-1]) + 1
    return np.unique(values[np.concatenate([[0], changes])]) if len(values) else values
