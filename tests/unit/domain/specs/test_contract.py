from __future__ import annotations

import datetime as dt
import decimal
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.specs.contract import (
    Breach,
    Column,
    ContractCheck,
    describe_breach,
    find_breaches,
)

TEMP = Column(name="temp", type="number", unit="degF", minimum=-30, maximum=130)
CARRIER = Column(name="carrier", type="category", levels=("AA", "DL", "UA"))


def categories(*values):
    return np.array(values, dtype=object)


def test_keeps_quiet_about_a_table_that_keeps_the_contract():
    columns = (
        TEMP,
        CARRIER,
        Column(name="distance", type="integer", minimum=0),
        Column(name="holiday", type="boolean"),
        Column(name="at", type="timestamp"),
        Column(name="note", type="category", nullable=True),
    )
    table = {
        "temp": np.array([32.0, 71.6]),
        "carrier": categories("AA", "UA"),
        "distance": np.array([100.0, 2000.0]),
        "holiday": np.array([0, 1]),
        "at": categories("2013-01-01T10:00:00Z", "2013-01-01"),
        "note": categories(None, float("nan")),
        "not in the contract": np.array([1, 2]),
    }
    assert find_breaches(columns, table) == ()


def test_reports_every_problem_worst_first():
    table = {
        "temp": np.array([200.0, 300.0, np.nan, 50.0]),
        "carrier": categories("aa", "dl", 7, "UA"),
    }
    columns = (TEMP, CARRIER, Column(name="origin", type="category", levels=("JFK",)))
    assert find_breaches(columns, table) == (
        Breach(
            column="origin",
            rule="missing",
            expected="a category column",
            found="no such column",
            rows=4,
        ),
        Breach(column="carrier", rule="type", expected="category", found="7", rows=1),
        Breach(column="temp", rule="null", expected="no nulls", found="25.000% nulls", rows=1),
        Breach(
            column="temp",
            rule="range",
            expected="-30 to 130 degF",
            found="values from 200 to 300",
            rows=2,
        ),
        Breach(
            column="carrier",
            rule="level",
            expected="one of 'AA', 'DL', 'UA'",
            found="'aa', 'dl'",
            rows=2,
        ),
    )


@pytest.mark.parametrize(
    ("strays", "breached"), [(1, False), (5, False), (6, True)], ids=["one", "0.1 %", "more"]
)
def test_lets_a_tenth_of_a_percent_of_the_rows_stray_from_a_range(strays, breached):
    values = np.full(5000, 50.0)
    values[:strays] = 999.0
    assert bool(find_breaches((TEMP,), {"temp": values})) is breached


def test_breaches_at_the_first_stray_row_without_tolerance():
    assert len(find_breaches((TEMP,), {"temp": np.array([999.0])}, tolerance=0.0)) == 1
    assert find_breaches((TEMP,), {"temp": np.array([999.0])}) == ()


def test_names_a_column_that_changed_its_name():
    (breach,) = find_breaches(
        (TEMP,), {"temp_c": np.array([1.0, 2.0]), "wind": np.array([1.0, 2.0])}
    )
    assert describe_breach(breach) == (
        "column temp (missing): expected a number column, "
        "found no such column; found instead: temp_c (2 rows)"
    )


def test_recognises_a_renamed_column_by_its_levels_and_by_its_range():
    table = {"airline": categories("AA", "DL", "UA"), "outside": np.array([-10.0, 50.0, 100.0])}
    found = {breach.column: breach.found for breach in find_breaches((TEMP, CARRIER), table)}
    assert found == {
        "temp": "no such column; found instead: outside",
        "carrier": "no such column; found instead: airline",
    }


def test_names_no_substitute_when_two_columns_could_be_it():
    (breach,) = find_breaches((TEMP,), {"temp_c": np.array([1.0]), "temp_f": np.array([1.0])})
    assert breach.found == "no such column"


def test_does_not_take_arr_delay_for_dep_delay():
    column = Column(name="dep_delay", type="number")
    (breach,) = find_breaches((column,), {"arr_delay": np.array([1.0])})
    assert breach.found == "no such column"


def test_reports_a_second_spelling_beside_the_declared_column():
    table = {"temp": np.array([50.0]), "Temp": np.array([50.0])}
    assert find_breaches((TEMP,), table) == (
        Breach(
            column="Temp",
            rule="unexpected-name",
            expected="only temp",
            found="Temp as well",
            rows=1,
        ),
    )


def test_checks_the_columns_that_are_there_although_others_are_missing():
    found = find_breaches((TEMP, CARRIER), {"temp": np.array([50.0])})
    assert [(breach.column, breach.rule) for breach in found] == [("carrier", "missing")]
    found = find_breaches((TEMP, CARRIER), {"carrier": categories(3)})
    assert [(b.column, b.rule) for b in found] == [("temp", "missing"), ("carrier", "type")]


@pytest.mark.parametrize(
    ("kind", "values", "found"),
    [
        ("number", np.array([1.0, np.inf]), "infinity"),
        ("number", categories(1.0, float("-inf")), "infinity"),
        ("number", categories("12.5", 1.0), "text such as '12.5'"),
        ("number", np.array(["12.5", "13"]), "text such as '12.5'"),
        ("number", np.array([True, False]), "booleans"),
        ("number", categories(decimal.Decimal(1)), "a Decimal"),
        ("number", categories(10**400), "1" + "0" * 39),
        ("number", np.zeros((2, 2)), "an array of shape (2, 2)"),
        ("number", np.array(1.0), "an array of shape ()"),
        ("number", np.array([1j]), "complex numbers"),
        ("integer", np.array([1.0, 2.5]), "the number 2.5"),
        ("boolean", categories("true"), "text such as 'true'"),
        ("boolean", np.array([0, 2]), "the number 2"),
        ("timestamp", categories("yesterday"), "text such as 'yesterday'"),
        ("timestamp", np.array([1.0]), "an array of float64"),
        ("category", np.array([1, 2]), "an array of int64"),
        ("category", categories("AA", ["AA"]), "a list"),
        ("category", np.array([b"AA"]), "text such as b'AA'"),
    ],
)
def test_calls_a_value_of_another_type_a_breach(kind, values, found):
    (breach,) = find_breaches((Column(name="x", type=kind, nullable=True),), {"x": values})
    assert (breach.rule, breach.found) == ("type", found)


def test_accepts_every_way_to_write_a_timestamp():
    moments = categories(dt.datetime(2013, 1, 1, tzinfo=dt.UTC), dt.date(2013, 1, 1), None)
    column = Column(name="at", type="timestamp", nullable=True)
    assert find_breaches((column,), {"at": moments}) == ()
    assert (
        find_breaches((column,), {"at": np.array(["2013-01-01", "NaT"], dtype="datetime64[ns]")})
        == ()
    )


def test_counts_a_column_of_nothing_but_nulls_as_nulls():
    limited = Column(name="x", type="number", nullable=True, max_null_share=0.05)
    assert find_breaches((limited,), {"x": categories(None, None)}) == (
        Breach(
            column="x", rule="null", expected="at most 5.000% nulls", found="100.000% nulls", rows=2
        ),
    )


@pytest.mark.parametrize("kind", ["number", "integer", "category", "boolean", "timestamp"])
def test_counts_an_empty_column_read_as_floats_as_nulls_whatever_its_type(kind):
    column = Column(name="x", type=kind, nullable=True)
    assert find_breaches((column,), {"x": np.array([np.nan, np.nan])}) == ()


def test_an_empty_table_breaches_only_what_is_missing():
    assert find_breaches((TEMP, CARRIER), {"temp": np.array([]), "carrier": categories()}) == ()
    assert [b.rule for b in find_breaches((TEMP, CARRIER), {})] == ["missing", "missing"]


class Hostile:
    def __repr__(self):
        raise RuntimeError("no words for it")


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.complex_numbers(),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.decimals(),
    st.fractions(),
    st.datetimes(),
    st.dates(),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=1), st.none(), max_size=1),
    st.builds(Hostile),
    st.builds(object),
    st.builds(np.datetime64, st.just("NaT")),
)


@pytest.mark.long
@given(
    values=st.lists(VALUES, max_size=6),
    kind=st.sampled_from(["number", "integer", "category", "boolean", "timestamp"]),
)
def test_never_crashes_whatever_an_object_array_holds(values, kind):
    array = np.empty(len(values), dtype=object)
    array[:] = values
    column = Column(name="x", type=kind, minimum=0, maximum=1, levels=("a",))
    for breach in find_breaches((column,), {"x": array}, tolerance=0.0):
        assert 1 <= breach.rows <= len(values)
        assert describe_breach(breach).startswith(f"column x ({breach.rule}): expected ")
    find_breaches((Column(name="y", type=kind, minimum=0, maximum=1, levels=("a",)),), {"x": array})


SOME_VALUES = st.sampled_from(
    [None, True, False, 0, 1, 2, 7, 2.5, float("nan"), float("inf"), -1e9, "a", "b", "c", "zz"]
)


@given(
    values=st.lists(SOME_VALUES, max_size=12),
    kind=st.sampled_from(["number", "integer", "category", "boolean", "timestamp"]),
    dtype=st.sampled_from([object, np.float64]),
    cuts=st.lists(st.integers(0, 12), max_size=4).map(sorted),
    tolerance=st.sampled_from([0.0, 0.3]),
)
def test_breaches_of_parts_are_those_of_the_whole_table_wherever_it_is_cut(
    values, kind, dtype, cuts, tolerance
):
    if dtype is np.float64:
        values = [float("nan") if isinstance(v, str | None) else v for v in values]
    array = np.empty(len(values), dtype=dtype)
    array[:] = values
    given = {"nullable": True, "max_null_share": 0.4}
    column = Column(name="x", type=kind, minimum=0, maximum=1, levels=("a",), **given)
    check = ContractCheck((column,), tolerance=tolerance)
    for part in np.split(array, cuts):
        check.add({"x": part})
    assert check.breaches() == find_breaches((column,), {"x": array}, tolerance=tolerance)


def test_the_nouns_of_the_contract_do_not_import_numpy():
    code = "import sys, modelyard.domain.specs.contract; print('numpy' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"
