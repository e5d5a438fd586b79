from __future__ import annotations

import json
from datetime import date, timedelta

import numpy as np
import pytest

from modelyard.domain.drift.detection import (
    check_counts,
    check_in_season,
    check_window,
    confirm_drift,
    count_window,
)
from modelyard.domain.drift.profile import (
    Profile,
    hardly_watched,
    in_season,
    seasonal_columns,
)
from modelyard.domain.drift.profiling.build import build_profile
from modelyard.domain.drift.season.weeks import SLIP_DAYS, WEEKS, find_year, weeks_near
from modelyard.domain.specs.contract import Column
from modelyard.domain.specs.interval import Interval

YEAR, ROWS = 364, 40
DAY_ONE = np.datetime64("2023-03-01")
COLUMNS = (
    Column(name="x", type="number", nullable=True),
    Column(name="place", type="category", nullable=True),
)


def season(days):
    return 2 * np.sin(2 * np.pi * days / 365.25)


def feed(days, *, seed, shift=season):
    """Rows of some days; days share an effect, and people are at the beach in one half-year."""
    random = np.random.default_rng(seed)
    each = np.repeat(days, ROWS)
    level = np.repeat(random.normal(0, 0.2, len(days)), ROWS)
    x = shift(each) + level + random.normal(0, 1, len(each))
    beach = random.random(len(each)) < 0.5 + 0.2 * shift(each)
    return {"x": x, "place": np.where(beach, "beach", "town").astype(object)}


def profile_of(table, days, columns=COLUMNS):
    each = np.repeat(days, ROWS)
    return build_profile(table, columns, each // 7, times=DAY_ONE + each)


def days_of(since, until):
    first, last = ((DAY_ONE + number).item() for number in (since, until))
    return Interval(since=first, until=last)


def drifted(profile, table, since, until):
    found = check_in_season(
        profile, count_window(profile, table), days_of(since, until), least_rows=100
    )
    return {(check.column, check.reason) for check in found if check.drifted}


TRAINED = np.arange(YEAR)
SEASONAL = profile_of(feed(TRAINED, seed=0), TRAINED)


def test_the_weeks_of_the_next_year_are_compared_with_their_own_season():
    assert seasonal_columns(SEASONAL) == ("x", "place")
    for week in range(54, 104, 3):
        days = np.arange(7 * week, 7 * week + 7)
        assert drifted(SEASONAL, feed(days, seed=week), days[0], days[-1] + 1) == set()


@pytest.mark.parametrize("week", [54, 66, 79, 92])
def test_a_step_of_one_sd_in_a_seasonal_column_is_found_in_every_season(week):
    days = np.arange(7 * week, 7 * week + 7)
    table = feed(days, seed=week)
    table["x"] = table["x"] + 1
    assert ("x", "shape") in drifted(SEASONAL, table, days[0], days[-1] + 1)


def test_winter_in_summer_is_found_and_would_not_be_without_a_season():
    winter = feed(np.arange(634, 641), seed=5)  # the least of the wave
    assert drifted(SEASONAL, winter, 634, 641) == set()
    found = {("x", "shape"), ("place", "shape")}
    assert drifted(SEASONAL, winter, 452, 459) == found
    whole_year = check_window(SEASONAL, winter, least_rows=100)
    assert not any(check.drifted for check in whole_year)


@pytest.mark.parametrize("early", [-SLIP_DAYS, 0, SLIP_DAYS])
def test_a_season_may_be_early_or_late_and_the_least_effect_counts(early):
    days = np.arange(520, 527)  # where the wave is steep
    table, window = feed(days + early, seed=3), days_of(520, 527)
    effects = {
        later: {
            (check.column, check.reason): check.effect / check.floor
            for check in check_counts(
                in_season(SEASONAL, window, later=later),
                count_window(SEASONAL, table),
                least_rows=100,
            )
        }
        for later in (-SLIP_DAYS, 0, SLIP_DAYS)
    }
    least = {key: min(each[key] for each in effects.values()) for key in effects[0]}

    found = check_in_season(SEASONAL, count_window(SEASONAL, table), window, least_rows=100)

    assert {(each.column, each.reason): each.effect / each.floor for each in found} == least
    if early:
        assert least != effects[0]


def test_a_column_that_its_season_watches_is_not_called_hardly_watched():
    days = np.arange(YEAR + 42)
    strong = lambda each: 20 * season(each)  # noqa: E731
    table = {"x": feed(days, seed=1, shift=strong)["x"]}
    each = np.repeat(days, ROWS)
    assert hardly_watched(build_profile(table, COLUMNS[:1], each // 7)) == (("x", "KS D"),)
    assert hardly_watched(profile_of(table, days, COLUMNS[:1])) == ()


@pytest.mark.parametrize(
    "shift",
    [
        lambda each: 0 * each,
        lambda each: 3.0 * (each > 180),
        lambda each: 3.0 * (each > 330),
        lambda each: 3 * each / YEAR,
    ],
    ids=["nothing", "a step", "a new regime at the end", "a trend"],
)
def test_what_is_no_wave_of_a_year_is_no_season(shift):
    table = {"x": feed(TRAINED, seed=2, shift=shift)["x"]}
    assert seasonal_columns(profile_of(table, TRAINED, COLUMNS[:1])) == ()


@pytest.mark.parametrize(("step", "known"), [(0.0, ("x",)), (2.5, ())])
def test_a_column_whose_last_block_is_not_as_its_season_a_year_before_has_a_new_regime(step, known):
    days = np.arange(YEAR + 70)
    shift = lambda each: season(each) + step * (each >= YEAR + 63)  # noqa: E731
    table = {"x": feed(days, seed=2, shift=shift)["x"]}
    assert seasonal_columns(profile_of(table, days, COLUMNS[:1])) == known


@pytest.mark.parametrize(
    "days", [np.arange(363), np.r_[0:150, 180:364]], ids=["a day less", "a month without rows"]
)
def test_less_than_a_year_knows_no_season(days):
    assert seasonal_columns(profile_of(feed(days, seed=0), days)) == ()


def test_a_fortnight_without_rows_is_bridged_by_the_weeks_beside_it():
    days = np.r_[0:150, 164:364]
    profile = profile_of(feed(days, seed=0), days)
    assert seasonal_columns(profile) == ("x", "place")
    week = np.arange(520, 527)
    assert drifted(profile, feed(week, seed=3), 520, 527) == set()


def test_a_season_of_hardly_a_value_is_compared_with_all_rows():
    table = feed(TRAINED, seed=0)
    table["x"][80 * ROWS : 160 * ROWS] = np.nan
    profile = profile_of(table, TRAINED)
    inside, outside = (in_season(profile, days_of(d, d + 7)).columns[0] for d in (480, 600))
    assert inside.known == profile.columns[0].known
    assert outside.known < profile.columns[0].known / 4


def test_a_weeks_outage_in_training_is_no_drift_a_year_later_and_hides_none():
    table = feed(TRAINED, seed=0)
    table["x"][100 * ROWS : 107 * ROWS] = np.nan
    profile = profile_of(table, TRAINED)
    days = np.arange(470, 477)
    healthy = feed(days, seed=4)
    assert drifted(profile, healthy, 470, 477) == set()
    empty = {**healthy, "x": np.full(len(healthy["x"]), np.nan)}
    assert drifted(profile, empty, 470, 477) == {("x", "null")}


def test_a_profile_with_a_season_reads_back_and_one_without_has_no_word_of_it():
    text = json.dumps(SEASONAL.to_document(), allow_nan=False)
    assert Profile.from_document(json.loads(text)) == SEASONAL
    table = feed(TRAINED[:70], seed=0)
    short = profile_of(table, TRAINED[:70]).to_document()
    assert not any("season" in column for column in short["columns"])


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a"), ("true", "false"), ("É", "z")])
def test_a_stored_profile_whose_levels_have_another_order_has_the_same_seasons(names):
    table = feed(TRAINED, seed=0)
    often = (table["place"] == "town") | (np.arange(len(table["x"])) % 3 == 0)
    table["place"] = np.where(often, *names).astype(object)
    profile = profile_of(table, TRAINED)
    assert "place" in seasonal_columns(profile)
    # Training stores it so.
    stored = Profile.from_document(json.loads(json.dumps(profile.to_document(), sort_keys=True)))
    for first in (0, 100, 200, 300):
        days = days_of(first, first + 7)
        assert in_season(stored, days) == in_season(profile, days)


@pytest.mark.parametrize(
    "first", [date(1, 1, 1), date(2024, 2, 27), date(2023, 12, 29), date(9999, 12, 20)]
)
def test_every_week_of_the_calendar_has_a_season_around_it(first):
    near = weeks_near(Interval(since=first, until=first + timedelta(days=7)))
    assert 7 <= near.sum() <= 9
    runs = np.count_nonzero(np.diff(near.astype(int), append=int(near[0])) == 1)
    assert runs == 1  # December and January are neighbours
    assert weeks_near(Interval(since=date(2020, 1, 1), until=date(2024, 1, 1))).all()


def test_rows_without_a_time_belong_to_no_week():
    days = (DAY_ONE + np.arange(2 * YEAR)).astype(np.int64)
    blocks = np.arange(2 * YEAR) // 7
    assert find_year(days[10:YEAR], blocks[10:YEAR]) is None  # no year is known
    year = find_year(days[10:], blocks[10:])
    assert year is not None
    assert year.near.shape == (2 * WEEKS, WEEKS)
    assert not year.near[0].any()
    times = (DAY_ONE + np.arange(2 * YEAR)).astype("datetime64[us]")
    times[:10] = np.datetime64("NaT")
    placed = year.place(times, blocks)
    assert set(placed.weeks[:10]) == set(placed.blocks[:10]) == {-1}
    assert not placed.before_last[:10].any()
    assert find_year(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)) is None


def nights(seed, step):
    """The first day on which drift is confirmed after a step on day 100, and nights before it."""
    days = np.arange(3 * YEAR)
    random = np.random.default_rng(seed)
    level = np.zeros(len(days))
    for day in days[1:]:
        level[day] = 0.7 * level[day - 1] + random.normal(0, 0.25)
    moved = 1.5 * np.sin(2 * np.pi * days / 365.25) + level + step * (days >= YEAR + 100)
    x = np.repeat(moved, ROWS) + 0.93 * random.normal(size=len(days) * ROWS)
    profile = profile_of({"x": x[: YEAR * ROWS]}, TRAINED, COLUMNS[:1])
    found = {}
    for end in range(YEAR + 7, 3 * YEAR + 1):
        table = {"x": x[(end - 7) * ROWS : end * ROWS]}
        checks = check_in_season(
            profile, count_window(profile, table), days_of(end - 7, end), least_rows=100
        )
        found[end] = tuple(check for check in checks if check.drifted)
    confirmed = [
        end - YEAR - 100
        for end in range(YEAR + 28, 3 * YEAR + 1)
        if confirm_drift([found[end - 7 * age] for age in (3, 2, 1, 0)], needed=3, of=4)
    ]
    return [day for day in confirmed if day > 0 and step], [
        day for day in confirmed if day <= 0 or not step
    ]


@pytest.mark.long
def test_a_step_of_one_sd_on_a_season_is_confirmed_in_weeks_and_the_season_alone_hardly_ever():
    false = [len(nights(seed, 0)[1]) for seed in range(8)]
    assert sum(false) <= 3  # of 5,600 nights
    found = sorted(min(nights(seed, 1)[0], default=1000) for seed in range(8))
    assert found[6] <= 30  # days; a slope of the season hides some steps for longer
    assert found[7] <= 90


def test_the_season_of_a_day_reaches_three_weeks_to_both_sides():
    # The 64th day of the year: from the 43rd, with which the seventh week begins, to the 84th.
    day = Interval(since=date(2026, 3, 5), until=date(2026, 3, 6))
    assert np.flatnonzero(weeks_near(day)).tolist() == [6, 7, 8, 9, 10, 11, 12]
    before = Interval(since=date(2026, 3, 4), until=date(2026, 3, 5))
    assert np.flatnonzero(weeks_near(before)).tolist() == [5, 6, 7, 8, 9, 10, 11]


def test_the_season_of_a_block_reaches_three_weeks_to_either_side_of_it():
    days = np.arange(400) + 19_000
    year = find_year(days, np.arange(400) // 7)
    assert year is not None
    for block in (3, 30):
        since = date(1970, 1, 1) + timedelta(days=int(days[7 * block]))
        of_window = weeks_near(Interval(since=since, until=since + timedelta(days=7)))
        assert year.near[block].tolist() == of_window.tolist()
        assert year.near[block].sum() >= 7
