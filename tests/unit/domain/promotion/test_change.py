from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.promotion.change import Branch, Purpose, parse_branch

names = st.from_regex(r"[a-z][a-z0-9-]{0,5}", fullmatch=True)


@given(
    purpose=st.sampled_from(sorted(set(Purpose) - {Purpose.RETRAIN})), model=names, subject=names
)
def test_a_branch_reads_back_as_what_it_was_made_of(purpose, model, subject):
    branch = Branch(purpose=purpose, model=model, subject=subject)
    assert parse_branch(str(branch)) == branch


def test_names_say_prefix_purpose_subject_and_model():
    assert str(Branch(purpose=Purpose.PROMOTE, model="m", subject="dev")) == (
        "modelyard/promote/dev/m"
    )
    assert str(Branch(purpose=Purpose.RETRAIN, model="m")) == "modelyard/retrain/m"


def test_a_retraining_has_no_subject():
    assert parse_branch("modelyard/retrain/m") == Branch(purpose=Purpose.RETRAIN, model="m")


@pytest.mark.parametrize(
    "name",
    [
        "main",
        "modelyard",
        "modelyard/promote",
        "modelyard/promote/m",
        "modelyard/record//m",
        "modelyard/promote/dev/",
        "modelyard/retrain/",
        "modelyard/retrain/v2/m",
        "modelyard/deploy/dev/m",
        "modelyard/promote/dev/m/more",
        "modelyard/state",
        "modelyard/state/m",
        "somebody/promote/dev/m",
        "/modelyard/promote/dev/m",
    ],
)
def test_leaves_branches_alone_that_the_tool_did_not_name(name):
    assert parse_branch(name) is None
