from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import spearmanr

from modelyard.domain.drift.profile import Profile
from modelyard.domain.drift.profiling.build import build_profile
from modelyard.domain.drift.second_look.chosen_rows import content_keys, read_chosen
from modelyard.domain.drift.second_look.findings import confirm_findings, look_again
from modelyard.domain.drift.second_look.habits import effect_of, measure_habits
from modelyard.domain.specs.contract import Column

COLUMNS = tuple(Column(name=name, type="number", nullable=True) for name in ("temp", "dew", "rain"))
WEEK, WEEKS = 7 * 100, 26


def weather(random, weeks, *, since="2024-01-01"):
    """100 rows a day, more by day than by night; days share an effect."""
    rows = weeks * WEEK
    day = np.arange(rows) // 100
    hour = random.choice(24, rows, p=np.repeat([1, 3, 2], 8) / 48)
    times = np.datetime64(since, "h") + day * 24 + hour
    shared = random.normal(size=day.max() + 1)[day]
    temp = 10 + 3 * shared + 2 * random.normal(size=rows)
    dew = temp - 5 + 2 * random.normal(size=rows)
    rain = np.where(random.random(rows) < 0.7, 0.0, random.exponential(size=rows))
    return {"temp": temp, "dew": dew, "rain": rain}, times.astype("datetime64[us]")


TRAINED, TIMES = weather(np.random.default_rng(0), WEEKS)
BLOCKS = np.arange(len(TIMES)) // WEEK
HABITS = build_profile(TRAINED, COLUMNS, BLOCKS, times=TIMES).habits


def look(table, times, *, usual_rows, habits=HABITS):
    keys = content_keys(table, times)
    chosen = read_chosen(lambda _: iter([{**table, "at": times}]), COLUMNS, "at", keys)
    return look_again(habits, chosen, usual_rows=usual_rows)


def found(table, times, usual_rows=WEEK):
    return {(each.kind, each.columns) for each in look(table, times, usual_rows=usual_rows)}


def changed(name, change, seed=1):
    random = np.random.default_rng(seed)
    table, times = weather(random, 1, since="2024-07-01")
    return {**table, name: change(table[name], random)}, times


@pytest.mark.parametrize(
    ("kind", "effect"),
    [("hour", 0.3), ("weekday", 0.3), ("distinct values", 0.6), ("rank correlation", 0.6)],
)
def test_shares_differ_by_the_part_of_the_rows_that_moved_and_all_else_by_the_gap(kind, effect):
    usual, now = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.6, 0.2])
    assert effect_of(kind, usual, now) == pytest.approx(effect)


def test_a_week_like_the_others_keeps_every_habit():
    assert found(*weather(np.random.default_rng(1), 1, since="2024-07-01")) == set()


def test_a_column_whose_rows_were_shuffled_keeps_its_shape_and_loses_its_relation():
    table, times = changed("temp", lambda values, random: random.permutation(values))
    assert found(table, times) == {("rank correlation", ("temp", "dew"))}


def test_a_clock_that_is_eight_hours_ahead_is_seen_by_its_hours():
    table, times = weather(np.random.default_rng(1), 1, since="2024-07-01")
    assert found(table, times + np.timedelta64(8, "h")) == {("hour", ())}


def test_rows_on_other_weekdays_are_seen():
    table, times = weather(np.random.default_rng(1), 1, since="2024-07-01")
    weekdays = times.astype("datetime64[D]").astype(int) % 7
    moved = np.where(weekdays == 0, times + np.timedelta64(1, "D"), times)
    assert found(table, moved) == {("weekday", ())}


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        (lambda values, _: np.where(np.arange(len(values)) < 200, 8.0, values), {
            "most frequent value", "distinct values"}),
        (lambda values, _: np.round(values), {"most frequent value", "distinct values"}),
        (lambda values, random: np.where(random.random(len(values)) < 0.1, 0.0, values), {
            "most frequent value"}),
    ],
    ids=["stuck for two days", "rounded", "a tenth of zeros"],
)  # fmt: skip
def test_repeated_values_are_seen(change, kinds):
    assert kinds <= {kind for kind, columns in found(*changed("temp", change)) if "temp" in columns}


def test_distinct_values_of_a_window_with_few_rows_are_not_compared():
    table, times = weather(np.random.default_rng(1), 1, since="2024-07-01")
    few = {name: values[:100].repeat(2) for name, values in table.items()}
    assert ("distinct values", ("temp",)) not in found(few, times[:100].repeat(2))


def test_the_correlation_is_spearmans():
    week = {name: values[:WEEK] for name, values in TRAINED.items()}
    measured = measure_habits(week, TIMES[:WEEK])
    rho = spearmanr(TRAINED["temp"][:WEEK], TRAINED["rain"][:WEEK]).statistic
    assert measured["rank correlation", ("temp", "rain")][0] == pytest.approx(rho)


def test_the_weekdays_begin_with_monday():
    days = np.array(["2024-07-01", "2024-07-01", "2024-07-06", "2024-07-07"], "datetime64[s]")
    shares = np.zeros(7)
    for day in days.astype(object):
        shares[day.weekday()] += 1 / len(days)
    assert measure_habits({}, days)["weekday", ()].tolist() == shares.tolist()


def test_nulls_and_constants_have_no_relation_and_no_error():
    table, times = weather(np.random.default_rng(1), 1, since="2024-07-01")
    table["rain"] = np.zeros(WEEK)
    table["dew"] = np.full(WEEK, np.nan)
    assert ("most frequent value", ("rain",)) in found(table, times)
    assert ("rank correlation", ("temp", "rain")) not in found(table, times)
    assert all("dew" not in columns for _, columns in found(table, times))


def test_of_training_with_few_blocks_no_habit_is_known():
    assert build_profile(TRAINED, COLUMNS, BLOCKS // 4, times=TIMES).habits == ()


def test_what_is_confirmed_is_in_the_latest_window_and_enough_others():
    (once,) = look(*changed("temp", lambda v, r: r.permutation(v)), usual_rows=WEEK)
    assert confirm_findings([(once,), (), (once,), (once,)], needed=3, of=4) == (once,)
    assert confirm_findings([(once,), (once,), (once,), ()], needed=3, of=4) == ()
    assert confirm_findings([(once,), (), (), (once,)], needed=3, of=4) == ()
    assert confirm_findings([], needed=3, of=4) == ()


def test_a_profile_keeps_its_habits_in_its_document_and_older_ones_have_none():
    profile = build_profile(TRAINED, COLUMNS, BLOCKS, times=TIMES)
    assert profile.habits == HABITS
    document = json.loads(json.dumps(profile.to_document()))
    assert Profile.from_document(document) == profile
    del document["habits"]
    assert Profile.from_document(document).habits == ()


def test_weeks_like_those_of_training_are_seldom_flagged_and_hardly_ever_confirmed():
    random, flagged, confirmed, weeks = np.random.default_rng(5), 0, 0, 0
    for _ in range(6):
        trained, times = weather(random, WEEKS)
        habits = build_profile(trained, COLUMNS, BLOCKS, times=times).habits
        table, times = weather(random, 12, since="2024-07-01")
        looks = []
        for week in range(12):
            rows = slice(week * WEEK, (week + 1) * WEEK)
            part = {name: values[rows] for name, values in table.items()}
            looks.append(look(part, times[rows], usual_rows=WEEK, habits=habits))
            flagged += bool(looks[-1])
            confirmed += bool(confirm_findings(looks, needed=3, of=4))
            weeks += 1
    # 1 % is promised of normal effects: at most 5 of 72.
    assert (flagged <= 5, confirmed) == (True, 0), (flagged, confirmed, weeks)
