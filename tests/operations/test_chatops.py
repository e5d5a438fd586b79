from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from modelyard.adapters.forge.events import CommentEvent
from modelyard.domain.chatops.authority import Authority, Role
from modelyard.domain.chatops.reasons import ReasonCode
from modelyard.domain.chatops.request import Comment
from modelyard.domain.people import Person
from modelyard.domain.promotion.pulls import CHECKS, Status, StatusState
from modelyard.errors import CannotAnswer
from modelyard.operations.chatops.answer import acknowledge, act, concurrency_group
from modelyard.operations.chatops.conversation import Reaction
from operations.yard import AT, MODEL
from operations.yard_with_history import in_production, recorded, run, watched

BOB = Person(login="bob", id="2")


@dataclass
class Talk:
    """An in-memory `Conversation`."""

    role: Role | None = Role.WRITE
    comments: dict[str, Comment] = field(default_factory=dict)
    reactions: list[tuple[str, Reaction]] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)
    reviews: list[tuple[int, str, str, bool]] = field(default_factory=list)
    is_broken: bool = False

    def fetch_comment(self, comment):
        return self.comments.get(comment)

    def ask_authority(self, person, *, teams):
        if self.is_broken:
            raise CannotAnswer("the forge gave no answer")
        return Authority(role=self.role, teams=frozenset())

    def react(self, comment, reaction):
        if self.is_broken:
            raise CannotAnswer("the forge gave no answer")
        self.reactions.append((comment, reaction))

    def answer(self, number, *, body, marker):
        if self.is_broken:
            raise CannotAnswer("the forge gave no answer")
        self.answers[marker] = body

    def review(self, number, *, sha, by, approved):
        self.reviews.append((number, sha, by.login, approved))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """v1 everywhere; v2 verified in dev, with an open pull request to staging."""
    yard = in_production(tmp_path_factory.mktemp("chatops") / "yard")
    recorded(yard, "v2", 5, champion="v1")
    watched(yard, "dev", verified=True)
    assert run(yard, "promote", "staging", MODEL, "--as", "ann").code == 0
    return yard


@pytest.fixture
def yard(made, tmp_path):
    return made.copy(tmp_path / "yard")


@pytest.fixture
def pull(yard):
    found = yard.pull(f"modelyard/promote/staging/{MODEL}")
    passed = Status(context=CHECKS, state=StatusState.SUCCESS, description="fine")
    yard.workspace().services.pulls.set_status(found, passed)
    return found


@pytest.fixture
def talk():
    return Talk()


def said(talk: Talk, number: int, body: str, **changes) -> CommentEvent:
    """The event of a new comment, which the forge has too."""
    comment = Comment(
        id="77", author=BOB, is_bot=False, body=body, created_at=AT, updated_at=AT, **changes
    )
    talk.comments["77"] = comment
    return CommentEvent(repository="42", number=number, comment=comment)


def reasons(handled) -> list[ReasonCode]:
    return [each.decision.reason for each in handled]


def test_a_hold_is_acknowledged_then_done_once_and_logged(yard, pull, talk):
    event = said(talk, pull.number, "Not good.\n\n/hold it answers nonsense")
    workspace = yard.workspace()

    first = acknowledge(workspace, talk, event)
    assert (reasons(first), concurrency_group(first)) == ([ReasonCode.ACCEPTED], "staging")
    assert workspace.facts.read_model(MODEL).holds == {}
    assert talk.answers == {}

    assert reasons(act(workspace, talk, event)) == [ReasonCode.DONE]

    hold = workspace.facts.read_model(MODEL).holds["v2"]
    assert (hold.by, hold.reason) == ("bob", "it answers nonsense")
    assert talk.reactions == [("77", Reaction.SEEN), ("77", Reaction.DONE)]
    assert talk.answers == {
        "chatops-77": f"/hold: done\n\n- {MODEL} v2 is on hold: it answers nonsense\n"
    }
    (entry,) = workspace.facts.read_commands(pull.number).entries
    assert (entry.login, entry.person, entry.head) == ("bob", "2", pull.head)
    assert entry.reason is ReasonCode.DONE

    # The same event again, after somebody lifted the hold.
    assert run(yard, "unhold", MODEL, "v2").code == 0
    assert reasons(act(workspace, talk, event)) == [ReasonCode.ALREADY_DONE]
    assert workspace.facts.read_model(MODEL).holds == {}


def test_several_commands_are_done_in_order_and_answered_together(yard, pull, talk):
    end = (AT + timedelta(days=2)).isoformat()
    body = f"/freeze staging until {end} audit\n/why\n/aprove\n/unfreeze staging\n/plan"
    workspace = yard.workspace()

    handled = act(workspace, talk, said(talk, pull.number, body))

    done = ReasonCode.DONE
    assert reasons(handled) == [done, done, ReasonCode.UNKNOWN_COMMAND, done, done]
    answer = talk.answers["chatops-77"]
    assert f"staging is frozen by bob until {end}: audit; paste: /unfreeze staging" in answer
    assert "did you mean /approve?" in answer
    assert f"```\n/approve {pull.head}\n```" in answer
    assert workspace.facts.read_freeze("staging") is None
    assert talk.reactions == [("77", Reaction.REFUSED)]


def test_an_approval_of_the_head_is_recorded_for_the_person(yard, pull, talk):
    event = said(talk, pull.number, f"/approve {pull.head}")

    assert reasons(act(yard.workspace(), talk, event)) == [ReasonCode.DONE]

    assert talk.reviews == [(pull.number, pull.head, "bob", True)]


def test_the_person_who_asked_for_a_promotion_does_not_approve_it(yard, pull, talk):
    event = said(talk, pull.number, f"/approve {pull.head}")
    event = replace(event, comment=replace(event.comment, author=Person.named("ann")))
    talk.comments["77"] = event.comment

    assert reasons(act(yard.workspace(), talk, event)) == [ReasonCode.OWN_PULL_REQUEST]

    assert talk.reviews == []
    assert "ann asked for it" in talk.answers["chatops-77"]


def test_an_approval_of_another_commit_is_answered_with_the_line_to_paste(yard, pull, talk):
    event = said(talk, pull.number, f"/approve {'0' * 40}")

    handled = acknowledge(yard.workspace(), talk, event)

    assert (reasons(handled), concurrency_group(handled)) == ([ReasonCode.HEAD_MOVED], "")
    assert talk.reactions == [("77", Reaction.REFUSED)]
    assert f"```\n/approve {pull.head}\n```" in talk.answers["chatops-77"]


def test_a_rollback_is_done_from_the_page_of_the_promotion(yard, pull, talk):
    event = said(talk, pull.number, "/rollback dev it answers nonsense")

    handled = act(yard.workspace(), talk, event)

    assert reasons(handled) == [ReasonCode.DONE], handled
    workspace = yard.workspace()
    assert workspace.catalog(workspace.main()).releases["dev", MODEL].version == "v1"


def test_what_the_rules_refuse_is_answered_and_may_be_tried_again(yard, pull, talk):
    event = said(talk, pull.number, "/unhold")
    workspace = yard.workspace()

    assert reasons(act(workspace, talk, event)) == [ReasonCode.REFUSED_BY_RULES]
    assert f"{MODEL} v2 is not on hold" in talk.answers["chatops-77"]
    assert run(yard, "hold", MODEL, "v2", "--reason", "bad").code == 0

    assert reasons(act(workspace, talk, event)) == [ReasonCode.DONE]


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("role", "body"),
    [
        (Role.READ, "/hold it answers nonsense"),
        (Role.READ, "/aprove"),
        (Role.NONE, "/hold x\u200b y"),
        (Role.WRITE, "`/hold it answers nonsense`"),
        (Role.WRITE, "$(touch /tmp/x) `id` && /hold it answers nonsense"),
    ],
)
def test_a_reader_s_comment_and_one_without_a_command_do_nothing(yard, pull, talk, role, body):
    talk.role = role
    event, workspace = said(talk, pull.number, body), yard.workspace()
    before = yard.git.ls_remote("origin", ["refs/*"])

    assert not concurrency_group(acknowledge(workspace, talk, event))
    act(workspace, talk, event)

    assert (talk.reactions, talk.answers) == ([], {})
    assert yard.git.ls_remote("origin", ["refs/*"]) == before


def test_an_edited_comment_does_nothing_and_says_so(yard, pull, talk):
    event = said(talk, pull.number, "/hold it answers nonsense")
    talk.comments["77"] = replace(event.comment, body="/rollback production")

    assert reasons(act(yard.workspace(), talk, event)) == [ReasonCode.COMMENT_EDITED]
    assert "write the command as a new comment" in talk.answers["chatops-77"]


def test_a_forge_that_does_not_answer_allows_nothing(yard, pull, talk):
    talk.is_broken = True
    workspace = yard.workspace()

    handled = act(workspace, talk, said(talk, pull.number, "/hold it answers nonsense"))

    assert reasons(handled) == [ReasonCode.ROLE_UNKNOWN]
    assert workspace.facts.read_model(MODEL).holds == {}


def test_a_reason_cannot_act_on_the_page_of_the_answer(yard, pull, talk):
    act(yard.workspace(), talk, said(talk, pull.number, "/hold @all see # | `z ::error"))

    # A single ` opens no code, so the line is plain text, and a command.
    answer = talk.answers["chatops-77"]
    assert "on hold: @\u200ball see # \\| \\`z ::error" in answer
