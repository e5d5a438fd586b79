from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from modelyard.domain.drift.detection import check_window
from modelyard.domain.drift.profile import Profile
from modelyard.domain.drift.profiling.build import build_profile
from modelyard.domain.drift.watched.not_watched import find_not_watched
from modelyard.domain.specs.contract import Column
from modelyard.domain.specs.model import DriftPolicy
from modelyard.domain.specs.record import describe_not_watched

COLUMNS = (
    Column(name="x", type="number", nullable=True),
    Column(name="place", type="category", nullable=True),
    Column(name="sent", type="timestamp"),
)
WEEKS, ROWS = 52, 700
POLICY = DriftPolicy()
BLOCKS = np.repeat(np.arange(WEEKS), ROWS)


def hidden(x, place=None, *, weeks=WEEKS, policy=POLICY, columns=COLUMNS[:2]):
    keep = weeks * ROWS
    place = np.array(["a", "b"] * (WEEKS * ROWS // 2), dtype=object) if place is None else place
    table = {"x": x[:keep], "place": place[:keep]}
    profile = build_profile(table, COLUMNS[:2], BLOCKS[:keep])
    return find_not_watched(profile, columns, policy)


def normal():
    return np.random.default_rng(1).normal(size=WEEKS * ROWS)


def test_columns_that_stay_as_they_are_are_watched():
    assert hidden(normal()) == ()


def test_a_column_that_the_calendar_moves_as_far_as_can_be_is_not_watched_by_that_measure():
    season = np.repeat(3 * np.sin(2 * np.pi * np.arange(WEEKS) / WEEKS), ROWS)
    (found,) = hidden(0.3 * normal() + season)
    assert (found.column, found.measure) == ("x", "KS D")


def test_a_column_with_few_values_is_watched_for_its_nulls_alone():
    x, place = normal(), np.array(["a", None, None, None] * (WEEKS * ROWS // 4), dtype=object)
    x[np.arange(len(x)) % 2 == 0] = np.nan
    assert [(each.column, each.measure) for each in hidden(x, place)] == [
        ("x", "all but nulls"),
        ("place", "all but nulls"),
    ]


def test_times_are_not_watched_and_too_few_blocks_or_rows_leave_nothing_watched():
    assert [(e.column, e.measure) for e in hidden(normal(), columns=COLUMNS)] == [("sent", "all")]
    few_blocks = hidden(normal(), weeks=7)
    few_rows = hidden(normal(), policy=replace(POLICY, least_rows=701))
    assert [(e.column, e.measure) for e in few_blocks + few_rows] == [("*", "all"), ("*", "all")]
    assert few_blocks != few_rows


@pytest.mark.parametrize(
    "clock",
    [
        2020 + np.arange(WEEKS * ROWS) / (WEEKS * ROWS),  # the date as a number
        np.arange(WEEKS * ROWS) * -3.0,
        np.repeat(np.arange(WEEKS), ROWS) + 7.0,
        # A counter that starts again twice a year.
        np.arange(WEEKS * ROWS) % (WEEKS * ROWS // 2) + 0.0,
    ],
)
def test_a_number_that_grows_or_falls_as_time_does_is_watched_for_its_nulls_alone(clock):
    (found,) = hidden(clock)
    assert (found.column, found.measure) == ("x", "all but nulls")
    profile = build_profile({"x": clock}, COLUMNS[:1], BLOCKS)
    assert Profile.from_document(json.loads(json.dumps(profile.to_document()))) == profile
    later = {"x": np.full(ROWS, clock[-1] * 2)}
    assert [check for check in check_window(profile, later, least_rows=500) if check.drifted] == []
    empty = {"x": np.full(ROWS, np.nan)}
    (check,) = (c for c in check_window(profile, empty, least_rows=500) if c.drifted)
    assert check.reason == "null"


@pytest.mark.parametrize("noise", [1.0, 0.2])
def test_a_trend_within_which_weeks_overlap_and_a_step_are_no_clocks(noise):
    trend = noise * normal() + 0.05 * np.repeat(np.arange(WEEKS), ROWS)
    step = np.where(BLOCKS < WEEKS // 2, 1.0, 2.0)
    for values in (trend, step, np.full(WEEKS * ROWS, 2024.0)):
        (column,) = build_profile({"x": values}, COLUMNS[:1], BLOCKS).columns
        assert not column.is_clock


def test_measures_with_one_reason_are_told_in_one_sentence():
    x = normal()
    x[::2] = np.nan
    both = hidden(x)
    twice = (*both, replace(both[0], measure="KS D"), replace(both[0], column="*"))
    first, second = describe_not_watched(twice)
    assert first.startswith("x (all but nulls, KS D): a window has about 350 values")
    assert second.startswith("every column (all but nulls): ")


def of_days(values_of, *, days=WEEKS * 7, first="2025-01-06", block=7):
    """Whether a column is a clock that has a value for each of some days, with 20 rows each."""
    dates = np.datetime64(first) + np.arange(days)
    x = np.repeat(np.asarray(values_of(dates), dtype=float), 20)
    times, blocks = np.repeat(dates, 20).astype("datetime64[us]"), np.repeat(np.arange(days), 20)
    (column,) = build_profile({"x": x}, COLUMNS[:1], blocks // block, times=times).columns
    return column.is_clock


def year_of(dates):
    return dates.astype("datetime64[Y]").astype(int) + 1970


def month_of(dates):
    return dates.astype("datetime64[M]").astype(int) % 12 + 1


def months(dates):
    return dates.astype("datetime64[M]").astype(int)


@pytest.mark.parametrize(
    ("values_of", "days", "block"),
    [
        (year_of, 350, 7),  # one number in all of training
        (year_of, 900, 7),
        (lambda dates: year_of(dates) - 2025, 1200, 7),
        (month_of, 182, 7),
        (month_of, 730, 7),
        (lambda dates: (month_of(dates) - 1) // 3, 300, 7),
        (lambda dates: months(dates) - 600, 364, 7),
        (lambda dates: year_of(dates) * 100 + month_of(dates), 500, 7),
        (lambda dates: (dates - dates[0]).astype(int) // 7, 100, 1),  # the week, by days
        # A version's counter, in steps of its own.
        (lambda dates: 3 + (dates - dates[0]).astype(int) // 25, 364, 7),
    ],
)
def test_a_number_that_steps_as_the_calendar_does_is_a_clock(values_of, days, block):
    assert of_days(values_of, days=days, block=block)
    # A zone that begins its days elsewhere is the same calendar.
    assert of_days(lambda dates: values_of(dates + 1), days=days, block=block)


def rare(dates):
    return (np.random.default_rng(1).random(len(dates)) < 0.02) * 1.0


@pytest.mark.parametrize(
    ("values_of", "days", "block"),
    [
        (lambda dates: np.full(len(dates), 12.0), 364, 7),
        (lambda dates: np.full(len(dates), 1.0), 80, 7),  # which is the quarter, too
        (lambda dates: np.full(len(dates), 2024.0), 350, 7),  # another year than that of the rows
        (lambda dates: np.where(year_of(dates) > 2025, 1.0, 0.0), 600, 7),  # since New Year
        (lambda dates: np.where(months(dates) > 668, 7.0, 5.0), 364, 7),  # a tariff that rose once
        (lambda dates: (dates - dates[0]).astype(int) // 100, 600, 7),  # six times
        (rare, 1100, 7),
        (lambda dates: dates.astype(int) % 7, 364, 7),
        (lambda dates: dates.astype(int) % 7, 100, 1),
        (lambda dates: np.random.default_rng(2).normal(size=len(dates)).cumsum(), 700, 7),
        (lambda dates: np.random.default_rng(3).integers(0, 9, len(dates)), 364, 1),
        (lambda dates: np.repeat(np.random.default_rng(4).integers(1, 5, 52), 7), 364, 7),
    ],
)
def test_a_number_that_is_one_value_or_steps_seldom_or_back_is_no_clock(values_of, days, block):
    assert not of_days(values_of, days=days, block=block)


def test_a_year_that_is_one_number_asks_for_no_version_in_january_and_its_nulls_are_watched():
    dates = np.repeat(np.datetime64("2025-01-06") + np.arange(350), 20)
    table = {"x": year_of(dates).astype(float)}
    blocks = np.arange(len(dates)) // 140
    profile = build_profile(table, COLUMNS[:1], blocks, times=dates.astype("datetime64[us]"))
    (found,) = find_not_watched(profile, COLUMNS[:1], replace(POLICY, least_rows=100))
    assert (found.column, found.measure) == ("x", "all but nulls")
    later = {"x": np.full(700, 2026.0)}
    assert [c.reason for c in check_window(profile, later, least_rows=100)] == ["null"]
