"""A second clone of the forge answers as the first does, whatever either has fetched before."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from modelyard.cli import cli
from operations.yard import MODEL, SHORT, clone, living_yard

PROMOTION = f"modelyard/promote/canary/{MODEL}"
QUESTIONS = [
    ["status", "--output", "json"],
    ["status", MODEL, "--output", "json"],
    ["history", MODEL, "--output", "json"],
    ["pr", "list", "--output", "json"],
    ["pr", "list", "--all", "--output", "json"],
    ["pr", "show", "NUMBER", "--output", "json"],
    ["promote", "canary", MODEL, "v2", "--dry-run"],
    ["rollback", "canary", MODEL, "--reason", "slow", "--dry-run"],
    ["hold", MODEL, "v1", "--reason", "slow", "--dry-run"],
    ["unhold", MODEL, "v3", "--dry-run"],
    ["hold", MODEL, "v9", "--reason", "slow"],
    ["pr", "show", "999"],
]


@pytest.fixture(scope="module")
def yard(tmp_path_factory):
    """v2 is proposed for the canary, v3 is on hold; the second clone has fetched nothing."""
    made = living_yard(tmp_path_factory.mktemp("two") / "yard", SHORT)
    for version in ("v2", "v3"):
        made.record(version, champion="v1")
    made.put("v2", "staging")
    ask(made, "clone", "hold", MODEL, "v3", "--reason", "slow", "--as", "ada")
    made.rest()
    clone(made, "second")
    return made


def ask(yard, place, *arguments):
    services = yard.workspace(place).services
    done = CliRunner(env={"COLUMNS": "200"}).invoke(cli, arguments, obj=services)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


@pytest.mark.sample(2)
@pytest.mark.parametrize("question", QUESTIONS, ids=" ".join)
def test_a_second_clone_gives_the_same_answer(yard, question):
    number = str(yard.pull(PROMOTION).number)
    words = [number if word == "NUMBER" else word for word in question]

    first, second = (ask(yard, place, *words) for place in ("clone", "second"))

    assert second == first
    assert first[1] or first[2]


@pytest.mark.long
def test_what_one_clone_does_the_other_sees_at_once(yard, tmp_path):
    mine = yard.copy(tmp_path / "yard")
    number = str(mine.pull(PROMOTION).number)

    assert ask(mine, "second", "hold", MODEL, "v2", "--reason", "slow", "--as", "bob")[0] == 0
    (held,) = [
        each
        for each in json.loads(ask(mine, "clone", "status", "--output", "json")[1])["holds"]
        if each["version"] == "v2"
    ]
    assert (held["by"], held["reason"]) == ("bob", "slow")
    assert ask(mine, "clone", "unhold", MODEL, "v2", "--as", "ada")[0] == 0
    approved = ask(mine, "second", "pr", "approve", number, "--as", "ada")
    assert approved[0] == 0, approved
    mine.rest()

    assert mine.names()["canary"] == "v2"
    for question in (["status", "--output", "json"], ["pr", "show", number]):
        assert ask(mine, "second", *question) == ask(mine, "clone", *question)
