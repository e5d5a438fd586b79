from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.promotion.change import (
    Branch,
    Purpose,
    claims_of_merge,
    is_about,
    occupies_tool_name,
    parse_branch,
    trailers_of_head,
)

names = st.from_regex(r"[a-z][a-z0-9-]{0,5}", fullmatch=True)


@pytest.mark.long
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


@pytest.mark.parametrize(
    ("trailers", "said"),
    [
        ({}, ""),
        ({"Modelyard-Model": "m", "Modelyard-Requested-By": "bob"}, ""),
        ({"Modelyard-Approved-By": "olga"}, "approved by olga"),
        (
            {"Modelyard-Approved-By": "olga\nada", "Modelyard-Pull": "7"},
            "approved by olga ada, pull request 7",
        ),
        ({"Modelyard-Break-Glass": "olga, #1: down"}, "glass broken by olga, #1: down"),
    ],
)
def test_what_a_commit_claims_of_its_merge_is_one_line(trailers, said):
    assert claims_of_merge(trailers) == said


@pytest.mark.parametrize(
    ("branch", "trailers", "expected"),
    [
        ("modelyard/promote/dev/m", {"Modelyard-Model": "m", "Modelyard-Environment": "dev"}, True),
        ("modelyard/promote/dev/m", {"Modelyard-Model": "other"}, False),
        ("modelyard/promote/dev/m", {"Modelyard-Environment": "production"}, False),
        ("modelyard-2/rollback/dev/m", {"Modelyard-Environment": "canary"}, False),
        ("modelyard/record/v2/m", {"Modelyard-Environment": "dev"}, True),
        ("modelyard/record/v2/m", {"Modelyard-Version": "v3"}, False),
        ("modelyard/retrain/m", {"Modelyard-Version": "v3", "Modelyard-Model": "m"}, True),
    ],
)
def test_trailers_are_about_what_their_branch_is_about(branch, trailers, expected):
    found = parse_branch(branch)
    assert found is not None
    assert is_about(found, trailers) is expected


@pytest.mark.parametrize(
    ("name", "is_occupied"),
    [
        ("modelyard", True),
        ("modelyard/rollback", True),
        ("modelyard/rollback/dev", True),
        ("modelyard/rollback/dev/m", False),
        ("modelyard/rollback/dev/m/more", True),
        ("Modelyard/Rollback/dev/m", True),
        ("modelyard/retrain", True),
        ("modelyard/retrain/m", False),
        ("modelyard/retrain/m/more", True),
        ("modelyard/state", False),
        ("modelyard/state/more", True),
        ("modelyard/State", True),
        ("modelyard/spec/v1", False),
        ("modelyard/mine", False),
        ("ada/rollback", False),
    ],
)
def test_a_branch_that_keeps_one_of_the_tools_away_is_known_by_its_name(name, is_occupied):
    assert occupies_tool_name(name) is is_occupied


def test_a_head_says_nothing_of_its_merge():
    own = {"Modelyard-Model": "m", "Modelyard-Requested-By": "bob"}
    of_the_merge = {
        "Modelyard-Pull": "7",
        "Modelyard-Head": "a",
        "Modelyard-Approved-By": "olga",
        "Modelyard-Break-Glass": "olga, #1: down",
    }
    assert trailers_of_head(own | of_the_merge) == own
