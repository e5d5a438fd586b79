"""A model is retired with the commands that the README names, and its folder stays."""

from __future__ import annotations

import pytest

from modelyard.adapters.specs.documents import dump_spec
from modelyard.domain.promotion.pulls import CHECKS, PROMOTE, StatusState
from modelyard.operations.site.fleet import fleet_of
from operations.yard import (
    HELD_OUT,
    HELD_OUT_SPEC,
    MODEL,
    living_yard,
    model_named,
    new_yard,
    record_file,
    release_file,
    spec_file,
)
from operations.yard_with_history import answer, faked_registry, run

ENVIRONMENTS = ("canary", "production", "staging", "dev")
WHY = ("--reason", "nobody asks it any more")


@pytest.fixture
def yard(tmp_path, monkeypatch):
    """v1 is verified everywhere."""
    yard = living_yard(tmp_path / "yard")
    monkeypatch.setattr("modelyard.operations.workspace.Registry", faked_registry(yard))
    return yard


def retired(yard, *versions):
    """What the README says, with the watcher in between."""
    for version in versions:
        assert run(yard, "hold", MODEL, version, *WHY).code == 0
    yard.rest()
    for environment in ENVIRONMENTS:
        said = run(yard, "rollback", environment, MODEL, "--remove", *WHY)
        assert (said.code, said.err) == (0, "")
    yard.rest()


def deleted(yard, *paths):
    """The statuses of a pull request that deletes these, once the watcher has seen it."""
    pull = yard.branch("delete", dict.fromkeys(paths), author="Cleo")
    yard.rest()
    return yard.pulls.get(pull.number).statuses


@pytest.mark.long
def test_a_model_with_several_verified_versions_is_taken_out_everywhere_and_stays_out(yard):
    yard.record("v2", champion="v1")
    yard.put("v2", "dev", "staging", "canary", "production")
    yard.record("v3", champion="v2")
    yard.put("v3", "dev")
    yard.add_version("v4")  # not trained yet

    retired(yard, "v1", "v2", "v3", "v4")

    assert (yard.names(), yard.running(), yard.aliases) == ({}, {}, {})
    assert yard.ledger("workflows").read() == {}
    releases = answer(yard, "status", MODEL)["releases"]
    assert [each["version"] for each in releases] == [None] * 4
    events = answer(yard, "history", MODEL)["events"]
    assert len([each for each in events if each["kind"] == "rollback"]) == 4
    said = run(yard, "history", MODEL).lines
    assert "rolled back, of the versions that answered production's requests: 0 of 2 (0%)" in said
    assert run(yard, "reconcile", MODEL).err == "m: nothing to do\n"


@pytest.mark.long
def test_a_model_with_one_version_is_retired_too_and_a_new_version_brings_it_back(yard):
    retired(yard, "v1")
    yard.add_version("v2")
    yard.rest()
    yard.finish("v2")
    yard.rest()

    assert yard.names()["dev"] == "v2"


def test_a_retired_model_is_one_line_of_the_fleet_until_a_version_may_come(yard):
    yard.record("v2", champion="v1", skill=0.1)  # the gate refused it
    run(yard, "hold", MODEL, "v1", *WHY)
    yard.rest()
    assert answer(yard, "status")["retired"] == []  # it runs: people have to take it out

    retired(yard, "v1")

    (said,) = answer(yard, "status")["retired"]
    assert (said["model"], said["next"]) == (MODEL, "modelyard status m")
    lines = run(yard, "status").lines
    assert [line for line in lines if line.startswith("m ")] == [
        f"m {said['since'][:19].replace('T', ' ')} modelyard status m"
    ]
    assert not {"On hold", "Incidents, newest first"} & set(lines)
    assert {"Retired", "On hold"} <= set(run(yard, "status", MODEL).lines)

    fleet = fleet_of(answer(yard, "status"), {})
    (row,) = fleet.rows
    assert (row.holds, row.incidents, fleet.incidents) == (0, 0, ())
    assert {cell.state for cell in row.cells} == {"no release: the model is retired"}

    yard.add_version("v3")
    assert answer(yard, "status")["retired"] == []
    assert "On hold" in run(yard, "status").lines


def test_a_model_that_never_ran_and_one_on_its_way_are_not_retired(tmp_path):
    new = new_yard(tmp_path / "new")
    new.add_version("v1")
    assert run(new, "hold", MODEL, "v1", *WHY).code == 0
    assert answer(new, "status")["retired"] == []


def test_an_incident_names_the_command_that_takes_out_what_cannot_go_back(yard):
    run(yard, "hold", MODEL, "v1", *WHY)
    yard.rest()

    commands = {each.what.partition("; ")[2] for each in yard.model_facts.incidents}
    assert commands == {
        f"modelyard rollback {environment} m --remove --reason ... takes it out"
        for environment in ENVIRONMENTS
    }


def test_deleting_what_is_released_is_answered_with_the_command_that_takes_it_out(yard):
    folder = yard.folder / "clone"
    yard.git.run("fetch", "-q", "origin")
    yard.git.run("checkout", "-q", "-B", "main", "origin/main")
    yard.git.run("rm", "-q", "-r", f"models/{MODEL}")

    said = run(yard, "--root", str(folder), "validate", "--changed-since", "origin/main")

    assert said.code == 3
    for environment in ENVIRONMENTS:
        assert (
            f"{release_file(environment)}:4: there is no model m: models/m/model.yaml is missing; "
            f"to retire m, first modelyard rollback {environment} m --remove --reason ... "
            "[models-exist]"
        ) in said.lines
    for file in (record_file("v1"), spec_file("v1")):
        assert (
            f"{file}:1: is gone: a record and its version stay for ever; restore it. To retire "
            "m v1: modelyard hold m v1 --reason ... [append-only]"
        ) in said.lines


@pytest.mark.long
def test_of_a_retired_model_trainer_and_data_may_go_and_records_stay(yard):
    yard.commit({"models/m/trainer/train.py": b"print()\n", "models/m/data/train.csv": b"x\n1\n"})
    retired(yard, "v1")

    statuses = deleted(yard, "models/m/trainer/", "models/m/data/")
    assert {name: each.state for name, each in statuses.items()} == {
        CHECKS: StatusState.SUCCESS,
        PROMOTE: StatusState.SUCCESS,
    }

    statuses = deleted(yard, "models/m/")
    assert statuses[PROMOTE].description == (
        "only the tool writes models/m/records/v1.yaml: records stay; to retire, modelyard "
        "rollback ENVIRONMENT m --remove"
    )
    assert statuses[CHECKS].state is StatusState.FAILURE


@pytest.mark.long
def test_a_model_without_a_record_is_deleted_like_any_other_file(yard):
    held_out = dump_spec("HeldOut", HELD_OUT_SPEC).replace(b"model: m\n", b"model: other\n")
    yard.commit({**model_named(yard, "other"), f"models/other/heldout/{HELD_OUT}.yaml": held_out})
    yard.rest()

    statuses = deleted(yard, "models/other/")
    assert statuses[CHECKS].state is StatusState.SUCCESS
    assert statuses[PROMOTE].state is StatusState.PENDING  # model.yaml is a rule

    pull = yard.pull("delete")
    yard.pulls.review(pull.number, sha=pull.head, by="ada", approved=True)
    yard.rest()
    assert run(yard, "pr", "merge", str(pull.number)).code == 0
    yard.rest()
    assert "other" not in {each["model"] for each in answer(yard, "status")["releases"]}
