from __future__ import annotations

import pytest

from modelyard.domain.proposal.header import find_header_fault

ROWS = [["2026-01-01", "5.5", "north"], ["2026-01-02", "6", "south"]]


@pytest.mark.parametrize(
    "names", [["day", "price", "region"], ["", "price", "region"], ["a b", "Price (€)", "é"]]
)
def test_columns_with_names_of_their_own_are_right_one_without_a_name_too(names):
    assert find_header_fault(names, ROWS) is None


@pytest.mark.parametrize(
    ("above", "row"),
    [
        ([], 0),
        ([[None, None, None]], 1),
        ([["From 2026", None, None], ["by", "ada", ""]], 2),
    ],
)
def test_a_title_is_not_taken_for_names_and_the_row_that_has_them_is_found(above, row):
    rows = [*above, ["day", "price", "region"], *ROWS]
    fault = find_header_fault(["Deliveries", "", " "], rows)
    assert fault is not None
    assert fault.row == row
    assert fault.what == "2 of 3 columns have no name; a title may stand above them"


@pytest.mark.parametrize("names", [["", "", ""], ["x", "", ""]])
def test_without_a_row_of_names_none_is_named(names):
    fault = find_header_fault(names, ROWS)
    assert fault is not None
    assert fault.row is None


@pytest.mark.parametrize("names", [["a", "a", "b"], ["a", "b", "b"], ["x", "b", "x"]])
def test_a_name_that_two_columns_have_is_said(names):
    fault = find_header_fault(names, ROWS)
    assert fault is not None
    assert fault.what.startswith("2 columns are named")


@pytest.mark.parametrize("name", [" price", "price ", "\tprice"])
def test_a_name_with_a_blank_at_its_edge_is_said(name):
    fault = find_header_fault(["day", name, "region"], ROWS)
    assert fault is not None
    assert fault.what.startswith(f"the column name {name!r} begins or ends with a blank")
