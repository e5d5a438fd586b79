"""A push that changes a rule is named, keeps promotions waiting, and is accepted by a review."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from git_commits import write_commit
from modelyard.adapters.specs.documents import dump_spec
from modelyard.domain.promotion.plan import plan
from modelyard.domain.promotion.pulls import CHECKS, PROMOTE, PullState, Status, StatusState
from modelyard.domain.specs.environment import Approvals
from modelyard.domain.specs.repository import OnUnreviewed, Repository
from operations.yard import (
    CANARY,
    HELD_OUT,
    HELD_OUT_SPEC,
    MODEL,
    MODEL_SPEC,
    PRODUCTION,
    SHORT,
    living_yard,
    model_named,
    release_file,
)
from operations.yard_with_history import answer, run, world_of

CANARY_FILE = "environments/canary/environment.yaml"
MODEL_FILE = f"models/{MODEL}/model.yaml"
SET_FILE = f"models/{MODEL}/heldout/{HELD_OUT}.yaml"
PROMOTION = f"modelyard/promote/canary/{MODEL}"

NOBODY = {CANARY_FILE: dump_spec("Environment", replace(CANARY, approvals=Approvals(needed=0)))}
LAX = {
    MODEL_FILE: dump_spec("Model", replace(MODEL_SPEC, gate=replace(MODEL_SPEC.gate, margin=0.9)))
}
TELL = {"modelyard.yaml": dump_spec("Repository", Repository(unreviewed=OnUnreviewed.TELL))}
RULES = {
    "approvals": (NOBODY, "approvals.needed: 1 -> 0"),
    "the gate": (LAX, "gate.margin: 0.05 -> 0.9"),
    "the settings": (TELL, "unreviewed: rollback -> tell"),
    "a held-out set": (
        {SET_FILE: dump_spec("HeldOut", replace(HELD_OUT_SPEC, max_looks=99))},
        "max_looks: 20 -> 99",
    ),
    "the forge's own rules": ({".github/workflows/x.yml": b"on: push\n"}, "is new"),
    "an environment that is gone": (
        {"environments/production/environment.yaml": None},
        "is deleted",
    ),
    "a file that cannot be read": ({CANARY_FILE: b"approvals: ["}, "cannot be read after it"),
}


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    yard = living_yard(tmp_path_factory.mktemp("start") / "yard", SHORT)
    yard.record("v2", champion="v1")
    return yard


@pytest.fixture
def yard(start, tmp_path):
    """v1 is verified everywhere; v2 has a record and is nowhere."""
    return start.copy(tmp_path / "yard")


def rules(yard):
    return [each["what"] for each in answer(yard, "status")["pushed_rules"]]


def incidents(yard):
    return [each.what for each in yard.model_facts.incidents if "changed" in each.what]


@pytest.mark.sample(2)
@pytest.mark.parametrize("what", RULES)
def test_a_rule_that_a_push_changed_is_named_with_its_commit_and_author(yard, what):
    documents, words = RULES[what]
    commit = yard.commit(documents, "Faster", author="Mallory\x1b[2J")

    (found,) = rules(yard)

    (path,) = documents
    assert found.startswith(f"commit {commit[:10]} by Mallory")
    assert found.endswith(f"changed {path} without a merged pull request: {words}")
    assert "\x1b" not in found


@pytest.mark.long
@pytest.mark.parametrize("command", ["doctor", "status", "validate"])
def test_commands_name_it_with_the_next_command(yard, command):
    commit = yard.commit(NOBODY, "Faster", author="Mallory")
    yard.git.run("checkout", "-q", "--detach", yard.main())

    said = run(yard, command, "--output", "json")

    assert "Mallory" in said.out
    assert f"git revert {commit[:10]}" in said.out
    assert (said.code == 0) == (command == "status")


@pytest.mark.long
def test_people_are_told_once_and_promotions_wait(yard):
    yard.commit(NOBODY, "Faster", author="Mallory")
    yard.put("v2", "staging")

    yard.rest()
    yard.rest()

    (what,) = incidents(yard)
    assert "approvals.needed: 1 -> 0. Promotions to canary wait" in what
    pull = yard.pull(PROMOTION)
    assert (pull.state, pull.statuses[PROMOTE].state) == (PullState.OPEN, StatusState.FAILURE)
    assert "by Mallory changed" in pull.statuses[PROMOTE].description
    assert yard.names()["canary"] == "v1"


@pytest.mark.long
def test_a_revert_by_hand_lets_the_promotions_go_on(yard):
    before = yard.read(CANARY_FILE)
    yard.commit(NOBODY, "Faster", author="Mallory")
    yard.commit({CANARY_FILE: before}, 'Revert "Faster"')
    yard.put("v2", "staging")
    yard.rest()
    yard.approve("canary")

    yard.rest()

    assert rules(yard) == []
    assert yard.names()["canary"] == "v2"


@pytest.mark.long
def test_no_rollback_waits_for_a_rule(yard):
    yard.put("v2", "canary", is_verified=False)
    yard.commit(NOBODY, "Faster", author="Mallory")

    said = run(yard, "rollback", "canary", MODEL, "--reason", "slow", "--as", "ada")

    assert (said.code, yard.names()["canary"]) == (0, "v1")


KEPT = "pushed-rules-2.json"


def test_no_commit_brings_the_file_of_what_was_found_before(yard):
    yard.commit(NOBODY)
    (found,) = rules(yard)
    file = yard.workspace().git.kept_folder / KEPT
    forged = json.dumps({**json.loads(file.read_bytes()), "files": {}}).encode()
    file.unlink()

    yard.commit({f".modelyard/{KEPT}": forged})
    yard.git.run("checkout", "--force", "--quiet", "--detach", yard.main())

    assert (yard.git.root / ".modelyard" / KEPT).read_bytes() == forged
    assert rules(yard) == [found]


@pytest.mark.parametrize(
    "wrong", [{"commit": []}, {"merges": {}}, {"files": {"a": {}}}, {"files": []}]
)
def test_a_kept_file_of_other_types_is_read_as_none(yard, wrong):
    yard.commit(NOBODY)
    (found,) = rules(yard)
    file = yard.workspace().git.kept_folder / KEPT
    file.write_text(json.dumps({**json.loads(file.read_bytes()), **wrong}))

    assert rules(yard) == [found]


def test_a_pushed_setting_does_not_decide_about_a_pushed_release(yard):
    pin = yard.read(release_file("production")).replace(b"attempt: 1", b"attempt: 7")
    yard.commit({**TELL, release_file("production"): pin}, "Both", author="Mallory")

    yard.reconcile()

    assert b"attempt: 7" not in yard.read(release_file("production"))


@pytest.mark.long
def test_with_tell_people_are_told_and_nothing_waits(yard):
    yard.land("ada/tell", TELL, "Settings")
    yard.commit(NOBODY, "Faster", author="Mallory")
    yard.put("v2", "staging")

    yard.rest()

    assert len(rules(yard)) == 1
    assert yard.pull(PROMOTION).state is PullState.MERGED


def test_a_merged_pull_request_on_top_does_not_launder_it(yard):
    yard.commit(NOBODY, "Faster", author="Mallory")
    both = replace(CANARY, approvals=Approvals(needed=0), soak_seconds=5)
    yard.land("ada/soak", {CANARY_FILE: dump_spec("Environment", both)}, "Soak")

    assert "approvals.needed: 1 -> 0" in rules(yard)[0]


def test_a_merged_pull_request_accepts_it_by_its_commit(yard):
    commit = yard.commit(NOBODY, "Faster", author="Mallory")
    accepted = {"modelyard.yaml": dump_spec("Repository", Repository(reviewed_rules=commit))}
    yard.land("ada/accept", accepted, "Accept")
    assert rules(yard) == []

    later = yard.commit(LAX, "Laxer", author="Mallory")

    assert rules(yard)[0].startswith(f"commit {later[:10]}")


def test_a_push_accepts_nothing(yard):
    commit = yard.commit(NOBODY, "Faster", author="Mallory")
    accepted = {"modelyard.yaml": dump_spec("Repository", Repository(reviewed_rules=commit))}
    yard.commit(accepted, "Accept", author="Mallory")

    assert len(rules(yard)) == 2


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    "documents",
    [
        model_named(None, "other"),
        {
            f"models/{MODEL}/heldout/next.yaml": dump_spec(
                "HeldOut", replace(HELD_OUT_SPEC, name="next")
            )
        },
        {CANARY_FILE: dump_spec("Environment", CANARY) + b"# a comment\n"},
        {MODEL_FILE: dump_spec("Model", replace(MODEL_SPEC, description="Words."))},
        {"README.md": b"hello\n"},
    ],
    ids=["a new model", "a new held-out set", "a comment", "a description", "a page"],
)
def test_a_push_that_changes_no_rule_is_nothing_to_name(yard, documents):
    yard.commit(documents, "By hand")

    assert rules(yard) == []


def test_a_comment_that_was_pushed_does_not_blame_the_merge_that_follows(yard):
    yard.commit({CANARY_FILE: dump_spec("Environment", CANARY) + b"# why\n"}, "A comment")
    yard.land("ada/soak", NOBODY, "Approved")

    assert rules(yard) == []


@pytest.mark.long
def test_a_rule_of_another_model_keeps_no_promotion_waiting(yard):
    yard.commit(model_named(yard, "other"), "Another model")
    yard.record("v3", champion="v1")
    yard.land("ada/x", {"models/other/records/v1.yaml": b"- never read\n"}, "It was used")
    lax = replace(MODEL_SPEC, name="other", gate=replace(MODEL_SPEC.gate, margin=0.9))
    yard.commit({"models/other/model.yaml": dump_spec("Model", lax)}, "Laxer", author="Mallory")

    assert world_of(yard).pushed_rules == ()
    assert plan(world_of(yard)) is not None


@pytest.mark.long
@pytest.mark.parametrize("how", ["fast-forwarded", "squashed"])
@pytest.mark.parametrize("is_approved", [True, False])
def test_an_approved_pull_request_that_is_pushed_by_hand_is_reviewed(yard, how, is_approved):
    first = write_commit(
        yard.git,
        yard.main(),
        LAX,
        parents=[yard.main()],
        message="1",
        author="Ada",
        at=yard.clock.at,
    )
    head = write_commit(
        yard.git, first, NOBODY, parents=[first], message="2", author="Ada", at=yard.clock.at
    )
    yard.git.push("origin", {"refs/heads/rules": (None, head)})
    pull = yard.open("rules", "Ada")
    for context in (CHECKS, PROMOTE) if is_approved else (CHECKS,):
        status = Status(context=context, state=StatusState.SUCCESS, description="approved")
        yard.pulls.set_status(pull, status)
    if how == "squashed":
        yard.commit({**LAX, **NOBODY}, "Squashed")
    else:
        yard.git.push("origin", {"refs/heads/main": (yard.main(), head)})

    assert (rules(yard) == []) == is_approved
    run(yard, "pr", "merge", str(pull.number), "--as", "ada")
    assert (rules(yard) == []) == is_approved


@pytest.mark.parametrize("how", ["parents exchanged", "rewritten"])
def test_a_history_that_hides_the_merges_hides_no_rule(yard, how):
    main = yard.main()
    root = yard.git.run("rev-list", "--max-parents=0", main).stdout.decode().strip()
    tree = yard.git.write_tree(main, NOBODY)
    parents = [root, main] if how == "parents exchanged" else [root]
    evil = yard.git.commit_tree(
        tree, parents=parents, message="Tidy", author="Mallory", at=yard.clock.at
    )
    yard.git.push("origin", {"refs/heads/main": (main, evil)})

    assert any("approvals.needed: 1 -> 0" in what for what in rules(yard))


def test_a_yard_without_a_merged_pull_request_is_still_being_set_up(tmp_path):
    from operations.yard import new_yard

    yard = new_yard(tmp_path / "yard", SHORT)
    yard.commit({CANARY_FILE: dump_spec("Environment", replace(CANARY, soak_seconds=9))}, "Setup")
    yard.commit({"environments/production/environment.yaml": dump_spec("Environment", PRODUCTION)})

    assert answer(yard, "status")["pushed_rules"] == []
