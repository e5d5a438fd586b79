"""Too few or too many rows are a fault only if neither training nor the feed itself explains it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta

import numpy as np
import pytest

from modelyard.domain.drift.feed_faults import (
    LEVEL,
    Delivery,
    WindowRows,
    count_windows,
    describe_new_level,
    find_volume_faults,
)
from modelyard.domain.drift.profile import Profile
from modelyard.domain.drift.profiling.build import build_profile
from modelyard.domain.specs.contract import Column
from modelyard.domain.specs.interval import Interval

MONDAY = date(2026, 6, 1)
PROFILE = Profile(rows=1, blocks=10, columns=(), block_rows=(700,) * 10)


def found(weeks: Iterable[Iterable[int]], profile: Profile = PROFILE) -> tuple[list[str], bool]:
    """The faults of the last 4 of some weeks with these rows a day, and whether a level is said."""
    known = counted(weeks)
    volumes = find_volume_faults(profile, known[-4:], known[:-4])
    faults = [each.found.partition(";")[0] for each in volumes]
    return faults, describe_new_level(profile, known) is not None


def counted(weeks: Iterable[Iterable[int]]) -> tuple[WindowRows, ...]:
    counts = [[*week] for week in weeks]
    starts = [MONDAY + timedelta(weeks=n) for n in range(len(counts))]
    spans = [Interval(since=day, until=day + timedelta(weeks=1)) for day in starts]
    rows = {
        start + timedelta(days=number): rows
        for start, week in zip(starts, counts, strict=True)
        for number, rows in enumerate(week)
        if rows
    }
    feed = Delivery(
        timestamp="day", rows=rows, ends=(), today=max(rows), late_days=None, window_days=7
    )
    return count_windows(feed, spans[-LEVEL:])


def daily(rows: float) -> list[int]:
    return [round(rows)] * 7


@pytest.mark.parametrize(
    ("weeks", "faults", "level"),
    [
        ([daily(100)] * 9, 0, False),
        ([daily(100)] * 8 + [daily(50)], 1, False),
        ([daily(100)] * 5 + [daily(50)] * 4, 1, False),
        ([daily(100)] * 4 + [daily(50)] * 5, 0, True),
        ([daily(100)] * 8 + [daily(200)], 1, False),
        ([daily(100)] * 4 + [daily(145)] * 5, 0, True),
        ([daily(100)] * 4 + [daily(145)] * 4 + [daily(100)], 1, False),  # four weeks are no level
        ([daily(145)] * 8 + [daily(60)], 1, True),
        ([daily(100 * 1.03 ** (12 + n / 4)) for n in range(12)], 0, True),
        ([daily(50)] * 5, 1, False),  # too short to have a level of its own
    ],
)
def test_a_new_level_is_told_and_is_no_fault_and_a_fall_from_it_is_one(weeks, faults, level):
    count, is_level = found(weeks)
    assert (len(count), is_level) == (faults, level)


@pytest.mark.parametrize(
    ("last", "faults"),
    [
        ([140, 140, 140, 0, 0, 0, 0], []),  # Christmas
        ([140, 0, 0, 140, 140, 0, 0], []),
        ([140, 140, 140, 140, 140, 1, 0], []),  # one row on a Saturday
        ([70, 70, 70, 0, 0, 0, 0], ["210 rows from 2026-07-27 to 2026-08-03"]),
        ([70, 70, 70, 70, 70, 0, 0], ["350 rows from 2026-07-27 to 2026-08-03"]),
    ],
)
def test_a_week_with_fewer_business_days_is_compared_by_the_days_it_has(last, faults):
    usual = [140] * 5 + [0, 0]
    assert found([usual] * 8 + [last]) == (faults, False)
    stray = [*usual[:5], 1, 0]
    assert found([usual] * 4 + [stray] + [usual] * 3 + [last]) == (faults, False)


def test_the_limits_that_are_named_are_those_of_the_days_with_rows():
    usual = [140] * 5 + [0, 0]
    [fault] = find_volume_faults(PROFILE, counted([usual] * 8 + [[70, 70, 70, 0, 0, 0, 0]]))
    assert fault.expected == "295 to 597 rows in a window"


def trained(week: list[int], days: int, *, hour: int = 0, skip: range = range(0)) -> Profile:
    """The profile of some days of training from a Monday on, with these rows each weekday."""
    counts = [0 if day in skip else week[day % 7] for day in range(days)]
    first = np.datetime64(f"2025-06-02T{hour:02}", "h")
    starts = first + np.arange(days) * np.timedelta64(24, "h")
    times = np.repeat(starts, counts)
    blocks = (times - times.min()).astype("timedelta64[D]").astype(np.int64) // 7
    x = np.random.default_rng(1).normal(size=len(times))
    return build_profile({"x": x}, [Column(name="x", type="number")], blocks, times=times)


BUSINESS = [140] * 5 + [0, 0]


@pytest.mark.parametrize(
    ("profile", "week", "rows"),
    [
        (trained(daily(100), 10 * 7 + 4), daily(100), 700),
        (trained(daily(100), 10 * 7 + 6, hour=12), daily(100), 700),
        (trained(daily(100), 10 * 7 + 3), daily(100), 700),  # less than half a week is no block
        (trained(BUSINESS, 10 * 7 + 3), BUSINESS, 700),
        (trained(BUSINESS, 10 * 7, skip=range(30, 33)), BUSINESS, 700),
        (trained(daily(100), 10 * 7, skip=range(30, 33)), daily(100), 700),
    ],
)
def test_a_week_that_training_cuts_off_hides_no_loss_of_half_the_rows(profile, week, rows):
    assert set(profile.block_rows) == {rows}
    assert found([week] * 9, profile) == ([], False)
    half = [rows // 2 for rows in week]
    assert len(found([week] * 8 + [half], profile)[0]) == 1


def test_rows_without_times_make_blocks_of_the_rows_they_have():
    blocks, column = np.repeat([0, 1, 2], [70, 70, 40]), Column(name="x", type="number")
    table = {"x": np.arange(180.0)}
    assert build_profile(table, [column], blocks).block_rows == (70, 70, 40)
    unknown = np.full(180, np.datetime64("NaT"), dtype="datetime64[us]")
    assert build_profile(table, [column], blocks, times=unknown).block_rows == (70, 70, 40)
