"""What every forge promises the tool, played on each of them."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from contract.stages import BOT, HostedStage, LocalStage, github_stage, settled
from modelyard.adapters.forge.hosted.conversation import HostedConversation
from modelyard.domain.people import Person
from modelyard.domain.promotion.approvals import find_approvers, find_makers
from modelyard.domain.promotion.change import Change, Purpose, parse_branch
from modelyard.domain.promotion.pulls import (
    CHECKS,
    PROMOTE,
    Merged,
    PullState,
    Status,
    StatusState,
)
from modelyard.domain.specs.repository import ForgeKind
from modelyard.errors import CannotAnswer, Conflict, Refused

PIN = "environments/dev/releases/m.yaml"


@pytest.fixture(params=["local", "github"])
def stage(request, tmp_path, monkeypatch):
    if request.param == "local":
        return LocalStage.make(tmp_path)
    monkeypatch.setenv("MODELYARD_FORGE_TOKEN", "set by the stage")
    return github_stage(request.getfixturevalue("fake_github"), tmp_path)


def change(text="version: v2\n", **changes):
    made = Change(
        purpose=Purpose.PROMOTE,
        branch="modelyard/promote/dev/m",
        title="Promote m v2 to dev",
        body="It is **better**.\n",
        documents={PIN: text.encode()},
        trailers={"Modelyard-Version": "v2"},
        labels=("v2", "dev"),
    )
    return replace(made, **changes)


def rollback():
    return change(
        purpose=Purpose.ROLLBACK,
        branch="modelyard/rollback/dev/m",
        documents={PIN: None},
    )


def ready(stage, pull, *contexts):
    for context in contexts or (CHECKS, PROMOTE):
        stage.pulls.set_status(
            stage.pulls.get(pull.number),
            Status(context=context, state=StatusState.SUCCESS, description="fine"),
        )


def files_of(stage, commit):
    stage.git.fetch("origin", ["+refs/heads/*:refs/seen/*"])
    return stage.git.read_many([f"{commit}:{PIN}"])[f"{commit}:{PIN}"]


def test_a_proposal_is_open_and_says_what_it_would_change(stage):
    pull = stage.pulls.propose(change())

    (seen,) = stage.again().open()
    assert (seen.number, seen.branch, seen.title, seen.body, seen.state) == (
        pull.number,
        "modelyard/promote/dev/m",
        "Promote m v2 to dev",
        "It is **better**.\n",
        PullState.OPEN,
    )
    assert (str(seen.author), seen.requester, set(seen.labels)) == (BOT, None, {"v2", "dev"})
    assert stage.desk.files(pull.number) == (PIN,)
    assert files_of(stage, seen.head) == b"version: v2\n"
    assert stage.pulls.closed() == ()


def test_the_same_proposal_again_keeps_the_head_and_its_approvals(stage):
    pull = stage.pulls.propose(change())
    stage.review(pull.number, pull.head, "ann")

    settled(stage, pull)

    again = stage.again().propose(change(title="New words", body="New.\n"))

    assert (again.number, again.head, again.title, again.body) == (
        pull.number,
        pull.head,
        "New words",
        "New.\n",
    )
    assert {str(who) for who in find_approvers(again)} == {"ann"}


def test_other_documents_make_a_new_head_that_nobody_approved(stage):
    pull = stage.pulls.propose(change())
    stage.review(pull.number, pull.head, "ann")

    after = stage.pulls.propose(change("version: v3\n"))

    assert (after.number, files_of(stage, after.head)) == (pull.number, b"version: v3\n")
    assert after.head != pull.head
    assert find_approvers(after) == frozenset()


def test_what_main_has_already_is_not_proposed(stage):
    with pytest.raises(Refused, match="nothing to change"):
        stage.pulls.propose(change(documents={"README.md": b"A yard.\n"}))


def test_whoever_asked_cannot_approve_and_is_known_to_another_process(stage):
    pull = stage.pulls.propose(change(), requester=Person.named("ann"))
    stage.review(pull.number, pull.head, "ann")
    stage.review(pull.number, pull.head, "bob")

    seen = settled(stage, pull)

    assert str(seen.requester) == "ann"
    assert {str(who) for who in find_approvers(seen)} == {"bob"}


def test_a_commit_pushed_by_hand_makes_its_author_a_maker(stage):
    pull = stage.pulls.propose(change())
    head = stage.push(pull.branch, {PIN: b"version: v9\n"}, "ann")
    settled(stage, replace(pull, head=head))
    stage.review(pull.number, head, "ann")
    stage.review(pull.number, head, "bob")

    seen = stage.again().get(pull.number)
    assert seen.head == head
    assert "ann" in {str(who) for who in find_makers(seen)}
    assert {str(who) for who in find_approvers(seen)} == {"bob"}


def test_a_review_of_somebody_who_may_only_read_does_not_count(stage):
    if not isinstance(stage, HostedStage):
        pytest.skip("the local forge knows no roles")
    pull = stage.pulls.propose(change())
    stage.review(pull.number, pull.head, "rex")

    assert find_approvers(settled(stage, pull)) == frozenset()


def test_what_was_approved_for_another_base_branch_is_not_approved(stage):
    if not isinstance(stage, HostedStage):
        pytest.skip("all pull requests of the local forge are to main")
    stage.push("release", {"docs/release.md": b"x\n"}, "ann")
    pull = stage.pulls.propose(change())
    settled(stage, pull)
    stage.review(pull.number, pull.head, "ann")
    assert find_approvers(stage.pulls.get(pull.number))
    stage.retarget(pull.number, "release", "bob")
    with pytest.raises(CannotAnswer, match="is for release, not main"):
        stage.again().get(pull.number)
    stage.retarget(pull.number, "main", "bob")

    assert find_approvers(stage.pulls.get(pull.number)) == frozenset()
    # Forges date to the second, so a review in the second of the change may have been before it.
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        stage.review(pull.number, pull.head, "ann")
        if {str(who) for who in find_approvers(stage.again().get(pull.number))} == {"ann"}:
            return
        time.sleep(0.3)
    pytest.fail("a review after the change does not count either")


def test_a_later_objection_takes_an_approval_back(stage):
    pull = stage.pulls.propose(change())
    stage.review(pull.number, pull.head, "ann")
    stage.review(pull.number, pull.head, "ann", approved=False)

    assert find_approvers(settled(stage, pull)) == frozenset()


def test_statuses_are_of_this_head_in_this_pull_request_alone(stage):
    pull = stage.pulls.propose(change())
    ready(stage, pull, CHECKS)
    other = stage.push("sneaky", {"docs/x.md": b"x\n"}, "ann")
    number = stage.open("sneaky", "ann")
    ready(stage, stage.pulls.get(number), CHECKS)

    assert set(stage.again().get(pull.number).statuses) == {CHECKS}
    after = stage.pulls.propose(change("version: v3\n"))
    assert (after.statuses, stage.pulls.get(number).head) == ({}, other)


def test_a_status_that_somebody_else_set_does_not_count(stage):
    pull = stage.pulls.propose(change())
    for context in (CHECKS, PROMOTE):
        stage.set_status(pull.head, context, "ann")

    assert stage.again().get(pull.number).statuses == {}
    with pytest.raises(Refused, match="has not reported"):
        stage.pulls.merge(pull.number, sha=pull.head)


def test_a_merge_brings_the_documents_and_says_who_is_behind_it(stage):
    pull = stage.pulls.propose(rollback(), requester=Person.named("ann"))
    ready(stage, pull)

    answer = stage.pulls.merge(pull.number, sha=pull.head, bypass="restores what was there")

    assert isinstance(answer, Merged)
    stage.git.fetch("origin", ["+refs/heads/*:refs/seen/*"])
    (entry,) = stage.git.log("refs/seen/main", first_parent=True, limit=1)
    assert entry.sha == answer.commit
    assert entry.trailers["Modelyard-Pull"] == str(pull.number)
    assert entry.trailers["Modelyard-Head"] == pull.head
    assert entry.trailers["Modelyard-Requested-By"].startswith("ann")
    (closed,) = stage.again().closed()
    assert (closed.number, closed.state, closed.merged_as) == (
        pull.number,
        PullState.MERGED,
        answer.commit,
    )
    assert stage.pulls.open() == ()
    assert stage.git.ls_remote("origin", [f"refs/heads/{pull.branch}"]) == {}


def test_a_merge_on_the_page_is_told_from_one_that_the_tool_checked(stage):
    if not isinstance(stage, HostedStage):
        pytest.skip("the local forge has no pages")
    theirs = stage.pulls.propose(change())
    stage.merge(theirs.number, theirs.head, "ann")
    ours = stage.pulls.propose(rollback())
    ready(stage, ours)
    stage.pulls.merge(ours.number, sha=ours.head, bypass="restores what was there")

    found = {each.number: each.by_hand for each in stage.again().closed()}

    assert found == {theirs.number: True, ours.number: False}


def test_a_branch_of_a_fork_is_none_of_the_tools(stage):
    if not isinstance(stage, HostedStage):
        pytest.skip("the local forge has no forks")
    reader = stage.pulls.reader
    row = {
        "head": {"ref": change().branch, "repo": {"full_name": "mallory/yard"}},
        "user": {"login": "mallory", "id": 99},
    }

    assert parse_branch(reader.branch(row)) is None
    row["head"]["repo"] = None
    assert parse_branch(reader.branch(row)) is None


def test_a_second_merge_gives_the_same_commit(stage):
    pull = stage.pulls.propose(rollback())
    ready(stage, pull)
    first = stage.pulls.merge(pull.number, sha=pull.head, bypass="once")

    assert stage.again().merge(pull.number, sha=pull.head, bypass="twice") == first


def test_a_head_that_moved_is_not_merged(stage):
    pull = stage.pulls.propose(change())
    ready(stage, pull)
    stage.push(pull.branch, {PIN: b"version: v9\n"}, "ann")

    with pytest.raises(Conflict, match="moved"):
        stage.pulls.merge(pull.number, sha=pull.head)


def test_a_pull_request_that_lacks_a_status_is_not_merged(stage):
    pull = stage.pulls.propose(change())
    ready(stage, pull, CHECKS)

    with pytest.raises(Refused, match="modelyard/promote has not reported"):
        stage.pulls.merge(pull.number, sha=pull.head)


def test_a_closed_one_says_who_closed_it_and_its_branch_is_free(stage):
    pull = stage.pulls.propose(change())

    stage.pulls.close(pull.number, reason="no longer due")

    (closed,) = stage.again().closed()
    assert (closed.state, str(closed.closed_by)) == (PullState.CLOSED, BOT)
    assert "no longer due" in stage.pulls.get(pull.number).comments[-1].body
    assert stage.git.ls_remote("origin", [f"refs/heads/{pull.branch}"]) == {}
    assert stage.pulls.propose(change()).number != pull.number


def test_a_comment_with_a_marker_is_edited_in_place_and_nobody_else_can_take_it(stage):
    pull = stage.pulls.propose(change())
    stage.say(pull.number, "<!-- modelyard: modelyard/rules -->\nforged", "ann")

    for body in ("first", "first", "second"):
        stage.pulls.comment(pull.number, body=body, marker="modelyard/rules")

    found = stage.again().get(pull.number).comments
    mine = [each for each in found if each.marker == "modelyard/rules"]
    assert [(str(each.author), each.body) for each in mine] == [(BOT, "second")]
    assert len(found) == 2


def test_an_unknown_number_is_an_error_that_names_it(stage):
    with pytest.raises(CannotAnswer, match="no pull request 77"):
        stage.pulls.get(77)


def test_people_act_on_the_pages_of_a_hosted_forge(stage):
    if not isinstance(stage, HostedStage):
        pytest.skip("the local forge has no pages")
    pull = stage.pulls.propose(change())

    with pytest.raises(Refused) as refused:
        stage.desk.review(pull.number, sha=pull.head, by="ann", approved=True)

    assert stage.repository.forge_repository in (refused.value.hint or "")


def test_comments_of_the_last_day_are_found_with_their_pull_request(stage):
    if not isinstance(stage, HostedStage):
        pytest.skip("nobody commands by comments on the local forge")
    stage.pulls.propose(change())
    second = stage.pulls.propose(rollback())
    stage.say(second.number, "/why", "ann")
    talk = HostedConversation(pulls=stage.again())

    found = list(talk.recent_comments(datetime.now(tz=UTC) - timedelta(days=1)))

    assert [(number, each.body, str(each.author)) for number, each in found] == [
        (second.number, "/why", "ann")
    ]
    assert found[0][1] == talk.fetch_comment(found[0][1].id)
    assert int(talk.repository_id()) > 0
    assert not list(talk.recent_comments(datetime.now(tz=UTC) + timedelta(days=1)))


def test_what_people_say_changes_the_pulse_and_nothing_else_does(stage, request):
    if isinstance(stage, LocalStage):
        assert stage.pulls.pulse() == ""  # reviews are refs, which wake the watcher
        return
    pull = settled(stage, stage.pulls.propose(change()))
    before = stage.pulls.pulse()
    assert stage.pulls.pulse() == before
    if stage.repository.forge == ForgeKind.GITHUB:
        assert stage.pulls.api.calls["GET 304"] > 0  # which is free
        request.getfixturevalue("fake_github").clock.advance(2)
    else:
        time.sleep(1.1)  # Gitea dates to the second, and has no ETags

    stage.review(pull.number, pull.head, "bob")

    assert stage.pulls.pulse() != before
