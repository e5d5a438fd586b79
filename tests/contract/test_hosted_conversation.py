"""Comments of a hosted forge: who wrote them, what they may do, and what their commands leave."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from contract.stages import BOT, START
from contract.test_pull_requests import change, ready, rollback
from modelyard.adapters.clock import SystemClock
from modelyard.adapters.facts.store import FactStore
from modelyard.adapters.forge.events import read_comment_event
from modelyard.adapters.forge.hosted.conversation import HostedConversation
from modelyard.domain.chatops.authority import Role
from modelyard.domain.people import Person
from modelyard.domain.promotion.approvals import find_approvers
from modelyard.domain.promotion.pulls import Merged
from modelyard.errors import Conflict, Refused
from modelyard.operations.chatops.answer import acknowledge, act
from modelyard.operations.open_workspace import workspace_of
from modelyard.operations.services import services_for


@pytest.fixture
def talk(stage):
    return HostedConversation(pulls=stage.pulls)


def account(stage, login):
    return stage.pulls.dialect.person(login)


@pytest.mark.parametrize(
    ("login", "role"), [("ann", Role.WRITE), ("rex", Role.READ), (BOT, Role.ADMIN)]
)
def test_the_forge_says_what_a_person_may_do(stage, talk, login, role):
    assert talk.ask_authority(account(stage, login), teams=()).role is role


def test_a_login_that_is_somebody_elses_by_now_may_do_nothing(talk):
    renamed = Person(login="ann", id="999999")

    assert talk.ask_authority(renamed, teams=()).role is None


def test_only_active_members_are_in_a_team(stage, talk, fake_github):
    fake_github.add_team("leads", "ann", pending=("bob",))
    teams = ("acme/leads", "acme/nobody")

    found = [talk.ask_authority(account(stage, who), teams=teams) for who in ("ann", "bob")]

    assert [each.teams for each in found] == [frozenset({"acme/leads"}), frozenset()]
    assert {each.unknown_teams for each in found} == {frozenset({"acme/nobody"})}


def test_a_comment_that_was_deleted_is_gone(talk):
    assert talk.fetch_comment("424242") is None


@pytest.fixture
def yard(stage):
    """The tool in its checkout, with settings that name this forge."""
    settings = START["modelyard.yaml"] + (
        f"forge: github\nforge_uri: {stage.api}\nforge_repository: acme/yard\n"
    )
    (stage.git.root / "modelyard.yaml").write_text(settings)
    return workspace_of(services_for(stage.git.root))


def answered(yard, file, step=act):
    event = read_comment_event(file)
    talk = HostedConversation(pulls=yard.services.pulls)
    return [(each.line, str(each.decision.reason)) for each in step(yard, talk, event)]


@pytest.mark.long
def test_an_approval_by_comment_counts_once_and_is_kept_where_nobody_can_edit_it(stage, yard):
    pull = stage.pulls.propose(change())
    ready(stage, pull)
    file = stage.write_comment(pull.number, f"/approve {pull.head}", "ann")

    assert answered(yard, file, acknowledge) == [("/approve", "accepted")]
    assert answered(yard, file) == [("/approve", "done")]
    assert answered(yard, file) != [("/approve", "done")]

    assert {str(who) for who in find_approvers(stage.again().get(pull.number))} == {"ann"}
    log = FactStore(stage.git, stage.repository, SystemClock()).read_commands(pull.number)
    assert [(entry.login, entry.head) for entry in log.entries if str(entry.reason) == "done"] == [
        ("ann", pull.head)
    ]


@pytest.mark.long
@pytest.mark.parametrize(
    ("by", "body"),
    [("rex", "/approve {head}"), ("ann", "/approve {short}"), ("ann", "> /approve {head}")],
)
def test_what_is_no_approval_leaves_none(stage, yard, by, body):
    pull = stage.pulls.propose(change())
    ready(stage, pull)
    text = body.format(head=pull.head, short=pull.head[:10])

    answered(yard, stage.write_comment(pull.number, text, by))

    assert find_approvers(stage.again().get(pull.number)) == frozenset()


@pytest.mark.long
def test_a_comment_that_was_edited_within_its_second_does_nothing(stage, yard):
    pull = stage.pulls.propose(change())
    ready(stage, pull)
    file = stage.write_comment(pull.number, f"/approve {pull.head}", "ann")
    number = json.loads(file.read_text())["comment"]["id"]
    stage.ask("PATCH", f"/issues/comments/{number}", {"body": "never mind"}, "ann")

    assert answered(yard, file) == [("/approve", "comment_edited")]
    assert find_approvers(stage.again().get(pull.number)) == frozenset()


@pytest.mark.long
def test_a_command_below_a_pull_request_to_another_branch_is_answered_and_does_nothing(stage, yard):
    pull = stage.pulls.propose(change())
    ready(stage, pull)
    stage.push("release", {"docs/release.md": b"x\n"}, "ann")
    stage.retarget(pull.number, "release", "bob")

    file = stage.write_comment(pull.number, f"/approve {pull.head}", "ann")

    assert answered(yard, file) == [("/approve", "other_base")]
    log = FactStore(stage.git, stage.repository, SystemClock()).read_commands(pull.number)
    (entry,) = log.entries
    assert str(entry.reason) == "other_base"
    stage.retarget(pull.number, "main", "bob")
    assert find_approvers(stage.pulls.get(pull.number)) == frozenset()
    assert "other_base" in stage.pulls.get(pull.number).comments[-1].body
    assert answered(yard, stage.write_comment(pull.number, "/why", "rex")) == [
        ("/why", "role_too_low")
    ]


@pytest.mark.long
@pytest.mark.parametrize("late", [False, True])
def test_an_approval_of_before_the_base_branch_was_changed_approves_nothing(
    stage, yard, fake_github, late
):
    pull = stage.pulls.propose(change())
    ready(stage, pull)
    file = stage.write_comment(pull.number, f"/approve {pull.head}", "ann")
    if not late:
        assert answered(yard, file) == [("/approve", "done")]
    stage.push("release", {"docs/release.md": b"x\n"}, "ann")
    fake_github.clock.advance(5)
    stage.retarget(pull.number, "release", "bob")
    stage.retarget(pull.number, "main", "bob")

    # Also where the job that does it waits until after the change.
    if late:
        assert answered(yard, file) == [("/approve", "base_changed")]
    assert find_approvers(stage.again().get(pull.number)) == frozenset()


@pytest.mark.long
def test_what_is_in_a_stack_is_not_approved_and_not_merged(stage, yard, fake_github):
    pull = stage.pulls.propose(change())
    ready(stage, pull)
    main = {"ref": "main", "sha": pull.base}
    fake_github.repository.pulls[pull.number].stack = {"base": main, "size": 2, "position": 2}

    file = stage.write_comment(pull.number, f"/approve {pull.head}", "ann")

    assert answered(yard, file) == [("/approve", "stacked")]
    with pytest.raises(Refused, match="its merge would merge others too"):
        stage.pulls.merge(pull.number, sha=pull.head)


@pytest.mark.long
def test_a_rollback_in_a_stack_gets_out_by_another_pull_request(stage, fake_github):
    pull = stage.pulls.propose(rollback())
    ready(stage, pull)
    main = {"ref": "main", "sha": pull.base}
    fake_github.repository.pulls[pull.number].stack = {"base": main, "size": 2, "position": 2}

    with pytest.raises(Conflict, match="is closed: it is in a stack"):
        stage.pulls.merge(pull.number, sha=pull.head, bypass="it is bad")

    again = stage.again().propose(rollback())
    assert again.number != pull.number
    ready(stage, again)
    assert isinstance(stage.pulls.merge(again.number, sha=again.head, bypass="it is bad"), Merged)


def test_a_comment_whose_author_is_gone_keeps_no_other_from_its_answer(stage, monkeypatch):
    number = stage.pulls.propose(change()).number
    stage.say(number, "/why", "ann")
    talk, pages = HostedConversation(pulls=stage.pulls), stage.pulls.api.pages

    def with_ghost(path, **query):
        (row,) = pages(path, **query)
        return [{**row, "user": None}, row]

    monkeypatch.setattr(stage.pulls.api, "pages", with_ghost)
    ((found, comment),) = talk.recent_comments(datetime.now(tz=UTC) - timedelta(days=1))
    assert (found, comment.body) == (number, "/why")
