from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.domain.gate.served_contract import (
    ContractBreak,
    ServedContract,
    contract_verdict,
    find_contract_breaks,
)
from modelyard.domain.specs.contract import Column
from modelyard.domain.verdict import Outcome
from modelyard.errors import Refused
from modelyard.serving.inputs import read_request, tensors_of_rows


def contract(*columns, output="late"):
    return ServedContract(inputs=columns, output=output)


def number(name="temp", **rest):
    return Column(name=name, type="number", **rest)


def level(name="carrier", **rest):
    return Column(name=name, type="category", **rest)


def names(before, after):
    return [each.name for each in find_contract_breaks(before, after)]


def test_the_same_contract_breaks_nothing():
    same = contract(number(), level(levels=("AA", "B6")))
    assert find_contract_breaks(same, same) == ()


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [
        (number(), Column(name="temp", type="integer"), "fractions are refused"),
        (number(), level("temp"), "category instead of number; its values are refused"),
        (
            level("temp"),
            Column(name="temp", type="integer"),
            "integer instead of category; its values are refused",
        ),
        (level("temp"), number(), "number instead of category"),
        (level("temp"), Column(name="temp", type="timestamp"), "timestamp instead of category"),
        (number(), Column(name="temp", type="boolean"), "boolean instead of number"),
        (number(nullable=True), number(), "no longer nullable; null is refused"),
        (number(nullable=True), number(default=0.0), "no longer nullable; null is refused"),
        (number(default=0.0), number(), "without its default"),
        (number(unit="degF"), number(unit="degC"), "in degC instead of degF"),
        (number(), number(minimum=0), "narrower, 0 to inf instead of -inf to inf"),
        (number(minimum=0, maximum=9), number(minimum=0, maximum=5), "0 to 5 instead of 0 to 9"),
        (level(), level(levels=("AA",)), "limited to AA"),
        (level(), level(levels=("AA", "B6", "DL")), "limited to AA, B6, DL; others"),
        (level(), level(levels=("AA", "B6", "DL", "UA")), "limited to AA, B6, DL and 1 more;"),
        (level(levels=("AA", "B6", "DL")), level(levels=("AA", "DL")), "without the level B6"),
    ],
)
def test_what_an_input_no_longer_accepts_is_named(before, after, what):
    (found,) = find_contract_breaks(contract(before), contract(after))
    assert found.name == before.name
    assert what in found.what


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Column(name="temp", type="integer"), number()),
        (Column(name="temp", type="timestamp"), level("temp")),
        (number(), number(nullable=True)),
        (number(), number(default=1.0)),
        (number(minimum=0, maximum=9), number()),
        (number(minimum=0), number(minimum=-9)),
        (number(), number(unit="degC")),
        (level(levels=("AA",)), level(levels=("AA", "B6"))),
        (level(levels=("AA",)), level()),
        (number(nullable=True, max_null_share=0.5), number(nullable=True, max_null_share=0.1)),
    ],
)
def test_what_an_input_accepts_besides_breaks_nobody(before, after):
    assert find_contract_breaks(contract(before), contract(after)) == ()


def test_new_inputs_break_only_where_they_are_required():
    before = contract(number())
    after = contract(
        number(), level(), level("dest"), level("tail", nullable=True), number("x", default=1.0)
    )
    assert names(before, after) == ["carrier", "dest"]


def test_an_input_that_is_no_longer_asked_for_breaks_nobody():
    assert names(contract(number(), level()), contract(number())) == []


@pytest.mark.parametrize("name", ["Temp", "TEMP", "te_mp", "te-mp"])
@pytest.mark.parametrize("rest", [{}, {"nullable": True}])
def test_a_renamed_input_is_a_break_even_where_it_may_be_left_out(name, rest):
    (found,) = find_contract_breaks(
        contract(number(), level()), contract(number(name, **rest), level())
    )
    assert found == ContractBreak(name=name, what="renamed; requests that name it temp are refused")


def test_a_renamed_output_breaks_those_who_ask_for_it():
    (found,) = find_contract_breaks(contract(number()), contract(number(), output="delay"))
    assert (found.name, found.what.split(";")[0]) == ("late", "now called delay")


def test_a_model_none_of_whose_inputs_is_left_answers_no_caller():
    assert names(contract(number()), contract(number("wind", nullable=True))) == ["inputs"]


def test_a_break_fails_unless_the_version_gives_its_reason():
    found = find_contract_breaks(contract(number()), contract(number(), level(), level("dest")))

    verdict = contract_verdict(found, {"dest": "callers send it since May"}, "v1")
    assert verdict.outcome is Outcome.FAIL
    assert verdict.columns == ("carrier",)
    assert "carrier is new and required; requests without it are refused" in verdict.reason
    assert "dest is" not in verdict.reason

    both = {"dest": "callers send it since May", "carrier": "so is this"}
    verdict = contract_verdict(found, both, "v1")
    assert verdict.outcome is Outcome.PASS
    assert "(callers send it since May)" in verdict.reason


def test_without_a_break_the_verdict_says_so():
    verdict = contract_verdict((), {"dest": "not needed"}, "v1")
    assert (verdict.outcome, verdict.reason) == (Outcome.PASS, "it accepts what v1 accepts")


# The model server itself is the oracle: it must accept whatever is said to break nobody.

COLUMNS = st.builds(
    Column,
    name=st.sampled_from(["temp", "Temp", "wind", "tail"]),
    type=st.sampled_from(["number", "integer", "category", "boolean", "timestamp"]),
    nullable=st.booleans(),
)
CONTRACTS = st.lists(COLUMNS, min_size=1, max_size=3, unique_by=lambda column: column.name.lower())
VALUES = {
    "number": st.floats(-1e6, 1e6),
    "integer": st.integers(-1000, 1000),
    "category": st.text(max_size=3),
    "boolean": st.booleans(),
    "timestamp": st.just("2013-05-01T10:00:00"),
}


@st.composite
def requests(draw, columns):
    """What the callers of these columns may send."""
    sent = [column for column in columns if not column.nullable or draw(st.booleans())]
    row = {
        column.name: None if column.nullable and draw(st.booleans()) else draw(VALUES[column.type])
        for column in sent
    }
    return {"inputs": tensors_of_rows(sent, [row])}


def accepts(columns, request):
    try:
        read_request(request, columns)
    except Refused:
        return False
    return True


@pytest.mark.long
@settings(max_examples=300, deadline=None)
@given(CONTRACTS, CONTRACTS, st.data())
def test_a_server_accepts_every_request_of_callers_that_are_said_to_be_safe(before, after, data):
    request = data.draw(requests(before))
    # A caller that sends nothing at all, and one whose inputs all may be left out, sent no request.
    sent = {each["name"] for each in request["inputs"]}
    if not accepts(before, request) or not sent & {column.name for column in after}:
        return
    if not find_contract_breaks(contract(*before), contract(*after)):
        assert accepts(after, request)
