from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner

from fakes.github import forbidden
from modelyard.adapters.forge.comments import read_comment
from modelyard.cli import cli
from modelyard.domain.chatops.commands import Approve, Unfreeze, Unhold
from modelyard.domain.people import Person
from modelyard.domain.promotion.facts import Freeze
from modelyard.domain.promotion.promote import Missing
from modelyard.domain.promotion.pulls import (
    CHECKS,
    STATUS_COMMENT,
    PullRequest,
    PullState,
    Status,
    StatusState,
)
from modelyard.errors import YardError
from modelyard.operations.forge.status_comment import keep_outcomes, status_page
from modelyard.operations.forge.waiting import command_or_page
from modelyard.operations.status.report import status_report
from modelyard.operations.status.worlds import collect_worlds
from operations.hosted_yard import yard_on_github
from operations.yard import MODEL, SHORT, new_yard

CANARY = f"modelyard/promote/canary/{MODEL}"
HEAD = "1" * 40
PASSED = Status(context=CHECKS, state=StatusState.SUCCESS, description="")


def pull(*, statuses: tuple[Status, ...] = (PASSED,)) -> PullRequest:
    return PullRequest(
        number=3,
        branch=CANARY,
        title="Promote",
        body="",
        author=Person.named("yard-bot"),
        base="0" * 40,
        head=HEAD,
        state=PullState.OPEN,
        opened_at=datetime(2026, 3, 1, tzinfo=UTC),
        statuses={each.context: each for each in statuses},
    )


def pasted(page: str) -> list[str]:
    """What the page has in blocks of code, line by line."""
    return [line for at, part in enumerate(page.split("```")) if at % 2 for line in part.split()]


@pytest.mark.parametrize(
    ("command", "meant"),
    [
        ("modelyard pr approve 3", Approve(sha=HEAD)),
        ("modelyard unhold m v2", Unhold()),
        ("modelyard unfreeze canary", Unfreeze(environment="canary")),
    ],
)
def test_the_line_to_paste_is_a_command_as_it_stands(command, meant):
    page = status_page(pull(), [Missing(what="something", command=command)])

    (line,) = [part.strip() for at, part in enumerate(page.split("```")) if at % 2]
    assert read_comment(line).found == (meant,)


def test_the_comment_itself_holds_no_command():
    waiting = [
        Missing(what="x", command=f"modelyard {each}") for each in ("pr approve 3", "unhold m v1")
    ]

    assert read_comment(status_page(pull(), waiting)).found == ()


def test_no_line_to_approve_is_shown_before_the_checks_have_passed():
    waiting = [Missing(what="an approval", command="modelyard pr approve 3")]

    page = status_page(pull(statuses=()), waiting)

    assert HEAD not in page
    assert f"once `{CHECKS}` has passed" in page


def test_what_people_wrote_is_text_and_no_markdown():
    what = "v2 is on hold by @ann: <!-- | [x](http://y) `a`"

    page = status_page(pull(), [Missing(what=what, blocks=True, command="modelyard doctor")])

    row = next(line for line in page.splitlines() if "on hold" in line)
    assert "@\u200bann" in row
    assert "&lt;!--" in row
    assert row.count(" | ") == 1


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("modelyard pr approve 3", f"review it on https://f/3, or comment there: /approve {HEAD}"),
        ("modelyard pr merge 3", "merge it on https://f/3"),
        ("modelyard pr show 3", "modelyard pr show 3"),
    ],
)
def test_a_forge_with_pages_is_where_status_sends_people(command, said):
    assert command_or_page(command, pull(), "https://f/3") == said


@pytest.fixture
def stage(fake_github, tmp_path, monkeypatch):
    monkeypatch.setenv("MODELYARD_FORGE_TOKEN", "set by the yard")
    local = new_yard(tmp_path / "yard", SHORT)
    local.add_version("v1")
    return yard_on_github(local, fake_github, tmp_path)


def comments_of(stage, number):
    return [
        each.body
        for each in stage.people.again().get(number).comments
        if each.marker == STATUS_COMMENT
    ]


def writes(fake):
    return [each for each in fake.log if each.method in {"POST", "PATCH", "PUT", "DELETE"}]


@pytest.mark.long
def test_one_comment_says_who_can_move_a_promotion_and_costs_nothing_while_nothing_changes(stage):
    yard, fake = stage.yard, stage.fake
    yard.rest()
    yard.finish("v1")
    yard.rest()
    promotion = stage.pull(CANARY)
    (told,) = status_report(collect_worlds(yard.workspace(), with_registry=False))["pulls"]
    assert told["next"].endswith(f"or comment there: /approve {promotion.head}")

    (page,) = comments_of(stage, promotion.number)
    assert f"/approve {promotion.head}" in page
    assert "1 more approval of" in page
    assert "an approver: a review, or the line below" in page

    before, asked = len(writes(fake)), fake.calls("GET", "/comments")
    workspace = yard.workspace()
    yard.reconcile()
    assert writes(fake)[before:] == []
    assert fake.calls("GET", "/comments") - asked <= 2  # those of reading the pull request itself

    smell = Freeze(reason="a bad smell", by="ann", since=yard.clock.now())
    workspace.facts.update_freeze("canary", lambda _: smell)
    before = len(writes(fake))
    yard.reconcile()
    (page,) = comments_of(stage, promotion.number)
    assert "**This pull request is blocked.**" in page
    assert "a bad smell" in page
    assert "```\n/unfreeze canary\n```" in page
    edits = [each for each in writes(fake)[before:] if "/comments" in each.path]
    assert [each.method for each in edits] == ["PATCH"]

    # One that somebody deleted, or edited, comes back; one that the forge refuses stops nothing.
    workspace.facts.update_freeze("canary", lambda _: None)
    fake.queue(forbidden("PATCH", "/issues/comments/"))
    yard.reconcile()
    assert "/unfreeze canary" in comments_of(stage, promotion.number)[0]
    stage.people.review(promotion.number, promotion.head, "ann")
    yard.rest()

    merged = stage.people.again().get(promotion.number)
    assert merged.state is PullState.MERGED
    (page,) = comments_of(stage, promotion.number)
    assert page.startswith(
        f"**Merged by {merged.closed_by} at {merged.closed_at:%Y-%m-%d %H:%M} UTC"
    )
    assert f"as {merged.merged_as}: Promote m v1 to canary." in page
    assert page.strip().endswith("`modelyard history m` shows what came of it.")
    before = len(writes(fake))
    yard.rest()
    assert [each for each in writes(fake)[before:] if "/comments" in each.path] == []


@pytest.mark.long
def test_a_persons_pull_request_has_one_comment_too(stage):
    stage.yard.rest()
    head = stage.people.push("docs", {"README.md": b"A yard of ours.\n"}, "ann")
    number = stage.people.open("docs", "ann")
    stage.yard.rest()

    (page,) = comments_of(stage, number)

    assert "a person to merge it | anybody who may write: the button of this page" in page
    assert pasted(page) == []

    stage.people.merge(number, head, "ann")
    stage.yard.rest()

    (page,) = comments_of(stage, number)
    assert page.startswith("**Merged by ann at ")


@pytest.mark.long
def test_a_comment_on_a_pull_request_that_is_closed_waits_for_nothing_any_more(stage):
    stage.yard.rest()
    stage.people.push("docs", {"README.md": b"A yard of ours.\n"}, "ann")
    number = stage.people.open("docs", "ann")
    stage.people.push("more", {"MORE.md": b"More.\n"}, "ann")
    unseen = stage.people.open("more", "ann")
    stage.people.ask("PATCH", f"/pulls/{unseen}", {"state": "closed"}, "ann")
    stage.yard.rest()
    stage.people.ask("PATCH", f"/pulls/{number}", {"state": "closed"}, "ann")
    stage.yard.rest()

    (page,) = comments_of(stage, number)
    assert page.startswith("**Closed at ")
    assert page.strip().endswith("UTC, without a merge.**")
    assert comments_of(stage, unseen) == []  # it never said that it waits


@pytest.fixture
def ended(stage):
    """A workspace, and a person's pull request whose comment said that it waits, now closed."""
    stage.yard.rest()
    stage.people.push("docs", {"README.md": b"A yard of ours.\n"}, "ann")
    number = stage.people.open("docs", "ann")
    stage.yard.rest()
    stage.people.ask("PATCH", f"/pulls/{number}", {"state": "closed"}, "ann")
    workspace = stage.yard.workspace()
    return workspace, workspace.services.pulls.get(number)


@pytest.mark.long
def test_an_outcome_that_the_forge_refuses_once_is_said_the_next_time(stage, ended):
    workspace, pull = ended
    stage.fake.queue(forbidden("PATCH", "/issues/comments/"))
    keep_outcomes(workspace, [pull])
    keep_outcomes(workspace, [pull])

    (page,) = comments_of(stage, pull.number)
    assert page.startswith("**Closed at ")


@pytest.mark.long
@pytest.mark.parametrize("is_first", [False, True])
def test_an_outcome_survives_a_watcher_that_was_slow_and_then_killed(stage, ended, is_first):
    workspace, pull = ended
    if is_first:  # it had no comment when the other one looked
        for row in stage.people.ask("GET", f"/issues/{pull.number}/comments", None, "ann"):
            stage.people.ask("DELETE", f"/issues/comments/{row['id']}", None, "ann")
    keep_outcomes(workspace, [pull])
    stale = status_page(pull, ())
    workspace.services.pulls.comment(pull.number, body=stale, marker=STATUS_COMMENT)

    keep_outcomes(workspace, [pull])  # too soon to look again
    assert comments_of(stage, pull.number) == [stale]
    stage.yard.clock.wait(30)
    for _ in range(2):
        keep_outcomes(workspace, [pull])
        (page,) = comments_of(stage, pull.number)
        assert page.startswith("**Closed at ")

    asked = stage.fake.calls("GET", "/comments")
    stage.yard.clock.wait(30)
    keep_outcomes(workspace, [pull])
    assert stage.fake.calls("GET", "/comments") == asked


@pytest.mark.long
def test_an_outcome_is_not_told_of_a_pull_request_that_the_forge_still_calls_open(stage, ended):
    workspace, pull = ended
    stage.people.ask("PATCH", f"/pulls/{pull.number}", {"state": "open"}, "ann")
    keep_outcomes(workspace, [pull])
    (page,) = comments_of(stage, pull.number)
    assert page.startswith("**This pull request is ")

    stage.people.ask("PATCH", f"/pulls/{pull.number}", {"state": "closed"}, "ann")
    keep_outcomes(workspace, [workspace.services.pulls.get(pull.number)])
    (page,) = comments_of(stage, pull.number)
    assert page.startswith("**Closed at ")


@pytest.mark.long
def test_what_a_person_merged_while_it_was_being_closed_is_told_as_merged(stage, monkeypatch):
    stage.yard.rest()
    head = stage.people.push("docs", {"README.md": b"A yard of ours.\n"}, "ann")
    number = stage.people.open("docs", "ann")
    stage.yard.rest()
    pulls = stage.yard.workspace().services.pulls
    comment = pulls.comment

    def comment_and_be_late(*words, **named):
        comment(*words, **named)
        stage.people.merge(number, head, "ann")

    monkeypatch.setattr(pulls, "comment", comment_and_be_late)
    with suppress(YardError):
        pulls.close(number, reason="no longer due")
    (page,) = comments_of(stage, number)
    assert page.startswith("no longer due")

    stage.yard.rest()
    (page,) = comments_of(stage, number)
    assert page.startswith("**Merged by ann at ")


@pytest.mark.long
def test_reconcile_alone_sets_both_required_statuses_on_a_hosted_forge(stage):
    """For teams that run no watcher: nobody else sets them in the tool's name."""
    stage.people.push("docs", {"README.md": b"A yard of ours.\n"}, "ann")
    number = stage.people.open("docs", "ann")

    found = CliRunner().invoke(cli, ["reconcile"], obj=stage.yard.workspace().services)

    assert found.exit_code == 0, found.output
    statuses = stage.people.again().get(number).statuses
    assert {name: str(each.state) for name, each in statuses.items()} == {
        "modelyard/checks": "success",
        "modelyard/promote": "success",
    }
