"""What the adapter of a hosted forge does when the forge, or the way to it, is at fault."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from contract.stages import START, github_stage
from contract.test_pull_requests import change, ready, rollback
from fakes.github import (
    AsyncMerge,
    bad_gateway,
    cut_off,
    forbidden,
    not_found,
    primary_limit,
    secondary_limit,
)
from modelyard.adapters.forge.events import read_comment_event
from modelyard.adapters.forge.github import dialect as github_dialect
from modelyard.adapters.forge.hosted import api as hosted_api
from modelyard.adapters.forge.hosted.api import ForgeApi, urgent
from modelyard.adapters.forge.hosted.conversation import HostedConversation
from modelyard.domain.promotion.pulls import STATUS_COMMENT, MergeAsked, Merged, PullState
from modelyard.errors import CannotAnswer, Conflict, Refused
from modelyard.operations.chatops.reserve import calls_for


@pytest.fixture
def stage(fake_github, tmp_path, monkeypatch):
    monkeypatch.setenv("MODELYARD_FORGE_TOKEN", "set by the stage")
    monkeypatch.setattr(github_dialect, "SECONDS_TO_MERGE", 0.3)
    monkeypatch.setattr(github_dialect, "_SECONDS_BETWEEN", 0.05)
    return github_stage(fake_github, tmp_path)


@pytest.fixture
def api(stage):
    return stage.pulls.api


def posts(fake, path):
    return [each for each in fake.log if each.method == "POST" and each.path.endswith(path)]


@pytest.mark.long
def test_a_question_is_repeated_while_the_forge_is_down(stage, api, fake_github):
    fake_github.queue(bad_gateway("GET", "/pulls$", times=2))

    assert stage.pulls.open() == ()
    assert (api.calls["GET 502"], api.calls["GET 200"]) == (2, 1)


@pytest.mark.long
@pytest.mark.parametrize("fault", [bad_gateway, cut_off])
@pytest.mark.parametrize("after", [True, False])
def test_a_pull_request_is_opened_once_whatever_becomes_of_the_answer(
    stage, fake_github, fault, after
):
    fake_github.queue(fault("POST", "/pulls$", after=after))

    if after:
        stage.pulls.propose(change())
    else:
        with pytest.raises(CannotAnswer):
            stage.pulls.propose(change())
        stage.again().propose(change())

    (pull,) = stage.again().open()
    assert pull.branch == change().branch
    assert len(fake_github.repository.pulls) == 1


@pytest.mark.long
def test_a_comment_whose_answer_was_lost_is_there_once(stage, fake_github):
    pull = stage.pulls.propose(change())
    fake_github.queue(bad_gateway("POST", "/comments$", after=True))

    with pytest.raises(CannotAnswer):
        stage.pulls.comment(pull.number, body="said", marker="modelyard/rules")
    stage.again().comment(pull.number, body="said", marker="modelyard/rules")

    found = stage.pulls.get(pull.number).comments
    assert [each.body for each in found] == ["said"]


@pytest.mark.long
def test_a_closed_pull_request_no_longer_says_what_it_waited_for(stage):
    pull = stage.pulls.propose(change())
    stage.pulls.comment(pull.number, body="waiting for ann", marker=STATUS_COMMENT)

    stage.pulls.close(pull.number, reason="another version is on its way")

    found = stage.again().get(pull.number).comments
    assert [each.body for each in found] == ["another version is on its way"]


def test_a_short_limit_is_waited_for_and_a_long_one_is_said(stage, fake_github):
    fake_github.queue(secondary_limit("GET", "/pulls$", retry_after=1))
    assert stage.pulls.open() == ()

    fake_github.queue(primary_limit("GET", "/pulls$", reset_in=1800))
    with pytest.raises(CannotAnswer, match="limit is reached until"):
        stage.pulls.open()


@pytest.mark.long
def test_the_last_calls_of_an_hour_are_for_rollbacks(stage, api):
    api.remaining, api.resets = hosted_api.RESERVE, datetime.now(tz=UTC) + timedelta(minutes=20)

    with pytest.raises(CannotAnswer, match="kept for rollbacks"):
        stage.pulls.open()
    with urgent():
        assert stage.pulls.open() == ()
    pull = stage.pulls.propose(rollback())
    assert pull.branch == rollback().branch


@pytest.mark.parametrize(
    ("who", "body", "is_heard"),
    [("bob", "/rollback", True), ("bob", "/hold", False), ("rex", "/rollback", False)],
)
def test_of_comments_only_a_rollback_of_somebody_who_may_uses_the_last_calls(
    stage, api, fake_github, who, body, is_heard
):
    number = stage.pulls.propose(change()).number
    event = read_comment_event(stage.write_comment(number, body, who))
    talk = HostedConversation(pulls=stage.pulls)
    api.remaining, api.resets = hosted_api.RESERVE, datetime.now(tz=UTC) + timedelta(minutes=20)
    fake_github.ledger.hourly = hosted_api.RESERVE

    with calls_for(talk, event):
        if is_heard:
            assert int(talk.repository_id()) > 0
        else:
            with pytest.raises(CannotAnswer, match="kept for rollbacks"):
                talk.repository_id()


def test_a_token_without_the_permission_is_told_what_helps(stage, fake_github):
    fake_github.queue(forbidden("GET", "/pulls$"))

    with pytest.raises(CannotAnswer) as refused:
        stage.pulls.open()

    assert refused.value.hint == "modelyard doctor"


def test_a_token_is_never_shown(api, stage):
    assert stage.tokens["yard-bot"] not in repr(api)
    wrong = ForgeApi(url=api.url, auth="a-secret")
    with pytest.raises(CannotAnswer) as refused:
        wrong.get("/user")
    assert "a-secret" not in str(refused.value)


@pytest.mark.long
@pytest.mark.parametrize(
    ("outcome", "answer"),
    [
        (AsyncMerge(), Merged),
        (AsyncMerge(reads=2), Merged),
        (AsyncMerge(reads=1000), MergeAsked),
        (AsyncMerge(outcome="enqueued"), MergeAsked),
        (AsyncMerge(other="1" * 40), MergeAsked),
    ],
)
def test_a_merge_that_is_asked_for_is_done_or_comes_later(stage, fake_github, outcome, answer):
    head = stage.push("docs", {"README.md": b"A yard of ours.\n"}, "ann")
    pull = stage.pulls.get(stage.open("docs", "ann"))
    ready(stage, pull)
    fake_github.merge_outcomes.append(outcome)

    found = stage.pulls.merge(pull.number, sha=head)

    assert isinstance(found, answer), found


@pytest.mark.long
def test_a_merge_that_github_refuses_says_why(stage, fake_github):
    head = stage.push("docs", {"README.md": b"A yard of ours.\n"}, "ann")
    pull = stage.pulls.get(stage.open("docs", "ann"))
    ready(stage, pull)
    fake_github.protect(checks=["tests"])

    with pytest.raises(Refused, match=r'Required status check "tests" is expected\.'):
        stage.pulls.merge(pull.number, sha=head)


@pytest.mark.long
def test_a_merge_that_only_the_tools_own_ruleset_forbids_is_made(stage, fake_github):
    """In the background GitHub does not use the bypass that the ruleset gives the tool."""
    head = stage.push("docs", {"README.md": b"A yard of ours.\n"}, "ann")
    pull = stage.pulls.get(stage.open("docs", "ann"))
    ready(stage, pull)
    me = fake_github.user("yard-bot")
    actor = {"actor_id": me.id, "actor_type": "User", "bypass_mode": "pull_request"}
    fake_github.protect(approvals=1, last_push=True, bypass=[actor])

    assert isinstance(stage.pulls.merge(pull.number, sha=head), Merged)


@pytest.mark.long
def test_a_merge_that_another_process_asked_for_is_waited_for(stage, fake_github):
    head = stage.push("docs", {"README.md": b"A yard of ours.\n"}, "ann")
    pull = stage.pulls.get(stage.open("docs", "ann"))
    ready(stage, pull)
    fake_github.merge_outcomes.append(AsyncMerge(reads=8))

    first = stage.pulls.merge(pull.number, sha=head)
    assert isinstance(first, MergeAsked)
    # A slow machine reads less often in the time that a merge is waited for.
    answers = (stage.again().merge(pull.number, sha=head) for _ in range(10))
    assert any(isinstance(each, Merged) for each in answers)


@pytest.mark.long
def test_a_look_costs_few_calls_with_a_thousand_closed_ones(stage, api, fake_github):
    fake_github.add_past_pulls(1000, login="ann")
    stage.pulls.propose(change())
    stage.pulls.open()
    stage.pulls.closed()
    api.calls.clear()

    with stage.pulls.one_listing():
        for _ in range(50):  # as many models
            stage.pulls.open()
            stage.pulls.closed()

    paid = sum(count for what, count in api.calls.items() if not what.endswith(" 304"))
    assert paid <= 10 + 3
    assert sum(api.calls.values()) <= 10 + 3


@pytest.mark.sample(1)
@pytest.mark.parametrize("what", ["pushed", "closed"])
def test_a_rollback_is_not_the_pull_request_that_a_pass_listed_before_it_moved(stage, what):
    ours = stage.pulls.propose(rollback())

    with stage.pulls.one_listing():
        stage.pulls.open()
        if what == "pushed":
            stage.push(ours.branch, {"environments/dev/releases/m.yaml": b"version: v9\n"}, "ann")
        else:
            stage.ask("PATCH", f"/pulls/{ours.number}", {"state": "closed"}, "ann")
        again = stage.pulls.propose(rollback())

    assert stage.pulls.get(again.number).state is PullState.OPEN
    heads = stage.pulls.heads
    assert heads.holds(stage.pulls.get(again.number).head, rollback(), None)


@pytest.mark.long
def test_what_was_closed_since_the_last_look_is_seen(stage):
    first = stage.pulls.propose(change())
    assert stage.pulls.closed() == ()

    stage.again().close(first.number, reason="no longer due")

    assert [each.number for each in stage.pulls.closed()] == [first.number]


@pytest.mark.long
def test_a_head_that_moves_while_it_is_judged_is_not_merged(stage, fake_github):
    head = stage.push("docs", {"README.md": b"A yard of ours.\n"}, "ann")
    pull = stage.pulls.get(stage.open("docs", "ann"))
    ready(stage, pull)
    merge = github_dialect.GitHubDialect.merge

    def pushed_before(self, *args, **kwargs):
        stage.push("docs", {"README.md": b"Theirs.\n"}, "bob")
        return merge(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(github_dialect.GitHubDialect, "merge", pushed_before)
        with pytest.raises((Conflict, Refused)):
            stage.pulls.merge(pull.number, sha=head)

    main = fake_github.repository.git.branch("main")
    assert (
        fake_github.repository.git.text("show", f"{main}:README.md") == START["README.md"].strip()
    )


@pytest.mark.long
def test_one_pull_request_that_the_forge_does_not_answer_for_hides_no_other(stage, fake_github):
    first = stage.pulls.propose(change())
    stage.push("docs", {"README.md": b"Theirs.\n"}, "ann")
    second = stage.open("docs", "ann")
    fake_github.queue(not_found("GET", f"/pulls/{first.number}/reviews$"))

    reader = stage.again()

    assert [each.number for each in reader.open()] == [second]
    (error,) = reader.unreadable()
    assert f"pull request {first.number} is left out" in error.message
    assert len(reader.open()) == 2
    assert reader.unreadable() == ()
