"""Injected faults are named as what they are, and real changes are not named."""

from __future__ import annotations

import numpy as np
import pytest

from modelyard.domain.drift.causes.find import _cause_outside, find_causes, name_causes
from modelyard.domain.drift.causes.units import find_unit
from modelyard.domain.drift.causes.values import find_sentinel
from modelyard.domain.drift.detection import check_in_season, check_window, count_window
from modelyard.domain.drift.profile import NumberProfile, in_season
from modelyard.domain.drift.profiling.build import build_profile
from modelyard.domain.specs.contract import Column, describe_breach, find_breaches
from modelyard.domain.specs.interval import Interval

COLUMNS = (
    Column(name="temp", type="number"),
    Column(name="wind", type="number"),
    Column(name="pressure", type="number"),
    Column(name="rain", type="number"),
    Column(name="share", type="number"),
    Column(name="trips", type="integer"),
    Column(name="station", type="category"),
)
STATIONS = np.array(["a", "b", "c", "d", "e", "f", "g", "h"], dtype=object)

SHARES = [0.3, 0.2, 0.15, 0.1, 0.1, 0.05, 0.05, 0.05]


def rows(seed, days, a_day=240):
    random = np.random.default_rng(seed)
    count = days * a_day

    def daily(deviation):
        return np.repeat(random.normal(0, deviation, days), a_day)

    return {
        "temp": np.round(random.normal(14, 6, count) + daily(1.5), 1),
        "wind": np.round(random.gamma(2.0, 1.6, count) * np.exp(daily(0.08)), 2),
        "pressure": np.round(random.normal(1013, 7, count) + daily(1.5), 1),
        "rain": np.where(random.random(count) < 0.85, 0.0, random.gamma(1, 2.0, count)).round(1),
        "share": random.beta(4, 3, count).round(4),
        "trips": random.poisson(40 * np.exp(daily(0.08))).astype(float),
        "station": STATIONS[random.choice(8, count, p=SHARES)],
    }


@pytest.fixture(scope="module")
def profile():
    return build_profile(rows(1, 364), COLUMNS, np.repeat(np.arange(364) // 7, 240))


def causes_of(profile, table, drifted):
    return find_causes(profile, count_window(profile, table), lambda _: iter([table]), drifted)


def causes(profile, table):
    checks = check_window(profile, table, least_rows=500)
    found = causes_of(profile, table, [check for check in checks if check.drifted])
    return {breach.column: breach.found for breach in found}


def some(table, name, value, share, seed=5):
    hit = np.random.default_rng(seed).random(len(table[name])) < share
    return {**table, name: np.where(hit, value, table[name])}


SCALES = [
    ("temp", 1.8, 32, "degC became degF"),
    ("temp", 1, 273.15, "degC became K"),
    ("temp", -1, 0, "sign"),
    ("wind", 3.6, 0, "m/s became km/h"),
    ("wind", 1.94384, 0, "m/s became knots"),
    ("wind", 2.23694, 0, "m/s became miles per hour"),
    ("wind", 1 / 3.6, 0, "km/h became m/s"),
    ("wind", 10, 0, "cm became mm"),
    ("wind", -1, 0, "sign"),
    ("pressure", 100, 0, "hPa became"),
    ("pressure", 0.1, 0, "mm became cm"),
    ("pressure", 1 / 1.33322, 0, "hPa became mmHg"),
    ("pressure", 1 / 33.8639, 0, "hPa became inHg"),
    ("share", 100, 0, "a share or hPa became percent"),
    ("share", -1, 0, "sign"),
    ("trips", 1000, 0, "(x 1000)"),
    ("wind", 0.01, 0, "percent or Pa became a share"),
    ("trips", 60, 0, "hours became minutes"),
    ("trips", 24, 0, "days became hours"),
    ("trips", 10, 0, "(x 10)"),
]


@pytest.mark.parametrize(("name", "factor", "offset", "said"), SCALES)
def test_another_unit_is_named(profile, name, factor, offset, said):
    table = rows(2, 7)
    found = causes(profile, {**table, name: table[name] * factor + offset})
    assert list(found) == [name]
    assert said in found[name]


@pytest.mark.parametrize(
    ("name", "value", "share"),
    [
        ("temp", -999.0, 0.05), ("temp", -999.0, 0.006), ("temp", 0.0, 0.3), ("temp", 9999.0, 0.01),
        ("wind", -1.0, 0.01), ("wind", 999.0, 0.02), ("wind", 0.0, 0.25), ("pressure", 0.0, 0.05),
        ("pressure", -1.0, 0.01), ("pressure", 9999.0, 0.1), ("share", -1.0, 0.02),
        ("share", 0.0, 0.3), ("trips", -1.0, 0.02), ("trips", 0.0, 0.3), ("trips", 65535.0, 0.01),
    ],
)  # fmt: skip
def test_a_sentinel_is_named(profile, name, value, share):
    found = causes(profile, some(rows(3, 7), name, value, share))
    assert list(found) == [name]
    assert f"are {value:g}: looks like a sentinel" in found[name]


@pytest.mark.parametrize(
    ("name", "value"), [("temp", 8.0), ("wind", 3.0), ("pressure", 1013.0), ("trips", 40.0)]
)
def test_a_stuck_column_is_named(profile, name, value):
    table = rows(4, 7)
    found = causes(profile, {**table, name: np.full(len(table[name]), value)})
    assert list(found) == [name]
    assert found[name].endswith("looks stuck")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("temp", "wind"),
        ("temp", "pressure"),
        ("wind", "share"),
        ("pressure", "wind"),
        ("temp", "share"),
    ],
)
def test_swapped_columns_are_named(profile, one, other):
    table = rows(5, 7)
    found = causes(profile, {**table, one: table[other], other: table[one]})
    assert set(found) == {one, other}
    assert f"swapped with {other}" in found[one]


@pytest.mark.parametrize("gone", [("a",), ("b",), ("c",), ("d",), ("b", "c"), ("a", "h")])
def test_missing_shards_are_named(profile, gone):
    table = rows(6, 7)
    kept = ~np.isin(table["station"], gone)
    found = causes(profile, {name: values[kept] for name, values in table.items()})
    assert set(found) == {"station"}
    assert "missing shards" in found["station"]


@pytest.mark.sample(2)
@pytest.mark.parametrize("seed", range(10, 16))
def test_what_is_new_but_real_is_not_named(profile, seed):
    table, random = rows(seed, 7), np.random.default_rng(seed)
    mixed = random.choice(8, len(table["temp"]), p=[0.05, 0.05, 0.05, 0.1, 0.1, 0.2, 0.2, 0.25])
    for change in (
        {},
        {"temp": table["temp"] + 6},
        {"temp": table["temp"] * 1.3},
        {"wind": table["wind"] * 1.4},
        {"wind": table["wind"] * 1.6},
        {"trips": np.round(table["trips"] * 1.65)},
        {"trips": np.round(table["trips"] * 2.1)},
        {"pressure": table["pressure"] - 12},
        {"share": table["share"] ** 2},
        {"station": STATIONS[mixed]},
        {"station": np.where(table["station"] == "a", "z", table["station"]).astype(object)},
    ):
        assert causes(profile, {**table, **change}) == {}


@pytest.mark.parametrize(
    ("now", "said"),
    [(14.0, []), (3.0, []), (12_000.0, ["looks as if k or m became 1 or mm (x 1000)"])],
)
def test_a_column_that_never_varied_is_called_neither_stuck_nor_of_any_unit(now, said):
    columns, blocks = (Column(name="height", type="number"),), np.repeat(np.arange(52), 100)
    constant = build_profile({"height": np.full(5200, 12.0)}, columns, blocks)
    table = {"height": np.full(700, now)}
    checks = check_window(constant, table, least_rows=500)
    assert "height" in {check.column for check in checks}
    assert [each.found for each in causes_of(constant, table, checks)] == said


LIMITED = (
    Column(name="temp", type="number", minimum=-40, maximum=55),
    Column(name="wind", type="number", minimum=0, maximum=40),
    Column(name="pressure", type="number", minimum=870, maximum=1090),
    Column(name="rain", type="number", minimum=0),
    Column(name="share", type="number", minimum=0, maximum=1),
    Column(name="trips", type="integer", minimum=0, maximum=200),
    Column(name="station", type="category", levels=tuple(STATIONS)),
)


def told(profile, table):
    """What is said of a window that breaks the contract, by column."""
    broken = find_breaches(LIMITED, table)
    assert broken
    counts = count_window(profile, table)
    drifted = [c for c in check_window(profile, table, least_rows=500) if c.drifted]
    read = lambda _: iter([table])  # noqa: E731
    found = name_causes(profile, counts, read, drifted, broken=broken, contract=LIMITED)
    return {breach.column: describe_breach(breach) for breach in found}


@pytest.mark.parametrize(
    ("name", "factor", "offset", "said"),
    [
        ("temp", 1, 273.15, "degC became K"),
        ("wind", -1, 0, "sign"),
        ("wind", 100, 0, "(x 100)"),
        ("pressure", 100, 0, "hPa became"),
        ("pressure", 1 / 33.8639, 0, "hPa became inHg"),
        ("share", 100, 0, "became percent"),
    ],
)
@pytest.mark.parametrize("share", [1.0, 1 / 7])
def test_a_unit_that_breaks_a_range_is_named_with_it_on_the_first_night_too(
    profile, name, factor, offset, said, share
):
    table = rows(2, 7)
    values = np.where(late(table, share), table[name] * factor + offset, table[name])
    found = told(profile, {**table, name: values})[name]
    assert "found values from " in found
    assert said in found


def test_a_unit_of_which_the_tail_alone_breaks_a_range_is_named_once_the_window_has_it(profile):
    table = rows(2, 7)
    assert "km/h" in told(profile, {**table, "wind": table["wind"] * 3.6})["wind"]
    some_days = np.where(late(table, 1 / 7), table["wind"] * 3.6, table["wind"])
    assert told(profile, {**table, "wind": some_days})["wind"].endswith(" rows)")


def late(table, share):
    """The last rows, as a share of all."""
    count = len(table["temp"])
    return np.arange(count) >= (1 - share) * count


@pytest.mark.parametrize("share", [0.0025, 0.02, 0.3])
@pytest.mark.parametrize(("name", "value"), [("temp", -999.0), ("wind", -1.0), ("pressure", 0.0)])
def test_a_sentinel_that_breaks_a_range_is_named_with_it(profile, name, value, share):
    said = told(profile, some(rows(3, 7), name, value, share))
    assert f"are {value:g}: looks like a sentinel" in said[name]


def test_a_breach_names_a_swap_and_what_is_wrong_with_columns_that_keep_their_limits(profile):
    table = rows(5, 7)
    said = told(profile, {**table, "temp": table["pressure"], "pressure": table["temp"]})
    assert "swapped with temp" in said["pressure"]
    faults = {"temp": table["temp"] + 273.15, "wind": table["wind"] / 10}
    said = told(profile, {**table, **faults})
    assert said["temp"].endswith("; looks as if degC became K")
    assert said["wind"] == (
        "column wind (cause): expected values as in training, found looks as if mm became cm (/ 10)"
    )


def test_a_sentinel_is_named_only_where_it_is_frequent_enough_and_most_of_what_is_beyond(profile):
    temp = next(column for column in profile.columns if column.name == "temp")
    usual = rows(3, 7)["temp"][:1000]
    for sentinels, strays, named in [(2, 0, False), (3, 0, True), (9, 9, False), (9, 8, True)]:
        values = usual.copy()
        values[:sentinels], values[500 : 500 + strays] = -999.0, 2000.0 + np.arange(strays)
        assert bool(find_sentinel(temp, values, stuck=0.0)) is named


def test_any_value_far_from_all_others_is_a_sentinel_if_some_rows_have_it(profile):
    found = causes(profile, some(rows(3, 7), "pressure", -9900.0, 0.05))
    assert "-9900: looks like a sentinel" in found["pressure"]
    said = told(profile, some(rows(3, 7), "temp", 777.7, 0.02))["temp"]
    assert "777.7: looks like a sentinel" in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (str.upper, "'A' stands for 'a'"),
        (lambda level: f" {level}\u00a0", "' a\\xa0' stands for 'a'"),
        (lambda level: chr(ord(level) + 0xFEE0), "'\uff41' stands for 'a'"),  # wide letters
    ],
)
@pytest.mark.parametrize("share", [1.0, 1 / 7])
def test_levels_that_are_written_in_another_way_are_named(profile, change, said, share):
    table = rows(6, 7)
    changed = [change(level) for level in table["station"]]
    stations = np.where(late(table, share), np.array(changed, dtype=object), table["station"])
    table = {**table, "station": stations}
    assert said in causes(profile, table)["station"]
    assert said in told(profile, table)["station"]


def test_codes_that_became_floats_are_named_and_new_levels_are_not():
    columns, blocks = (Column(name="code", type="category"),), np.repeat(np.arange(52), 100)
    codes = np.array([f"{n:02}" for n in range(1, 8)], dtype=object)
    random = np.random.default_rng(1)
    profile = build_profile({"code": codes[random.integers(0, 7, 5200)]}, columns, blocks)
    now = random.integers(0, 7, 700)
    floats = np.array([f"{n}.0" for n in range(1, 8)], dtype=object)[now]
    assert "stands for '0" in causes(profile, {"code": floats})["code"]
    new = np.array([f"{n:02}" for n in range(11, 18)], dtype=object)[now]
    assert causes(profile, {"code": new}) == {}


@pytest.mark.parametrize("typed", [0, 1, 9])
def test_some_rows_in_capitals_are_no_cause_of_a_change_of_other_levels(typed):
    columns, blocks = (Column(name="kind", type="category"),), np.repeat(np.arange(52), 100)
    random, kinds = np.random.default_rng(1), np.array(["a", "b", "c"], dtype=object)
    profile = build_profile({"kind": kinds[random.integers(0, 3, 5200)]}, columns, blocks)
    now = kinds[random.choice(3, 700, p=[0.1, 0.2, 0.7])]
    now[:typed] = "A"
    assert causes(profile, {"kind": now}) == {}


def test_a_sign_is_named_where_training_had_no_such_values_however_much_weeks_differ():
    columns, blocks = (Column(name="wind", type="number"),), np.repeat(np.arange(52), 100)
    random = np.random.default_rng(1)
    levels = np.exp(random.normal(0, 0.8, 52)).repeat(100)
    profile = build_profile({"wind": levels * random.gamma(2, 1, 5200)}, columns, blocks)
    week = random.gamma(2, 0.4, 700)
    checks = check_window(profile, {"wind": -week}, least_rows=500)
    assert causes_of(profile, {"wind": -week}, checks)[0].found == "looks as if the sign was turned"
    assert causes_of(profile, {"wind": week}, checks) == ()


def test_columns_whose_weeks_differ_much_are_swapped_where_they_do_not_overlap():
    columns = (Column(name="temp", type="number"), Column(name="pressure", type="number"))
    random, blocks = np.random.default_rng(1), np.repeat(np.arange(52), 100)

    def week(count):
        rows = np.repeat(random.normal(0, 8, count), 100)
        return {
            "temp": 15 + rows + random.normal(0, 3, len(rows)),
            "pressure": 1013 - rows + random.normal(0, 3, len(rows)),
        }

    profile, now = build_profile(week(52), columns, blocks), week(7)
    found = causes(profile, {"temp": now["pressure"], "pressure": now["temp"]})
    assert "swapped with pressure" in found["temp"]
    assert causes(profile, {**now, "temp": now["temp"] + 1000}).get("temp") is None


@pytest.mark.parametrize("top", [20, 30])
def test_the_tail_of_one_unit_is_not_taken_for_another(top):
    columns = (Column(name="wind", type="number", minimum=0, maximum=top),)
    random, blocks = np.random.default_rng(1), np.repeat(np.arange(52), 200)
    levels = np.exp(random.normal(0, 0.3, 52)).repeat(200)
    profile = build_profile({"wind": levels * random.gamma(2, 2, 10400)}, columns, blocks)
    wind = next(column for column in profile.columns if isinstance(column, NumberProfile))
    for seed in range(6):
        week = np.random.default_rng(seed).gamma(2, 2, 700) * 3.6
        outside = week[week > top]
        assert _cause_outside(wind, week, (0, top)) is None, find_unit(wind, outside, near=0.3)
        usual = np.append(week / 3.6, week + 5000)
        assert _cause_outside(wind, usual, (0, top)) is None
        late_only = np.append(week / 3.6, week / 3.6 * 1000)
        assert "x 1000" in (_cause_outside(wind, late_only, (0, top)) or "")


def test_values_beyond_a_range_that_look_like_no_fault_have_no_cause(profile):
    table = rows(5, 7)
    hot = np.where(late(table, 0.1), 56 + table["wind"], table["temp"])
    said = told(profile, {**table, "temp": hot})
    assert said["temp"].endswith(" rows)")
    text = table["trips"].astype(object)
    text[:5] = "many"
    assert told(profile, {**table, "trips": text})["trips"].startswith("column trips (type)")


def test_numbers_that_hardly_fit_a_float_are_told_without_a_warning(profile):
    table = rows(5, 7)
    huge = np.where(np.arange(len(table["temp"])) % 2, 1e308, -1e308)
    assert "found values from -1e+308 to 1e+308" in told(profile, {**table, "temp": huge})["temp"]


DAYS = np.arange(np.datetime64("2021-01-01"), np.datetime64("2023-01-01"))
BLOCKS = (np.arange(364) // 7).repeat(24)


def weather(warmer=0.0, seed=1):
    """Two years of days: one temperature for all hours of a day, which depends on the day before.

    As the rows of real weather and bicycles are: a week has seven different values.
    """
    random = np.random.default_rng(seed)
    level = np.zeros(len(DAYS))
    for day in range(1, len(DAYS)):
        level[day] = 0.7 * level[day - 1] + random.normal(0, 3)
    season = 13 - 12 * np.cos(2 * np.pi * (np.arange(len(DAYS)) - 20) / 365.25)
    return {
        "temp": np.round(season + level + warmer, 1).repeat(24),
        "times": DAYS.repeat(24) + np.tile(np.arange(24), len(DAYS)) * np.timedelta64(1, "h"),
    }


@pytest.fixture(scope="module")
def year():
    table = weather()
    of = slice(0, 364 * 24)
    return build_profile(
        {"temp": table["temp"][of]},
        (Column(name="temp", type="number"),),
        BLOCKS,
        times=table["times"][of],
    )


def named_in(year, temp, first):
    """What is said of the week from a day of the second year on, and whether it drifted."""
    days = Interval(since=DAYS[first].item(), until=DAYS[first + 7].item())
    table = {"temp": temp[first * 24 : (first + 7) * 24]}
    counts = count_window(year, table)
    drifted = [c for c in check_in_season(year, counts, days, least_rows=100) if c.drifted]
    found = causes_of(in_season(year, days), table, drifted)
    return (found[0].found if found else None) if drifted else "as in training"


WEEKS = range(366, 720, 7)


@pytest.mark.parametrize("warmer", [-4, -2, 0, 2, 4])
def test_a_cold_or_warm_week_of_a_season_is_no_fault(year, warmer):
    temp = weather(warmer)["temp"]
    assert {named_in(year, temp, week) for week in WEEKS} <= {None, "as in training"}


@pytest.mark.parametrize(
    ("factor", "offset", "said"),
    [(1000, 0, "x 1000"), (1, 273.15, "degC became K"), (1.8, 32, "degC became degF")],
)
def test_another_unit_of_a_season_is_named_though_no_two_weeks_of_it_are_alike(
    year, factor, offset, said
):
    temp = weather()["temp"] * factor + offset
    found = [named_in(year, temp, week) for week in WEEKS]
    assert sum(said in (each or "") for each in found) >= 0.7 * len(found)
    assert sum("looks as if" in (each or "") for each in found) >= 0.75 * len(found)


def test_a_column_of_zeros_is_not_stuck_because_its_other_values_have_another_unit():
    columns, blocks = (Column(name="rain", type="number"),), np.repeat(np.arange(52), 500)

    def rain(seed, rows):
        random = np.random.default_rng(seed)
        return np.where(random.random(rows) < 0.93, 0.0, random.gamma(1, 2.0, rows)).round(2)

    wet = build_profile({"rain": rain(1, 26_000)}, columns, blocks)
    found = causes(wet, {"rain": rain(2, 2_000) * 1000})
    assert "stuck" not in found.get("rain", "")
    assert causes(wet, {"rain": np.full(2_000, 3.0)})["rain"] == (
        "100% of the values are 3: looks stuck"
    )


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        (0.2, 0.05, None),
        (0.2, 0.02, None),
        (0.7, 0.96, None),
        (0.05, 0.0, None),
        (0.2, 0.0, "100% of the values are 0: looks stuck"),
        (0.7, 1.0, "100% of the values are 1: looks stuck"),
    ],
)
def test_a_number_of_two_values_is_stuck_only_where_all_rows_have_one(before, now, said):
    columns, blocks = (Column(name="flag", type="integer"),), np.repeat(np.arange(52), 500)
    random = np.random.default_rng(1)
    profile = build_profile({"flag": (random.random(26_000) < before) * 1.0}, columns, blocks)
    assert causes(profile, {"flag": (random.random(2_000) < now) * 1.0}).get("flag") == said


def test_a_month_that_is_one_number_in_most_windows_is_not_stuck():
    days = DAYS[:364].repeat(20)
    months = (days.astype("datetime64[M]").astype(int) % 12 + 1).astype(float)
    shuffled = np.where(months == 12, 0.0, months)  # so that it does not grow as a clock does
    columns, blocks = (Column(name="month", type="integer"),), (np.arange(364) // 28).repeat(20)
    profile = build_profile({"month": shuffled}, columns, blocks, times=days)
    table = {"month": np.full(560, 7.0)}
    checks = check_window(profile, table, least_rows=500)
    assert causes_of(profile, table, checks) == ()


def test_a_category_that_has_one_level_is_stuck_or_has_lost_the_shards_of_all_others(profile):
    table = rows(6, 7, a_day=300)
    of = table["station"] == "a"
    stuck = causes(profile, {**table, "station": np.full(len(of), "a", dtype=object)})
    assert stuck == {"station": "all values are 'a': looks stuck"}
    lost = causes(profile, {name: values[of] for name, values in table.items()})
    assert "missing shards" in lost["station"]


def test_a_jump_where_no_two_weeks_are_alike_is_taken_for_a_unit_in_most_cases():
    """The price of decision 201: units cover so much of what a level may become."""
    jumps = named = 0
    for seed in range(12):
        random = np.random.default_rng(seed)
        weeks = np.repeat(np.arange(40), 600)
        usual = (100 + random.normal(0, 2, 40))[weeks] + random.normal(0, 2, len(weeks))
        profile = build_profile({"temp": usual}, COLUMNS[:1], weeks)
        for factor in np.exp(random.uniform(-2, 2, 4)):
            level = factor * (100 + random.normal(0, 2))
            found = causes(profile, {"temp": level + random.normal(0, 2, 600)})
            if abs(np.log(factor)) > 0.3:
                jumps, named = jumps + 1, named + bool(found)
    assert (jumps, named) == (40, 23)
