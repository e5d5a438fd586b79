"""Commands in a comment that meet the forge's limit: the sweeper does them later, each once."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from contract.test_break_glass import ADMIN, commanded, facts_of, unapproved, with_rules
from fakes.github import primary_limit
from modelyard.domain.promotion.pulls import PullState
from modelyard.operations.chatops.conversation import conversation_for
from modelyard.operations.chatops.sweep import sweep
from modelyard.operations.open_workspace import workspace_of
from modelyard.operations.services import services_for
from operations.fakes import StoppedClock

AN_HOUR = 3600


@pytest.fixture
def ruled(stage):
    return with_rules(stage)


def swept(stage, *, minutes=16):
    """What the sweeper does of the last day's comments, by a clock that is ahead."""
    later = StoppedClock(datetime.now(tz=UTC) + timedelta(minutes=minutes))
    made = workspace_of(services_for(stage.git.root))
    workspace = replace(made, services=replace(made.services, clock=later))
    found = sweep(workspace, conversation_for(workspace.services))
    return [str(each.decision.reason) for _, handled in found for each in handled]


def issues(fake):
    return [each for each in fake.events if each.name == "issues"]


def limited(stage, fake, number, body, method, path):
    limit = primary_limit(method, path, reset_in=AN_HOUR)
    return commanded(stage, number, body, ADMIN, first=lambda: fake.queue(limit))


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    ("method", "path"), [("PUT", "/merge$"), ("POST", "/statuses/"), ("POST", "/issues$")]
)
def test_what_met_the_limit_while_it_was_done_is_done_by_the_sweeper_once(
    ruled, fake_github, method, path
):
    number, head = unapproved(ruled)
    until = f"{datetime.now(tz=UTC) + timedelta(days=2):%Y-%m-%dT%H:%MZ}"
    body = f"/break-glass {head} prod is down\n/freeze production until {until} audit"

    said = limited(ruled, fake_github, number, body, method, path)

    assert [reason for reason, _ in said] == ["limit_reached", "limit_reached"]
    assert ruled.again().get(number).state is PullState.OPEN
    # What comes after it waits for it: the two might undo each other.
    assert facts_of(ruled).read_freeze("production") is None
    assert facts_of(ruled).read_commands(number).entries == ()

    assert swept(ruled) == ["done", "done"]
    assert ruled.again().get(number).state is PullState.MERGED
    assert facts_of(ruled).read_freeze("production") is not None
    assert len(issues(fake_github)) == 1
    assert swept(ruled) == []


@pytest.mark.long
def test_a_sweeper_that_is_killed_after_the_deed_does_nothing_twice(
    ruled, fake_github, monkeypatch
):
    number, head = unapproved(ruled)
    limited(ruled, fake_github, number, f"/break-glass {head} prod is down", "PUT", "/merge$")

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("modelyard.operations.chatops.answer._log", killed)
        with pytest.raises(KeyboardInterrupt):
            swept(ruled)
    merged = ruled.again().get(number)
    assert merged.state is PullState.MERGED

    assert swept(ruled) == ["pull_merged"]
    assert swept(ruled) == []
    assert ruled.again().get(number).merged_as == merged.merged_as
    assert len(issues(fake_github)) == 1
