from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from modelyard.adapters.forge.events import CommentEvent
from modelyard.adapters.forge.hosted.api import LimitReached
from modelyard.domain.chatops.authority import Authority, Role
from modelyard.domain.chatops.reasons import ReasonCode
from modelyard.domain.chatops.request import Comment
from modelyard.domain.people import Person
from modelyard.domain.promotion.pulls import CHECKS, PullState, Status, StatusState
from modelyard.errors import CannotAnswer
from modelyard.operations.chatops.answer import acknowledge, act, concurrency_group
from modelyard.operations.chatops.conversation import Reaction
from modelyard.operations.chatops.sweep import sweep
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
    limit: str = ""
    number: int = 0

    def fetch_comment(self, comment):
        return self.comments.get(comment)

    def repository_id(self):
        return "42"

    def recent_comments(self, since):
        return [(self.number, each) for each in self.comments.values()]

    def ask_authority(self, person, *, teams):
        if self.is_broken:
            raise CannotAnswer("the forge gave no answer")
        if self.limit:
            raise LimitReached(self.limit)
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


@pytest.mark.long
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


@pytest.mark.long
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


@pytest.mark.long
def test_a_rollback_is_done_from_the_page_of_the_promotion(yard, pull, talk):
    event = said(talk, pull.number, "/rollback dev it answers nonsense")
    before = yard.workspace()
    since = before.git.log(before.main(), limit=1)[0].at
    comment = replace(event.comment, created_at=since, updated_at=since)
    talk.comments["77"] = comment
    event = replace(event, comment=comment)

    handled = act(yard.workspace(), talk, event)

    assert reasons(handled) == [ReasonCode.DONE], handled
    workspace = yard.workspace()
    assert workspace.catalog(workspace.main()).releases["dev", MODEL].version == "v1"

    # Its entry in the log was lost, or another comment asked for the same: v1 is not meant.
    other = replace(event.comment, id="78")
    talk.comments["78"] = other
    again = act(yard.workspace(), talk, replace(event, comment=other))

    assert reasons(again) == [ReasonCode.REFUSED_BY_RULES], again
    workspace = yard.workspace()
    assert workspace.catalog(workspace.main()).releases["dev", MODEL].version == "v1"


@pytest.mark.long
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


@pytest.mark.long
def test_a_refusal_is_logged_once_and_what_was_silent_is_not(yard, pull, talk):
    old = "f" * 40
    workspace = yard.workspace()
    event = said(talk, pull.number, f"/approve {old}\n\n/aprove")

    for step in (acknowledge, act, act):
        step(workspace, talk, event)

    (entry,) = workspace.facts.read_commands(pull.number).entries
    assert (entry.login, entry.line, entry.reason) == ("bob", "/approve", ReasonCode.HEAD_MOVED)
    assert (entry.written_at, entry.head) == (AT, pull.head)

    talk.role = Role.READ
    act(workspace, talk, said(talk, pull.number, "/hold now"))
    assert workspace.facts.read_commands(pull.number).entries == (entry,)


def swept(yard, talk, number) -> list[ReasonCode]:
    talk.number = number
    return [reason for _, handled in sweep(yard.workspace(), talk) for reason in reasons(handled)]


@pytest.mark.long
def test_a_command_whose_job_was_killed_is_done_by_the_sweeper_once(yard, pull, talk):
    event = said(talk, pull.number, "/hold it answers nonsense")
    acknowledge(yard.workspace(), talk, event)
    yard.clock.at = AT + timedelta(minutes=16)

    assert swept(yard, talk, pull.number) == [ReasonCode.DONE]
    assert "v2" in yard.workspace().facts.read_model(MODEL).holds
    assert talk.answers["chatops-77"].startswith("/hold: done")

    assert run(yard, "unhold", MODEL, "v2").code == 0
    assert swept(yard, talk, pull.number) == []
    assert yard.workspace().facts.read_model(MODEL).holds == {}
    # Its own job starts after all.
    assert reasons(act(yard.workspace(), talk, event)) == [ReasonCode.ALREADY_DONE]


@pytest.mark.parametrize("step", [acknowledge, act])
def test_a_command_that_met_the_forge_s_limit_is_done_by_the_sweeper_later(yard, pull, talk, step):
    event = said(talk, pull.number, "/hold it answers nonsense")
    talk.limit = "the forge's limit is reached until 13:00"

    (found,) = step(yard.workspace(), talk, event)

    assert found.decision.reason is ReasonCode.LIMIT_REACHED
    assert talk.limit in found.decision.sentence
    assert "it is tried again within a day" in talk.answers["chatops-77"]
    assert yard.workspace().facts.read_commands(pull.number).entries == ()
    yard.clock.at = AT + timedelta(hours=1)
    assert swept(yard, talk, pull.number) == []  # it is reached still
    talk.limit = ""
    assert swept(yard, talk, pull.number) == [ReasonCode.DONE]
    assert swept(yard, talk, pull.number) == []
    assert "within a day" not in talk.answers["chatops-77"]
    assert yard.workspace().facts.read_model(MODEL).holds["v2"].by == "bob"


@pytest.mark.parametrize("minutes", [0, 14, 24 * 60 + 1, -5])
def test_the_sweeper_leaves_young_and_old_commands_alone(yard, pull, talk, minutes):
    said(talk, pull.number, "/hold it answers nonsense")
    yard.clock.at = AT + timedelta(minutes=minutes)

    assert swept(yard, talk, pull.number) == []


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    ("body", "changes", "found"),
    [
        ("looks good", {}, []),
        ("/aprove", {}, []),
        ("> /hold quoted", {}, []),
        ("/hold edited", {"updated_at": AT + timedelta(minutes=1)}, [ReasonCode.COMMENT_EDITED]),
        ("/hold by a program", {"is_bot": True}, []),
    ],
)
def test_the_sweeper_does_no_more_than_the_job_would(yard, pull, talk, body, changes, found):
    said(talk, pull.number, body)
    talk.comments["77"] = replace(talk.comments["77"], **changes)
    yard.clock.at = AT + timedelta(hours=1)

    assert swept(yard, talk, pull.number) == found
    assert yard.workspace().facts.read_model(MODEL).holds == {}
    assert swept(yard, talk, pull.number) == []


@pytest.mark.parametrize("role", [Role.READ, None])
def test_the_sweeper_does_nothing_for_who_may_not_command(yard, pull, talk, role):
    talk.role = role
    said(talk, pull.number, "/hold it answers nonsense")
    yard.clock.at = AT + timedelta(hours=1)

    assert swept(yard, talk, pull.number) == []
    assert (talk.answers, talk.reactions) == ({}, [])


def test_one_comment_that_cannot_be_acted_on_stops_no_other(yard, pull, talk):
    said(talk, pull.number, "/hold it answers nonsense")
    other = replace(talk.comments["77"], id="78")
    yard.clock.at = AT + timedelta(hours=1)
    talk.recent_comments = lambda since: [(999, talk.comments["77"]), (pull.number, other)]
    talk.comments["78"] = other

    assert swept(yard, talk, pull.number) == [ReasonCode.DONE]


def override_of_v3(yard, talk, person=BOB):
    """What is said below the merged record of a version whose gate cannot tell."""
    yard.add_version("v3")
    yard.reconcile()
    yard.finish("v3", champion="v1", skill=1.05)
    yard.rest()
    record = next(p for p in yard.workspace().services.pulls.closed() if "record/v3" in p.branch)
    assert record.state is PullState.MERGED
    until = yard.clock.now() + timedelta(days=3)
    body = f"/override until {until:%Y-%m-%dT%H:%MZ} the old one is switched off"
    event = said(talk, record.number, body)
    comment = replace(event.comment, author=person)
    talk.comments["77"] = comment
    return replace(event, comment=comment), until


@pytest.mark.long
def test_an_override_below_a_merged_record_is_a_fact(yard, talk):
    event, until = override_of_v3(yard, talk)

    handled = act(yard.workspace(), talk, event)

    assert reasons(handled) == [ReasonCode.DONE], handled
    override = yard.workspace().facts.read_model(MODEL).overrides["v3"]
    assert (override.by, override.champion) == ("bob", "v1")
    assert abs(override.until - until) < timedelta(minutes=1)


@pytest.mark.long
def test_an_override_needs_an_approver_of_every_environment_ahead(yard, talk):
    event, _ = override_of_v3(yard, talk, Person(login="eve", id="9"))

    handled = act(yard.workspace(), talk, event)

    assert reasons(handled) == [ReasonCode.NOT_AN_APPROVER]
    assert yard.workspace().facts.read_model(MODEL).overrides == {}
