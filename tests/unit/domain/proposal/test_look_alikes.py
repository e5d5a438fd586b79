from __future__ import annotations

import pytest

from modelyard.domain.proposal.columns import ColumnFacts, Use, propose_column
from modelyard.domain.proposal.look_alikes import describe_look_alike


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["31/12/2025", "1/2/2025"], "look like dates, such as 31/12/2025: write them as 2026-"),
        (
            ["31.12.25 14:05"],
            "such as 31.12.25 14:05: write them as 2026-12-31 23:59 and try again",
        ),
        (
            ["48,169.14", "1,000.00"],
            "look like numbers, such as 48,169.14: write them as 1234.5 and",
        ),
        (["48.169,14"], "such as 48.169,14: write them as 1234.5 and try again"),
        (["8,9", "10", "-0,5"], "such as 8,9: write them as 1234.5 and try again"),
        (["€ 12", "$9.50", "12 %"], "look like numbers, such as € 12: write them"),
        (["12.5", "13", "N/A"], "look like numbers: leave the fields that say 'N/A' empty"),
        (
            ["1,250", "?"],
            "write them as 1234.5, leave the fields that say '?' empty, and try again",
        ),
    ],
)
def test_dates_and_numbers_in_another_form_are_said(texts: list[str], said: str):
    assert said in describe_look_alike(dict.fromkeys(texts, 7))


@pytest.mark.parametrize(
    "texts",
    [["red", "blue"], ["02139", "10001"], ["A-12", "B-9"], ["1 to 5", "6 to 9", "1.2.3"], []],
)
def test_words_and_codes_are_what_they_look_like(texts: list[str]):
    assert describe_look_alike(dict.fromkeys(texts, 7)) == ""


def test_a_few_odd_texts_among_words_are_no_reason():
    assert describe_look_alike({"red": 50, "1,000.5": 40}) == ""


@pytest.mark.parametrize(("rows_of_each", "use"), [(50, Use.INPUT), (1, Use.LEFT_OUT)])
def test_a_column_of_look_alikes_says_so_whether_it_is_an_input_or_left_out(
    rows_of_each: int, use: Use
):
    levels = {f"{number},169.14": rows_of_each for number in range(100, 140)}
    rows = sum(levels.values())
    facts = ColumnFacts(
        name="income", type="category", rows=rows, nulls=0, distinct=40, levels=levels
    )
    found = propose_column(facts)
    assert found.use is use
    assert found.look_alike.startswith("its texts look like numbers, such as 100,169.14")
    assert any(found.look_alike in note for note in found.notes)
