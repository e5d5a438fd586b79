from __future__ import annotations

from dataclasses import replace

import pytest

from git_commits import spoil_state
from modelyard.adapters.specs.documents import dump_spec
from modelyard.domain.promotion.facts import Hold
from modelyard.domain.promotion.pulls import CHECKS, PROMOTE, PullState
from modelyard.operations.rollback import decide_rollback
from modelyard.operations.watch.pull_checks import problems_of
from operations.yard import BOT, MODEL, manifests, new_yard, release_file
from operations.yard_with_history import (
    answer,
    faked_registry,
    in_production,
    promoted,
    recorded,
    release_in,
    run,
    watched,
)

ENVIRONMENTS = ("dev", "staging", "canary", "production")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """v1 was verified everywhere; v2 is in dev, staging and canary, verified."""
    yard = in_production(tmp_path_factory.mktemp("rollback") / "yard")
    recorded(yard, "v2", 5, champion="v1")
    for number, environment in enumerate(("staging", "canary"), start=6):
        promoted(yard, "v2", environment, number)
    for environment in ("dev", "staging", "canary"):
        watched(yard, environment, verified=True)
    return yard


@pytest.fixture
def yard(made, tmp_path, monkeypatch):
    yard = made.copy(tmp_path / "yard")
    monkeypatch.setattr("modelyard.operations.workspace.Registry", faked_registry(yard))
    return yard


def files(yard, environment, commit=None):
    """The pin and the manifests, byte for byte."""
    paths = [release_file(environment), *yard.paths(manifests(environment))]
    return {path: yard.git.read_file(commit or yard.main(), path) for path in paths}


@pytest.mark.long
def test_restores_the_last_verified_release_byte_for_byte(yard):
    production = yard.main()
    past = files(yard, "canary", f"{production}~1")

    said = run(yard, "rollback", "canary", MODEL, "--reason", "users complain")

    assert (said.code, said.err) == (0, "")
    assert yard.names()["canary"] == "v1"
    assert files(yard, "canary") == past
    (entry, *_) = yard.git.log(yard.main(), path=release_file("canary"), first_parent=True)
    assert entry.trailers["Modelyard-Rollback-Of"] == "v2"
    assert entry.trailers["Modelyard-Reason"] == "v2 is on hold: users complain"


def test_a_rollback_to_before_a_change_of_the_environment_ends_in_no_red_repository(yard):
    folder = yard.folder / "clone"
    environment = "environments/canary/environment.yaml"
    canary = yard.workspace().catalog(yard.main()).environments["canary"]
    wider = replace(canary, rollout=replace(canary.rollout, replicas=3))
    yard.git.run("fetch", "-q", "origin")
    yard.git.run("checkout", "-q", "-B", "main", "origin/main")
    (folder / environment).write_bytes(dump_spec("Environment", wider))
    assert run(yard, "--root", str(folder), "render").code == 0
    paths = [environment, release_file("canary"), manifests("canary") + "rollout.yaml"]
    yard.commit({path: (folder / path).read_bytes() for path in paths})

    workspace = yard.workspace()
    decided = decide_rollback(workspace, "canary", MODEL, reason="bad", by="bo", remove=False)
    assert problems_of(workspace, workspace.services.pulls.propose(decided.change)) == []

    assert run(yard, "rollback", "canary", MODEL, "--reason", "users complain").code == 0

    assert yard.names()["canary"] == "v1"
    yard.git.run("fetch", "-q", "origin")
    yard.git.run("checkout", "-q", "-f", "-B", "main", "origin/main")
    assert run(yard, "--root", str(folder), "render", "--check").code == 0
    told = answer(yard, "doctor", code=3)
    (checked,) = (
        e for e in told["checks"] if e["check"] == "manifests are what releases render to"
    )
    assert (checked["state"], checked["found"]) == ("well", [])


@pytest.mark.long
def test_holds_the_version_in_the_persons_name_and_so_takes_it_out_everywhere(yard):
    run(yard, "rollback", "canary", MODEL, "--reason", "users\x1b complain", "--as", "bo")

    assert yard.model_facts.holds == {
        "v2": Hold(reason="users complain", by="bo", since=yard.clock.now())
    }
    assert yard.names() == dict.fromkeys(ENVIRONMENTS, "v1")
    assert yard.model_facts.incidents == ()


@pytest.mark.long
def test_the_servers_follow_and_nothing_comes_back_by_itself(yard):
    run(yard, "rollback", "canary", MODEL, "--reason", "users complain")
    yard.rest()

    assert yard.running() == dict.fromkeys(ENVIRONMENTS, ("v1", 1.0)) | {"canary": ("v1", 0.2)}
    assert yard.names() == dict.fromkeys(ENVIRONMENTS, "v1")


@pytest.mark.long
def test_a_hold_that_is_there_stays_whoevers_it_is(yard):
    known = Hold(reason="older", by="ann", since=yard.clock.now())
    yard.workspace().facts.update_model(MODEL, lambda facts: replace(facts, holds={"v2": known}))

    said = run(yard, "rollback", "canary", MODEL, "--reason", "users complain")

    assert said.code == 0
    assert f"{MODEL} v2 is on hold: older\n" in said.out
    assert yard.model_facts.holds == {"v2": known}
    assert yard.names()["canary"] == "v1"


def test_a_dry_run_prints_every_change_and_makes_none(yard):
    before = yard.refs()

    said = run(yard, "rollback", "canary", MODEL, "--reason", "users complain", "--dry-run")

    assert (said.code, yard.refs()) == (0, before)
    assert said.lines[0] == "would hold m v2 as Ada Example: users complain"
    assert [line for line in said.lines if line.startswith("title")] == [
        "title Roll m in canary back from v2 to v1",
        "title Roll m in staging back from v2 to v1",
        "title Roll m in dev back from v2 to v1",
    ]
    assert any(line.endswith(release_file("canary")) for line in said.lines)


def test_refuses_where_nothing_verified_is_there_to_go_back_to(yard):
    before = yard.refs()

    said = run(yard, "rollback", "production", MODEL, "--reason", "users complain")

    assert (said.code, said.out) == (3, "")
    assert said.err == (
        "error: production has no release of m to go back to from v1: no other one was "
        "verified there, or their versions are on hold\n"
        "hint: modelyard promote production m VERSION, or, to have none there, modelyard rollback "
        "production m --reason ... --remove\n"
    )
    assert yard.refs() == before


@pytest.mark.long
def test_a_person_may_undo_what_a_rollback_restored(yard):
    recorded(yard, "v3", 10, champion="v1")
    watched(yard, "dev", verified=True)
    promoted(yard, "v3", "staging", 11)
    run(yard, "rollback", "staging", MODEL, "--reason", "v3 is bad")
    assert yard.names()["staging"] == "v2"
    watched(yard, "staging", verified=True)
    assert yard.facts("staging").rolled_back_to == release_in(yard, "staging").identity

    said = run(yard, "rollback", "staging", MODEL, "--reason", "v2 is bad too")

    assert (said.code, said.err) == (0, "")
    assert yard.names()["staging"] == "v1"
    assert not [each for each in yard.model_facts.incidents if "staging" in each.what]


def test_names_nothing_to_roll_back_as_an_error(yard):
    yard.commit({release_file("production"): None})

    said = run(yard, "rollback", "production", MODEL, "--reason", "x")

    assert (said.code, said.err) == (
        1,
        "error: production has no release of m\nhint: modelyard status m\n",
    )


def test_a_rollback_needs_a_reason(yard):
    assert run(yard, "rollback", "canary", MODEL).code == 2
    assert run(yard, "rollback", "canary", MODEL, "--reason", " \n").code == 2


@pytest.fixture
def first(tmp_path, monkeypatch):
    """v1 is in dev, where it never got ready: the first release there is."""
    yard = new_yard(tmp_path / "yard")
    monkeypatch.setattr("modelyard.operations.workspace.Registry", faked_registry(yard))
    recorded(yard, "v1", 1)
    watched(yard, "dev", ready=False)
    return yard


@pytest.mark.long
def test_offers_to_remove_where_nothing_was_ever_verified(first):
    said = run(first, "rollback", "dev", MODEL, "--reason", "never ready")

    assert said.code == 3
    assert said.err.splitlines()[1] == "hint: modelyard rollback dev m --reason ... --remove"
    assert first.model_facts.holds == {}


@pytest.mark.long
def test_removes_the_release_and_its_manifests_at_once(first):
    said = run(first, "rollback", "dev", MODEL, "--reason", "never ready", "--remove")

    pull = first.pull(f"modelyard/rollback/dev/{MODEL}")
    assert (said.code, said.err) == (0, "")
    assert first.paths("environments/dev/") == ("environments/dev/environment.yaml",)
    assert first.model_facts.holds["v1"].by == "Ada Example"
    assert (pull.state, *map(str, (pull.author, pull.requester, pull.closed_by))) == (
        PullState.MERGED,
        BOT,
        "Ada Example",
        BOT,  # the tool merges, and the hold says for whom
    )
    assert sorted(pull.statuses) == [CHECKS, PROMOTE]
    assert first.git.log(first.main(), first_parent=True)[0].trailers == {
        "Modelyard-Model": MODEL,
        "Modelyard-Environment": "dev",
        "Modelyard-Rollback-Of": "v1",
        "Modelyard-Reason": "never ready",
        "Modelyard-Pull": str(pull.number),
        "Modelyard-Head": pull.head,
        "Modelyard-Requested-By": "Ada Example",
    }


@pytest.mark.long
def test_what_was_removed_stays_away_until_its_hold_is_lifted(first):
    run(first, "rollback", "dev", MODEL, "--reason", "never ready", "--remove")
    first.rest()

    assert first.names() == {}


@pytest.mark.long
def test_a_dry_removal_shows_what_would_be_deleted(first):
    before = first.refs()

    said = run(first, "rollback", "dev", MODEL, "--reason", "bad", "--remove", "--dry-run")

    assert (said.code, first.refs()) == (0, before)
    assert said.lines[-2:] == [
        f"deleted {manifests('dev')}",
        f"deleted {release_file('dev')}",
    ]


@pytest.mark.parametrize("more", [(), ("--remove",)])
def test_decides_nothing_where_what_was_seen_cannot_be_read(yard, more):
    spoil_state(yard.git, f"facts/canary/{MODEL}.json")
    refs = yard.refs()

    said = run(yard, "rollback", "canary", MODEL, "--reason", "x", *more)

    assert said.code == 1
    assert said.err.splitlines()[-2:] == [
        f"error: the facts of {MODEL} in canary cannot be read",
        "hint: modelyard doctor",
    ]
    assert yard.refs() == refs


def test_refuses_to_remove_where_something_was_verified(yard):
    said = run(yard, "rollback", "canary", MODEL, "--reason", "x", "--remove")

    assert said.code == 3
    assert said.err == (
        "error: canary can go back to v1 of m, which was verified there; --remove is only for an "
        "environment that cannot go back\n"
        "hint: modelyard rollback canary m --reason ...; or first modelyard hold m v1 "
        "--reason ...\n"
    )


@pytest.mark.long
def test_the_only_release_that_was_verified_is_removed_for_a_person_and_stays_away(yard):
    said = run(
        yard, "rollback", "production", MODEL, "--reason", "its labels were wrong", "--remove"
    )
    yard.rest()

    assert (said.code, said.err) == (0, "")
    assert yard.model_facts.holds["v1"].reason == "its labels were wrong"
    assert f"environments/production/releases/{MODEL}.yaml" not in yard.paths("environments/")
