from __future__ import annotations

import time

import numpy as np
import pytest

from modelyard.domain.gate.conditions import parse_condition
from modelyard.domain.gate.slices import slice_names
from modelyard.domain.specs.contract import Column
from modelyard.domain.specs.model import Slice
from modelyard.errors import Refused

COLUMNS = (
    Column(name="distance", type="number"),
    Column(name="origin", type="category"),
    Column(name="night", type="boolean"),
    Column(name="day", type="timestamp"),
)
TYPES = {column.name: column.type for column in COLUMNS}
TABLE = {
    "distance": np.array([100.0, 900.0, np.nan, 1500.0]),
    "origin": np.array(["JFK", "EWR", None, "LGA"], dtype=object),
    "night": np.array([True, False, None, True], dtype=object),
    "day": np.array(["2024-01-01", "2024-01-02", "2024-01-03", "NaT"], dtype="datetime64[s]"),
}


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("distance > 800", [1, 3]),
        ("800 < distance", [1, 3]),
        ("100 < distance <= 900", [1]),
        ("not distance > 800", [0, 2]),
        ("distance != 100", [1, 3]),
        ("distance is null", [2]),
        ("origin in ['JFK', 'LGA'] and distance >= -1", [0, 3]),
        ("origin not in ['JFK']", [1, 3]),
        ("origin != 'JFK' or origin is null", [1, 2, 3]),
        ("night", [0, 3]),
        ("night == false", [1]),
        ("day >= '2024-01-02'", [1, 2]),
    ],
)
def test_a_condition_chooses_rows_and_never_those_without_a_value(text, rows):
    (names,) = slice_names((Slice(margin=0, where=text),), COLUMNS, TABLE).values()
    assert np.flatnonzero(names == text).tolist() == rows


@pytest.fixture
def _clock_of_new_york(monkeypatch):
    """Sets the clock of the machine five hours behind UTC, until the end of the test."""
    monkeypatch.setenv("TZ", "EST5")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("_clock_of_new_york")
def test_a_time_of_a_condition_is_in_utc_whatever_the_clock_of_the_machine():
    where = (Slice(margin=0, where="day >= '2024-01-02T00:00Z'"),)
    (names,) = slice_names(where, COLUMNS, TABLE).values()
    assert np.flatnonzero(names != "").tolist() == [1, 2]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("distance", "distance is no comparison"),
        ("__import__('os').system('x')", "__import__('os').system('x') is no comparison"),
        ("distance > origin", "distance is a number, not origin"),
        ("distance > 10 ** 9", "distance is a number, not 10 ** 9"),
        ("distance > 1e999", "distance is a number, not 1e999"),
        ("distance > " + "9" * 400, "distance is a number, not 999"),
        ("origin > 'A'", "origin is a category, which has no order"),
        ("origin == 1", "origin is a category, not 1"),
        ("origin in 'JFK'", "`origin in` needs a list, such as [1, 2]"),
        ("day > 'noon'", "'noon' is no time"),
        ("carrier == 'AA'", "carrier is no column of the contract"),
        ("origin is 'JFK'", "`is` asks for null alone"),
        ("distance >", "invalid syntax; `==` asks for a value, and `and`, `or` and `not` join"),
        ("origin = 'JFK'", """invalid syntax from "= 'JFK'" on; `==` asks for a value"""),
        ("distance > 1 AND night", "invalid syntax from 'AND night' on"),
        ("distance > 1 && night", "invalid syntax from '& night' on"),
        ("origin == JFK", "a level of origin is in quotes: 'JFK'"),
        ("origin == null", "a missing value is asked for by `origin is null`"),
        ("distance in [1, None]", "a missing value is asked for by `distance is null`"),
        ("origin in [JFK]", "a level of origin is in quotes: 'JFK'"),
        ("(" * 300 + "distance > 1" + ")" * 90, "too many nested parentheses"),
        ("distance > 1 or " * 40 + "night", "a condition has at most 500 characters"),
    ],
)
def test_what_is_no_condition_is_refused_with_the_reason(text, why):
    with pytest.raises(Refused) as refused:
        parse_condition(text, TYPES)
    assert why in refused.value.message


def test_a_condition_names_its_columns_once():
    assert parse_condition("distance > 1 and (night or distance < 9)", TYPES).columns == (
        "distance",
        "night",
    )


def test_levels_that_are_rare_are_one_slice_and_numbers_have_quarters():
    origins = ["JFK"] * 60 + ["EWR"] * 37 + ["LGA", "BOS"] + [None]
    table = {
        "origin": np.array(origins, dtype=object),
        "distance": np.append(np.arange(1.0, 100.0), np.nan),
        "night": np.arange(100) < 30,
    }
    slices = tuple(Slice(margin=0, by=name) for name in ("origin", "distance", "night"))
    counted = {
        title: dict(zip(*map(np.ndarray.tolist, np.unique(names, return_counts=True)), strict=True))
        for title, names in slice_names(slices, COLUMNS, table).items()
    }
    assert counted == {
        "by origin": {
            "origin = JFK": 60,
            "origin = EWR": 37,
            "origin in other levels": 2,
            "origin is null": 1,
        },
        "by distance": {
            "distance <= 25.5": 25,
            "25.5 < distance <= 50": 25,
            "50 < distance <= 74.5": 24,
            "distance > 74.5": 25,
            "distance is null": 1,
        },
        "by night": {"night = true": 30, "night = false": 70},
    }


def test_quarters_that_differ_late_and_a_level_of_any_name_are_slices_of_their_own():
    table = {
        "distance": 1.7e9 + np.arange(100.0),
        "origin": np.array(["other levels"] * 96 + ["a", "b", "c", "d"], dtype=object),
    }
    slices = tuple(Slice(margin=0, by=name) for name in table)
    names = slice_names(slices, COLUMNS, table)
    assert len(set(names["by distance"].tolist())) == 4
    assert set(names["by origin"].tolist()) == {"origin = other levels", "origin in other levels"}


@pytest.mark.parametrize("text", ["origin == 'JKF'", "origin in ['EWR', 'JKF']", "'JKF' != origin"])
def test_a_level_that_the_contract_does_not_have_is_refused_with_the_nearest(text):
    types, levels = {"origin": "category"}, {"origin": ("EWR", "JFK", "LGA")}
    with pytest.raises(
        Refused, match="'JKF' is no level of origin; the nearest of its 3 levels: 'JFK'"
    ):
        parse_condition(text, types, levels)
    parse_condition(text, types)  # where no levels are known, any may occur
    parse_condition(text.replace("JKF", "LGA"), types, levels)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("jfk", "the nearest of its 4 levels: 'JFK'$"),
        ("9", "the first of its 4 levels: 'EWR', 'JF"),
    ],
)
def test_a_level_in_another_case_is_near_and_of_none_that_is_near_the_first_ones_are_named(
    value, said
):
    levels = {"origin": ("EWR", "JFK", "LGA", "BOS")}
    with pytest.raises(Refused, match=said):
        parse_condition(f"origin == '{value}'", {"origin": "category"}, levels)
