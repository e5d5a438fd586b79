"""Whatever a person pushes, opens or writes into the forge, nothing enters past its approvals."""

from __future__ import annotations

import json

import pytest

from attacks.pull_requests import OLD_WORDS, forged, judged, pin_of, refused_merge
from git_commits import write_commit
from modelyard.adapters.forge.local.snapshot import STATUSES
from modelyard.adapters.specs.documents import dump_spec
from modelyard.domain.promotion.pulls import CHECKS, PROMOTE, PullState, Status, StatusState
from modelyard.domain.specs.repository import Repository
from modelyard.errors import Refused
from modelyard.operations.reconcile.changes import new_release, release_documents
from operations.yard import (
    AT,
    BOT,
    MODEL,
    release_file,
    spec,
    spec_file,
)
from operations.yard_with_history import world_of

# A word said of one pull request


def pushed_again(yard, commit, branch):
    """The same commit on another branch, with its pull request."""
    before = yard.refs().get(f"refs/heads/{branch}")
    yard.git.push("origin", {f"refs/heads/{branch}": (before, commit)})
    return yard.open(branch, "Mallory")


@pytest.mark.long
@pytest.mark.parametrize(
    "second",
    [
        f"modelyard/retrain/{MODEL}",
        f"modelyard/promote/production/{MODEL}",
        f"modelyard/rollback/production/{MODEL}",
        f"modelyard/record/v2/{MODEL}",
        f"modelyard/spec/v2/{MODEL}",
        "modelyard/retrain/nobody",
        "also-sneaky",
    ],
)
def test_a_word_said_of_one_branch_does_not_open_another_with_the_same_commit(yard, second):
    first = yard.branch("sneaky", pin_of(yard, "v2"))
    judged(yard)
    yard.pulls.close(first.number, by="Mallory", reason="never mind")

    again = pushed_again(yard, first.head, second)
    assert yard.pulls.get(again.number).statuses == {}
    judged(yard)

    found = yard.pulls.get(again.number)
    said = {context: status.state for context, status in found.statuses.items()}
    assert found.state is PullState.CLOSED or StatusState.FAILURE in said.values()
    assert PROMOTE not in said or said[PROMOTE] is StatusState.FAILURE
    refused_merge(yard, found)
    assert yard.names()["production"] == "v1"


@pytest.mark.long
def test_a_word_said_of_a_branch_of_the_tools_does_not_open_a_plain_one(yard):
    """The other way round: what was said of the bot's own promotion."""
    yard.put("v2", "staging")
    yard.reconcile()
    pull = yard.pull(f"modelyard/promote/canary/{MODEL}")
    judged(yard)
    forged(yard, yard.pulls.get(pull.number))

    plain = pushed_again(yard, pull.head, "plain")

    assert plain.statuses == {}
    assert "modelyard/checks has not reported" in refused_merge(yard, plain)


def test_a_word_said_for_another_base_does_not_count(yard):
    pull = yard.branch("words", {"README.md": b"words\n"})
    workspace = yard.workspace()
    elsewhere = type(yard.pulls)(yard.git, Repository(main="trunk"), workspace.services.clock)
    for context in (CHECKS, PROMOTE):
        success = Status(context=context, state=StatusState.SUCCESS, description="for trunk")
        elsewhere.set_status(pull, success)

    assert yard.pulls.get(pull.number).statuses == {}
    assert "has not reported" in refused_merge(yard, pull)


@pytest.mark.long
def test_statuses_of_version_0_1_have_not_reported_and_are_set_again(yard):
    """They name a commit alone."""
    pull = yard.branch("words", {"README.md": b"words\n"})
    old = {
        context: {"context": context, "state": "success", "description": OLD_WORDS}
        for context in (CHECKS, PROMOTE)
    }
    tree = yard.git.write_tree(None, {"document.json": json.dumps(old).encode()})
    commit = yard.git.commit_tree(tree, parents=[], message="Old", author=BOT, at=AT)
    yard.git.push("origin", {STATUSES + pull.head: (None, commit)})

    assert yard.pulls.unreadable() == ()
    assert "has not reported" in refused_merge(yard, pull)
    judged(yard)
    yard.pulls.merge(pull.number, sha=pull.head, by="ada")

    assert yard.pulls.get(pull.number).state is PullState.MERGED


# Forged statuses


def test_forged_statuses_do_not_merge_a_release_from_a_plain_branch(yard):
    pull = yard.branch("plain", pin_of(yard, "v2"))
    forged(yard, pull)

    assert "only the tool writes environments/production/" in refused_merge(yard, pull)


@pytest.mark.sample(2)
@pytest.mark.parametrize("purpose", ["retrain", "spec/v2", "record/v2", "promote/canary"])
def test_forged_statuses_do_not_merge_a_stray_release_from_a_branch_of_the_tools(yard, purpose):
    pull = yard.branch(f"modelyard/{purpose}/{MODEL}", pin_of(yard, "v2"), author=BOT)
    forged(yard, pull)

    said = refused_merge(yard, pull)

    assert f"{pull.branch} may not change " in said


def test_forged_statuses_do_not_merge_a_promotion_without_its_approvals(yard):
    yard.put("v2", "staging")
    yard.reconcile()
    pull = yard.pull(f"modelyard/promote/canary/{MODEL}")
    forged(yard, pull)

    assert "1 more approval of" in refused_merge(yard, pull)
    assert yard.names()["canary"] == "v1"


@pytest.mark.long
def test_forged_statuses_do_not_merge_a_persons_pull_request_from_a_branch_of_the_tools(yard):
    pull = yard.branch(f"modelyard/promote/canary/{MODEL}", pin_of(yard, "v2", "canary"))
    yard.pulls.review(pull.number, sha=pull.head, by="ada", approved=True)
    forged(yard, pull)

    assert f"only the tool opens pull requests from {pull.branch}" in refused_merge(yard, pull)


def test_a_rollback_that_restores_nothing_is_no_way_in(yard):
    """A rollback needs no approval, so it brings back only what was there before."""
    pull = yard.branch(f"modelyard/rollback/production/{MODEL}", pin_of(yard, "v2"), author=BOT)
    forged(yard, pull)

    assert "restores no release that production had" in refused_merge(yard, pull)


@pytest.mark.long
def test_a_rollback_with_other_manifests_than_the_release_had_is_no_way_in(yard):
    yard.put("v2", "production")
    world = world_of(yard)
    back = new_release(world, "production", world.record("v1"), server_image="image:1")
    documents = release_documents(world, back)
    changed = next(path for path, text in documents.items() if "/manifests/" in path and text)
    documents[changed] = b"kind: Pod\n"
    pull = yard.branch(f"modelyard/rollback/production/{MODEL}", documents, author=BOT)
    forged(yard, pull)

    assert "restores no release that production had" in refused_merge(yard, pull)


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("branch", "path"),
    [
        (f"modelyard/retrain/{MODEL}", f"models/{MODEL}/model.yaml"),
        (f"modelyard/retrain/{MODEL}", f"models/{MODEL}/trainer/train.py"),
        (f"modelyard/promote/production/{MODEL}", "environments/production/environment.yaml"),
        (
            "modelyard/promote/platform/workflows",
            "environments/platform/manifests/workflows/a.yaml",
        ),
        (f"modelyard/record/v2/{MODEL}", "modelyard.yaml"),
    ],
)
def test_no_branch_of_the_tools_carries_a_rule_or_code(yard, branch, path):
    """Nobody reads it there: its page says that a version or a release is proposed."""
    pull = yard.branch(branch, {path: b"x: 1\n"}, author=BOT)
    forged(yard, pull)

    assert f"{branch} may not change {path}" in refused_merge(yard, pull)


# Opening


def test_people_cannot_open_pull_requests_from_branches_of_the_tools(yard):
    branch = f"modelyard/promote/production/{MODEL}"
    main = yard.main()
    head = write_commit(
        yard.git, main, pin_of(yard, "v2"), parents=[main], message="x", author="Mallory", at=AT
    )
    yard.git.push("origin", {f"refs/heads/{branch}": (None, head)})

    for author in ("Mallory", BOT):
        with pytest.raises(Refused, match="only the tool opens pull requests from") as caught:
            yard.pulls.open_branch(branch, title="x", body="", author=author)
    assert caught.value.hint == f"modelyard promote production {MODEL} VERSION"


@pytest.mark.long
def test_one_that_appears_anyway_is_closed_with_a_reason_and_its_commits_stay(yard):
    pull = yard.branch(f"modelyard/promote/canary/{MODEL}", pin_of(yard, "v2", "canary"))

    yard.reconcile()

    closed = yard.pulls.get(pull.number)
    assert (closed.state, str(closed.closed_by)) == (PullState.CLOSED, BOT)
    assert "only the tool opens pull requests from" in closed.comments[-1].body
    assert f"refs/heads/{pull.branch}" not in yard.refs()
    assert yard.git.read_file(closed.head, release_file("canary"))


@pytest.mark.long
def test_a_promotion_is_not_built_on_the_pull_request_that_a_person_put_there(yard):
    """Its approvals were given to something else."""
    pull = yard.branch(f"modelyard/promote/canary/{MODEL}", pin_of(yard, "v2", "canary"))
    yard.pulls.review(pull.number, sha=pull.head, by="ada", approved=True)
    yard.put("v2", "staging")

    yard.rest()

    ours = yard.pull(pull.branch)
    assert ours.number > pull.number
    assert (str(ours.author), ours.reviews) == (BOT, ())
    assert yard.names()["canary"] == "v1"


@pytest.mark.long
def test_a_version_that_a_person_adds_on_their_own_branch_is_nobodys_release(yard):
    """What is allowed stays allowed."""
    pull = yard.branch("v3", {spec_file("v3"): dump_spec("ModelVersion", spec("v3"))})
    judged(yard)
    yard.pulls.merge(pull.number, sha=pull.head, by="Mallory")

    assert yard.names()["production"] == "v1"
