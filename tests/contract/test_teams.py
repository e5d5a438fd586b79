"""Teams in `approvers`: a merge and a command ask the forge the same thing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from contract.stages import github_stage
from contract.test_merged_on_a_page import FILE, rules
from contract.test_pull_requests import change, ready
from modelyard.adapters.forge.hosted.conversation import HostedConversation
from modelyard.adapters.specs.documents import read_spec
from modelyard.domain.chatops.authority import Role
from modelyard.domain.people import Person, may_approve
from modelyard.domain.promotion.approvals import missing_approvals
from modelyard.domain.promotion.pulls import Merged
from modelyard.domain.specs.environment import Environment
from modelyard.errors import Refused

TEAM = "acme/leads"


@pytest.fixture
def stage(fake_github, tmp_path, monkeypatch):
    """Two people of `acme/leads` may approve; one of them was only invited."""
    monkeypatch.setenv("MODELYARD_FORGE_TOKEN", "set by the stage")
    stage = github_stage(fake_github, tmp_path)
    fake_github.add_team("leads", "ann", pending=["bob"])
    stage.push("main", rules(needed=1, approvers=[TEAM]), "ann")
    return stage


def missing(stage, number):
    spec = read_spec(Environment, rules(needed=1, approvers=[TEAM])[FILE], name=FILE)
    return missing_approvals(spec, stage.again().get(number))


def by_command(stage, login):
    """Whether a command of this person would count as an approver's."""
    person = stage.pulls.dialect.person(login)
    found = HostedConversation(pulls=stage.again()).ask_authority(person, teams=[TEAM])
    assert found.role is Role.WRITE
    return found.teams is not None and may_approve(person, [TEAM], found.teams)


@pytest.mark.long
@pytest.mark.parametrize(("login", "counts"), [("ann", True), ("bob", False)])
def test_only_an_active_member_approves_by_a_review_as_by_a_command(stage, login, counts):
    pull = stage.pulls.propose(change())
    stage.review(pull.number, pull.head, login)

    said = missing(stage, pull.number)

    assert (said is None, by_command(stage, login)) == (counts, counts)
    assert counts or said.endswith(f"from among {TEAM}")


@pytest.mark.long
def test_who_left_the_team_approves_no_more(stage, fake_github):
    pull = stage.pulls.propose(change())
    stage.review(pull.number, pull.head, "ann")
    assert missing(stage, pull.number) is None

    fake_github.add_team("leads")

    assert missing(stage, pull.number) is not None
    assert not by_command(stage, "ann")


@pytest.mark.long
@pytest.mark.parametrize("is_there", [True, False])
def test_a_team_that_is_not_there_or_may_not_be_seen_approves_nothing_and_is_named(
    stage, fake_github, is_there
):
    if is_there:
        token = fake_github.installation_token(
            fake_github.add_app(contents="write", pull_requests="write", statuses="write")
        )
        stage.pulls.api.auth = token  # without the permission `members`
        stage.pulls.dialect.app, stage.pulls.bot = "modelyard", "modelyard[bot]"
    else:
        del fake_github.directory.teams["leads"]
    pull = stage.pulls.propose(change())
    stage.review(pull.number, pull.head, "ann")

    spec = read_spec(Environment, rules(needed=1, approvers=[TEAM])[FILE], name=FILE)
    said = missing_approvals(spec, stage.pulls.get(pull.number))

    assert f"who is in {TEAM} is not known: there is no such team" in said


@pytest.mark.long
def test_a_merge_counts_the_team(stage, fake_github):
    pin = {"environments/production/releases/m.yaml": b"version: v2\n"}
    pull = stage.pulls.propose(
        replace(change(), branch="modelyard/promote/production/m", documents=pin)
    )
    ready(stage, pull)
    stage.review(pull.number, pull.head, "bob")
    with pytest.raises(Refused, match=f"1 more approval of .* from among {TEAM}"):
        stage.pulls.merge(pull.number, sha=pull.head)

    fake_github.add_team("leads", "ann", "bob")

    assert isinstance(stage.pulls.merge(pull.number, sha=pull.head), Merged)


def test_a_login_that_looks_like_a_team_is_none():
    assert not may_approve(Person(login=TEAM, id="9"), [TEAM], [])
    assert may_approve(Person(login="ANN", id="1"), ["ann"], [])
    assert may_approve(Person(login="dee", id="4"), [], [])
