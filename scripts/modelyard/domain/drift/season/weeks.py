"""The weeks of a year, and those near some days; a year that the data knows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt

from modelyard.domain.specs.interval import Interval

WEEKS = 52
"""Weeks of a year; the last one has a day or two more."""

NEAR_DAYS = 21
"""Days before and after a window that are its season."""

SLIP_DAYS = 14
"""Days by which a season may be early or late."""

LEAST_DAYS = 7 * WEEKS
"""Days from the first row to the last one that show a year."""

_LONGEST_GAP = 3  # weeks of the year in a row without rows: a season has more on either side

Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class YearRows:
    """Where rows are in a year.

    Args:
        weeks: Shape (rows,), the week of the year of each row, from 0; -1 without a time.
        blocks: Shape (rows,), the calendar block of each row; -1 outside whole blocks, and without
            a time.
        before_last: Shape (rows,), whether a row is within a fortnight of the last block's days of
            the year, and at least half a year older.
    """

    weeks: Integers
    blocks: Integers
    before_last: Booleans


@dataclass(frozen=True, kw_only=True)
class Year:
    """A year that data knows.

    Args:
        near: Shape (blocks, WEEKS), whether a week is in the season of a block.
        beside: Shape (WEEKS,), whether a week is within a fortnight of the last block's.
        until: The day, counted from 1970, that is half a year before the last block.
    """

    near: Booleans
    beside: Booleans
    until: int

    def place(self, times: npt.NDArray[Any], blocks: Integers) -> YearRows:
        """Where rows of these times and blocks are."""
        days = times.astype("datetime64[D]")
        known = ~np.isnat(days)
        weeks = np.where(known, _week_of(days), -1)
        return YearRows(
            weeks=weeks,
            blocks=np.where(known, blocks, -1),
            before_last=known & self.beside[weeks] & (days.astype(np.int64) < self.until),
        )


def find_year(days: Integers, blocks: Integers) -> Year | None:
    """The year that rows know; None if they know none.

    Args:
        days: The day of each row, counted from 1970; each day of a block is enough.
        blocks: Their blocks, 0, 1, 2 ...; -1 for rows of a block that was cut off.
    """
    if not len(days) or np.ptp(days) + 1 < LEAST_DAYS:
        return None
    weeks = _week_of(days.astype("datetime64[D]"))
    if _longest_gap(np.bincount(weeks, minlength=WEEKS) > 0) > _LONGEST_GAP:
        return None
    height = int(blocks.max(initial=-1)) + 1
    first = np.full(height + 1, np.iinfo(np.int64).max)  # -1, cut off, is the last place
    last = np.full(height + 1, np.iinfo(np.int64).min)
    np.minimum.at(first, blocks, days)
    np.maximum.at(last, blocks, days)
    near = np.zeros((height, WEEKS), dtype=np.bool_)
    for block in np.unique(blocks[blocks >= 0]).tolist():
        near[block] = _weeks_near(int(first[block]), int(last[block]) + 1)
    if not height:
        return Year(near=near, beside=np.zeros(WEEKS, dtype=np.bool_), until=0)
    since, until = int(first[height - 1]), int(last[height - 1]) + 1
    beside = _weeks_near(since, until, margin=SLIP_DAYS)
    return Year(near=near, beside=beside, until=since - LEAST_DAYS // 2)


def weeks_near(days: Interval, *, later: int = 0) -> Booleans:
    """The weeks of the year that are the season of a window, some days later, shape (WEEKS,)."""
    since, until = ((day - date(1970, 1, 1)).days + later for day in (days.since, days.until))
    return _weeks_near(since, until)


def _weeks_near(since: int, until: int, *, margin: int = NEAR_DAYS) -> Booleans:
    # A year of days has every week, so more of them say nothing new.
    days = np.arange(since - margin, min(until, since + 366) + margin)
    near = np.zeros(WEEKS, dtype=np.bool_)
    near[_week_of(days.astype("datetime64[D]"))] = True
    return near


def _week_of(days: npt.NDArray[Any]) -> Integers:
    of_year = (days - days.astype("datetime64[Y]")).astype(np.int64)
    weeks: Integers = np.minimum(of_year // 7, WEEKS - 1)
    return weeks


def _longest_gap(has_rows: Booleans) -> int:
    """The most weeks in a row without rows; the first week follows the last one."""
    places = np.flatnonzero(has_rows)
    return int(np.diff(places, append=places[0] + WEEKS).max()) - 1
