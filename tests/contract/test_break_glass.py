"""An admin's word in place of approvals, on each forge that has people with roles."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from contract.test_merged_on_a_page import proposed, pushed, rules
from contract.test_pull_requests import ready
from fakes.github import forbidden
from modelyard.adapters.clock import SystemClock
from modelyard.adapters.facts.store import FactStore
from modelyard.adapters.forge.events import read_comment_event
from modelyard.domain.promotion.pulls import CHECKS, BrokenGlass, PullState
from modelyard.domain.specs.repository import ForgeKind
from modelyard.operations.chatops.answer import act
from modelyard.operations.chatops.conversation import conversation_for
from modelyard.operations.open_workspace import workspace_of
from modelyard.operations.services import services_for

ADMIN = "olga"


@pytest.fixture
def ruled(stage):
    return with_rules(stage)


def with_rules(stage):
    """Production asks for an approval, and the tool has settings that name this forge."""
    number, head = proposed(stage, rules(needed=1))
    stage.merge(number, head, "ann")
    stage.write_settings()
    return stage


def facts_of(stage):
    return FactStore(stage.git, stage.repository, SystemClock())


def commanded(stage, number, body, by, *, first=lambda: None, workspace=None):
    """What became of a comment: each line with its reason code.

    Args:
        stage: The forge.
        number: The pull request.
        body: The comment.
        by: Who writes it.
        first: What happens between the comment and the tool's reading of it.
        workspace: What the tool works with, if not with the checkout of the stage.
    """
    file = stage.write_comment(number, body, by)
    workspace = workspace or workspace_of(services_for(stage.git.root))
    first()
    handled = act(workspace, conversation_for(workspace.services), read_comment_event(file))
    return [(str(each.decision.reason), each.decision.sentence) for each in handled]


def unapproved(stage):
    """A change of rules by ann, whose checks have passed, and that nobody approved."""
    number, head = proposed(stage, rules(needed=0))
    ready(stage, stage.pulls.get(number), CHECKS)
    return number, head


@pytest.mark.long
def test_an_admin_alone_merges_one_commit_without_its_approval_and_people_follow_it_up(ruled):
    number, head = unapproved(ruled)
    refused = commanded(ruled, number, f"/break-glass {head} prod is down", "bob")
    assert [reason for reason, _ in refused] == ["role_too_low"]
    assert facts_of(ruled).read_glass(number) is None

    ((reason, said),) = commanded(ruled, number, f"/break-glass {head} prod is down", ADMIN)

    assert reason == "done", said
    pull = ruled.again().get(number)
    assert (pull.state, pull.head) == (PullState.MERGED, head)
    word = facts_of(ruled).read_glass(number)
    assert (word.sha, word.login, word.reason) == (head, ADMIN, "prod is down")
    issue = ruled.ask("GET", f"/issues/{word.issue}", None, "ann")
    assert (issue["state"], f"#{number}" in issue["title"]) == ("open", True)
    assert "prod is down" in issue["body"]
    assert "1 more approval" in issue["body"]
    assert f"#{word.issue}" in said
    ruled.git.fetch("origin", ["+refs/heads/*:refs/seen/*"])
    trailers = ruled.git.log(pull.merged_as, limit=1)[0].trailers
    assert "prod is down" in trailers["Modelyard-Break-Glass"]
    # The judge of rule changes (decision 0086) has nothing to say.
    assert pushed(ruled) == []


@pytest.mark.long
def test_a_word_for_one_commit_waives_nothing_of_the_next(ruled):
    number, head = unapproved(ruled)
    other = ruled.push("rules", rules(needed=0, approvers=("ann",)), "ann")

    assert (
        commanded(ruled, number, f"/break-glass {head} prod is down", ADMIN)[0][0] == "head_moved"
    )

    write_word(ruled, number, head)
    ruled.set_status(other, "modelyard/checks", "ann")
    ruled.set_status(other, "modelyard/promote", "ann")
    ruled.merge(number, other, "ann")
    assert len(pushed(ruled)) == 1


def test_a_word_counts_too_where_a_person_merges_on_the_page(ruled):
    number, head = proposed(ruled, rules(needed=0))
    write_word(ruled, number, head)

    ruled.merge(number, head, "ann")

    assert pushed(ruled) == []


@pytest.mark.long
def test_a_word_after_the_merge_comes_too_late(ruled):
    number, head = proposed(ruled, rules(needed=0))
    ruled.merge(number, head, "ann")
    write_word(ruled, number, head, later=timedelta(hours=1))

    assert len(pushed(ruled)) == 1


@pytest.mark.long
def test_a_word_of_yesterday_waives_nothing_any_more(ruled):
    number, head = proposed(ruled, rules(needed=0))
    write_word(ruled, number, head, later=timedelta(hours=-24))
    assert ruled.again().get(number).glass is None

    ruled.merge(number, head, "ann")

    assert len(pushed(ruled)) == 1


@pytest.mark.long
def test_an_admin_takes_a_word_back_and_nobody_else_does(ruled):
    number, head = unapproved(ruled)
    write_word(ruled, number, head)

    assert commanded(ruled, number, "/unapprove", "bob")[0][0] == "done"
    assert ruled.again().get(number).glass is not None
    ((reason, said),) = commanded(ruled, number, "/unapprove", ADMIN)
    assert (reason, f"the word of {ADMIN}" in said) == ("done", True)
    assert ruled.again().get(number).glass is None


@pytest.mark.long
def test_a_forge_that_opens_no_issue_merges_nothing(ruled, request):
    if ruled.repository.forge != ForgeKind.GITHUB:
        pytest.skip("only the fake can be told to refuse")
    number, head = unapproved(ruled)
    fake = request.getfixturevalue("fake_github")
    body = f"/break-glass {head} prod is down"

    said = commanded(
        ruled, number, body, ADMIN, first=lambda: fake.queue(forbidden("POST", "/issues"))
    )

    assert said[0][0] == "could_not"
    assert ruled.again().get(number).state is PullState.OPEN
    assert facts_of(ruled).read_glass(number) is None


@pytest.mark.long
def test_a_pull_request_that_lacks_no_approval_needs_no_broken_glass(ruled):
    head = ruled.push("pages", {"docs/page.md": b"x\n"}, "ann")
    number = ruled.open("pages", "ann")
    ready(ruled, ruled.pulls.get(number), CHECKS)
    write_word(ruled, number, "0" * 40)  # of a commit that is not its head any more

    ((reason, said),) = commanded(ruled, number, f"/break-glass {head} prod is down", ADMIN)

    assert (reason, "lacks no approval" in said) == ("refused_by_rules", True)
    assert ruled.again().get(number).state is PullState.OPEN


def write_word(stage, number, head, later=timedelta()):
    facts_of(stage).write_glass(
        number,
        BrokenGlass(
            number=number,
            sha=head,
            login=ADMIN,
            person="1",
            reason="prod is down",
            at=datetime.now(tz=UTC) - timedelta(seconds=1) + later,
            issue=1,
        ),
    )
