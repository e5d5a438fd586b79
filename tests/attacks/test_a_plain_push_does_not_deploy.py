"""A plain push does not deploy: what no pull request brought goes back, and is an incident."""

from __future__ import annotations

from dataclasses import replace

import pytest

from attacks.pull_requests import PROMOTION, incidents, open_promotion, pin_of
from modelyard.adapters.specs.documents import dump_spec
from modelyard.domain.promotion.pulls import PullState
from modelyard.domain.specs.repository import OnUnreviewed, Repository
from modelyard.errors import CannotAnswer
from modelyard.operations.reconcile.collect import collect_world
from modelyard.operations.watch.pass_once import run_pass
from operations.yard import (
    MODEL,
    SHORT,
    living_yard,
    manifests,
    new_yard,
    release_file,
)
from operations.yard_with_history import answer, run, world_of


def set_policy(yard, policy):
    settings = Repository(unreviewed=policy)
    yard.land("ada/settings", {"modelyard.yaml": dump_spec("Repository", settings)}, "Settings")


@pytest.mark.long
@pytest.mark.parametrize("where", ["canary", "production"])
def test_a_release_that_somebody_pushes_goes_back_before_it_serves(yard, where):
    commit = yard.commit(pin_of(yard, "v2", where), "v2 now", author="Mallory")

    yard.rest()

    assert yard.names()[where] == "v1"
    assert yard.running()[where][0] == "v1"
    assert yard.aliases[where] == "v1"
    assert not yard.model_facts.holds
    (what,) = incidents(yard)
    assert f"{where} has v2 of m, unreviewed: commit {commit[:10]} by Mallory" in what
    assert "goes back to v1" in what


@pytest.mark.parametrize("name", ["/é.yaml", '/a"b.yaml', ""])
def test_a_push_of_an_unusual_name_is_as_unreviewed_as_any(tmp_path, name):
    yard = new_yard(tmp_path / "yard")
    path = f"{manifests('staging').rstrip('/')}{name}"
    commit = yard.commit({path: b"kind: Pod\n"}, "Nothing to see", author="Mallory")

    found = world_of(yard).unreviewed

    assert list(found) == ["staging"]
    assert found["staging"].commit == commit
    assert found["staging"].goes_back


@pytest.mark.parametrize("place", ["manifests/evil/pod.yaml", "releases/evil.yaml"])
def test_a_push_for_a_model_that_there_is_none_of_is_told_in_every_pass(tmp_path, place):
    yard = new_yard(tmp_path / "yard")
    yard.commit({f"environments/production/{place}": b"kind: Pod\n"}, "x", author="Mallory")

    found = run_pass(yard.workspace(), report=lambda _: None, with_checks=False)

    assert found.failing_models == {"evil"}
    ((_, error),) = found.failures
    assert f"environments/production/{place}".removesuffix("pod.yaml") in error.message


@pytest.mark.parametrize("name", ["workflows", "namespaces", "nobody"])
def test_a_folder_of_the_platform_is_no_stray_of_a_model(tmp_path, name):
    yard = new_yard(tmp_path / "yard")
    yard.commit({f"environments/platform/manifests/{name}/x.yaml": b"kind: Pod\n"}, "Platform")

    assert yard.workspace().models() == (MODEL,)
    with pytest.raises(CannotAnswer, match=f"no valid models/{name}/model.yaml"):
        collect_world(yard.workspace(), name)


@pytest.mark.parametrize("name", ["1evil", "Evil", "é", "a.b", ".hidden"])
def test_manifests_under_a_name_that_no_model_may_have_are_a_rule(yard, name):
    path = f"environments/production/manifests/{name}/pod.yaml"
    commit = yard.commit({path: b"kind: Pod\n"}, "x", author="Mallory")

    # A folder of no model, which comes first, does not keep it from being told.
    yard.commit({"environments/dev/manifests/a/pod.yaml": b"kind: Pod\n"}, "y", author="Mallory")

    (rule,) = world_of(yard).pushed_rules

    assert (rule.file, rule.commit, rule.what) == (path, commit, "is new")
    assert "production" in rule.environments
    assert world_of(yard).is_first_model


@pytest.mark.long
def test_a_trailer_proves_no_pull_request(yard):
    number = yard.pull(f"modelyard/promote/production/{MODEL}").number
    message = f"Merge pull request\n\nModelyard-Pull: {number}\nModelyard-Approved-By: ada"
    yard.commit(pin_of(yard, "v2", "production"), message)

    yard.rest()

    assert yard.names()["production"] == "v1"
    assert incidents(yard)


def test_a_typed_approval_is_shown_as_what_its_commit_says(yard):
    number = yard.pull(f"modelyard/promote/production/{MODEL}").number
    message = (
        f"Merge pull request\n\nModelyard-Model: {MODEL}\nModelyard-Version: v9\n"
        f"Modelyard-Environment: production\nModelyard-Pull: {number}\nModelyard-Approved-By: ada"
    )
    commit = yard.commit(pin_of(yard, "v2", "production"), message)

    told = answer(yard, "history", MODEL)["events"]

    (event,) = [each for each in told if each["commit"] == commit]
    assert (event["version"], event["pull"]) == ("v2", None)
    assert event["what"] == (
        "v2 was released to production; said by the commit, not proven: "
        f"approved by ada, pull request {number}, what it was for"
    )


@pytest.mark.long
def test_history_tells_of_each_pin_that_a_push_moved_without_a_word(yard):
    both = pin_of(yard, "v2", "staging") | pin_of(yard, "v2", "production")
    moved = yard.commit(both, "Fix a typo", author="Mal\nlory")
    again = yard.commit(pin_of(yard, "v2", "production", attempt=7), "Tidy up")
    gone = yard.commit({release_file("canary"): None}, "Tidy up")
    other = f"v2 now\n\nModelyard-Model: {MODEL}\nModelyard-Environment: dev"
    hidden = yard.commit(pin_of(yard, "v1", "staging"), other)

    junk = yard.commit({release_file("staging"): b"\xff version"}, "v2 now")

    told = answer(yard, "history", MODEL)["events"]

    found = [(e["commit"], e["environment"], e["version"], e["what"]) for e in told]
    how = "by a commit of Cleo, without a merged pull request"
    by_mallory = how.replace("Cleo", "Mal lory")
    assert [each for each in found if each[0] in {moved, again, gone, hidden, junk}] == [
        (moved, "production", "v2", f"v2 was released to production {by_mallory}"),
        (moved, "staging", "v2", f"v2 was released to staging {by_mallory}"),
        (again, "production", "v2", f"v2 was pinned anew {how}"),
        (gone, "canary", None, f"v1 was removed {how}"),
        (hidden, "staging", "v1", f"v1 was released to staging {how}"),
        (junk, "staging", "(unreadable)", f"(unreadable) was released to staging {how}"),
    ]


@pytest.mark.long
def test_a_pull_request_for_one_environment_brings_nothing_to_another(yard):
    pull = open_promotion(yard)
    both = {**pin_of(yard, "v2", "canary"), **pin_of(yard, "v2", "production")}
    yard.commit(both, "Squashed, and a little more")

    yard.rest()

    assert yard.pull(PROMOTION).number == pull.number
    assert yard.pull(PROMOTION).state is PullState.MERGED
    assert (yard.names()["canary"], yard.names()["production"]) == ("v2", "v1")


@pytest.mark.long
def test_with_tell_it_stays_and_is_neither_verified_nor_an_alias(yard):
    set_policy(yard, OnUnreviewed.TELL)
    yard.put("v2", "staging")
    yard.commit(pin_of(yard, "v2", "canary"), "v2 now")

    yard.rest()
    yard.clock.wait(600)
    yard.rest()

    assert yard.names()["canary"] == "v2"
    assert yard.facts("canary").verdict.passed
    assert yard.facts("canary").verified == living_identities(yard, "canary")
    assert yard.aliases["canary"] == "v1"
    (what,) = incidents(yard)
    assert "A person must decide: modelyard promote canary m v2" in what
    assert "production" not in [pull.branch for pull in yard.pulls.list()]


def living_identities(yard, where):
    past = yard.workspace().past(where, MODEL)
    return tuple(each.release.identity for each in past if each.release.version == "v1")


@pytest.mark.long
def test_two_pushes_in_a_row_go_back_to_the_last_reviewed_release(yard):
    yard.record("v3", champion="v1")
    yard.commit(pin_of(yard, "v2", "production"), "v2 now")
    yard.commit(pin_of(yard, "v3", "production"), "no, v3")

    yard.rest()

    assert yard.names()["production"] == "v1"
    assert len(incidents(yard)) == 1  # of what was found there, whatever was there in between


@pytest.mark.long
def test_a_push_that_comes_again_goes_back_again(yard):
    for _ in range(3):
        yard.commit(pin_of(yard, "v2", "production"), "v2 now")
        yard.rest()
        assert yard.names()["production"] == "v1"
    assert len(incidents(yard)) == 3


@pytest.mark.long
def test_a_pushed_version_is_still_promoted_by_its_pull_requests(yard):
    yard.commit(pin_of(yard, "v2", "canary"), "v2 now")
    yard.rest()
    pull = open_promotion(yard)
    assert pull.state is PullState.OPEN

    yard.rest()

    assert yard.names()["canary"] == "v2"
    assert yard.pull(PROMOTION).state is PullState.MERGED


@pytest.mark.long
def test_amended_manifests_alone_are_restored(yard):
    folder = manifests("production")
    name = next(path for path in yard.paths(folder))
    before = yard.read(name)
    yard.commit({name: before + b"# more\n", f"{folder}extra.yaml": b"kind: Job\n"}, "Amend")

    yard.rest()

    assert yard.read(name) == before
    assert f"{folder}extra.yaml" not in yard.paths(folder)
    assert "production has v1 of m, unreviewed" in incidents(yard)[0]


@pytest.mark.long
def test_a_pin_with_another_image_is_restored(yard):
    yard.commit(pin_of(yard, "v1", "production", server_image="evil:1"), "A newer image")

    yard.rest()

    assert b"evil" not in yard.read(release_file("production"))


@pytest.mark.long
def test_a_release_that_somebody_deletes_comes_back(yard):
    before = yard.read(release_file("production"))
    yard.commit({release_file("production"): None, manifests("production"): None}, "Gone")

    yard.rest()

    assert yard.read(release_file("production")) == before
    assert yard.running()["production"][0] == "v1"
    assert "production has no release of m, unreviewed" in incidents(yard)[0]


@pytest.mark.long
def test_the_revert_of_a_pushed_release_is_a_way_back(yard):
    before = yard.main()
    yard.commit(pin_of(yard, "v2", "production"), "v2 now")
    restored = {path: yard.git.read_file(before, path) for path in placed(yard, before)}
    yard.commit({manifests("production"): None, **restored}, 'Revert "v2 now"')

    yard.rest()

    assert yard.names()["production"] == "v1"
    assert incidents(yard) == []


def placed(yard, commit):
    entries = yard.git.ls_tree(commit, manifests("production"))
    return (release_file("production"), *(entry.path for entry in entries))


@pytest.mark.long
def test_the_revert_of_a_reviewed_release_to_a_verified_one_stays(yard):
    before = yard.main()
    yard.put("v2", "staging", "canary", "production")
    restored = {path: yard.git.read_file(before, path) for path in placed(yard, before)}
    yard.commit({manifests("production"): None, **restored}, 'Revert "Release v2"')

    yard.rest()

    assert yard.names()["production"] == "v1"
    assert incidents(yard) == []


@pytest.mark.long
def test_a_revert_to_a_release_that_was_never_verified_goes_back(yard):
    yard.put("v2", "staging", "canary")
    yard.put("v2", "production", is_verified=False)
    middle = yard.main()
    yard.put("v1", "production")
    again = {path: yard.git.read_file(middle, path) for path in placed(yard, middle)}
    yard.commit({manifests("production"): None, **again}, "v2 once more")

    yard.rest()

    assert yard.names()["production"] == "v1"
    assert incidents(yard)


@pytest.mark.long
def test_a_rollback_is_reviewed(yard):
    yard.put("v2", "staging", "canary", "production")
    run(yard, "rollback", "production", MODEL, "--reason", "slow", "--as", "ada")

    yard.rest()

    assert yard.names()["production"] == "v1"
    assert incidents(yard) == []


@pytest.mark.long
def test_a_first_release_that_is_pushed_is_told_and_stays_unverified(tmp_path):
    yard = living_yard(tmp_path / "yard", SHORT)
    yard.commit({release_file("canary"): None, manifests("canary"): None}, "Start again")
    yard.workspace().facts.update_release(
        "canary", MODEL, lambda before: replace(before, verified=())
    )
    yard.commit(pin_of(yard, "v1", "canary", attempt=7), "v1 now")

    yard.rest()

    assert yard.names()["canary"] == "v1"
    assert yard.facts("canary").verified == ()
    assert "A person must decide" in incidents(yard)[0]


@pytest.mark.long
def test_a_version_that_was_not_verified_one_environment_earlier_goes_back(yard):
    yard.put("v2", "staging", "canary", is_verified=False)
    yard.name("v2", "production")

    yard.rest()

    assert yard.names()["production"] == "v1"
    assert any("v2 was never verified in canary" in what for what in incidents(yard))


def test_a_pull_request_that_cannot_be_read_rolls_nothing_back(yard):
    number = yard.pull(f"modelyard/promote/production/{MODEL}").number
    ref = f"refs/modelyard/pulls/{number}"
    junk = yard.git.commit_tree(
        yard.git.write_tree(None, {"x": b"junk"}),
        parents=[],
        message="junk",
        author="Mallory",
        at=yard.clock.at,
    )
    yard.git.push("origin", {ref: (yard.refs()[ref], junk)})

    yard.reconcile()

    assert yard.names()["production"] == "v1"
    assert yard.running()["production"][0] == "v1"
    assert "cannot be read (modelyard doctor)" in incidents(yard)[0]


@pytest.mark.long
@pytest.mark.parametrize("command", ["doctor", "status", "validate"])
def test_commands_name_what_nobody_reviewed(yard, command):
    yard.commit(pin_of(yard, "v2", "production"), "v2 now", author="Mallory")
    yard.git.run("checkout", "-q", "--detach", yard.main())

    said = run(yard, command, "--output", "json")

    assert "Mallory" in said.out
    assert (said.code == 0) == (command == "status")


@pytest.mark.long
def test_nothing_is_unreviewed_on_the_way_of_a_version_through_its_pull_requests(tmp_path):
    yard = living_yard(tmp_path / "yard", SHORT)
    yard.add_version("v2")
    yard.rest()
    yard.finish("v2", champion="v1")
    yard.rest()
    for environment in ("canary", "production"):
        yard.approve(environment)
        for _ in range(4):
            yard.clock.wait(120)
            yard.rest()

    assert set(yard.names().values()) == {"v2"}
    assert yard.aliases == dict.fromkeys(yard.names(), "v2")
    assert incidents(yard) == []
    states = {each["state"] for each in answer(yard, "status")["releases"]}
    assert states == {"verified"}


@pytest.mark.long
def test_deleted_pull_requests_roll_back_nothing_and_stop_no_rollback(yard):
    gone = {ref: (sha, None) for ref, sha in yard.refs().items() if "/modelyard/pulls/" in ref}
    yard.git.push("origin", gone)
    yard.reconcile()
    assert set(yard.names().values()) == {"v1"}
    assert len(incidents(yard)) == len(yard.names())
    yard.put("v2", "staging", "canary", is_verified=False)
    run(yard, "hold", MODEL, "v2", "--reason", "slow", "--as", "ada")

    yard.reconcile()

    assert set(yard.names().values()) == {"v1"}
