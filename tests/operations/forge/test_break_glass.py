"""An admin's word below a promotion: it waives approvals and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from contract.test_break_glass import ADMIN, commanded
from contract.test_pull_requests import change, ready
from modelyard.domain.promotion.change import Purpose
from modelyard.domain.promotion.facts import Hold
from modelyard.domain.promotion.pulls import CHECKS, PullState
from operations.hosted_yard import yard_on_github
from operations.yard import MODEL, SHORT, new_yard
from operations.yard_with_history import answer

CANARY = f"modelyard/promote/canary/{MODEL}"


@pytest.fixture
def stage(fake_github, tmp_path, monkeypatch):
    monkeypatch.setenv("MODELYARD_FORGE_TOKEN", "set by the yard")
    local = new_yard(tmp_path / "yard", SHORT)
    local.add_version("v1")
    made = yard_on_github(local, fake_github, tmp_path)
    made.people.tokens[ADMIN] = fake_github.add_person(ADMIN, "admin")
    return made


@pytest.mark.slow
def test_a_hold_outlives_the_word_that_waives_approvals_and_history_shows_the_word(stage):
    yard, people = stage.yard, stage.people
    yard.rest()
    yard.finish("v1")
    yard.rest()
    pull = stage.pull(CANARY)
    workspace = yard.workspace()
    hold = Hold(reason="a bad smell", by="ann", since=yard.clock.now())
    workspace.facts.update_model(MODEL, lambda facts: replace(facts, holds={"v1": hold}))
    body = f"/break-glass {pull.head} prod is down"

    ((reason, said),) = commanded(people, pull.number, body, ADMIN, workspace=workspace)
    assert (reason, "on hold by ann" in said) == ("refused_by_rules", True)
    assert workspace.facts.read_glass(pull.number) is None

    idea = change(branch=f"modelyard/retrain/{MODEL}", purpose=Purpose.RETRAIN)
    proposed = workspace.services.pulls.propose(idea)
    ready(people, proposed, CHECKS)
    line = f"/break-glass {proposed.head} prod is down"
    ((reason, said),) = commanded(people, proposed.number, line, ADMIN, workspace=workspace)
    assert (reason, "a person merges it" in said) == ("refused_by_rules", True), said

    workspace.facts.update_model(MODEL, lambda facts: replace(facts, holds={}))
    ((reason, said),) = commanded(people, pull.number, body, ADMIN, workspace=workspace)
    assert reason == "done", said
    assert people.again().get(pull.number).state is PullState.MERGED
    (event,) = (
        each for each in answer(yard, "history", MODEL)["events"] if each["kind"] == "glass-broken"
    )
    assert (event["pull"], f"by {ADMIN}: prod is down" in event["what"]) == (pull.number, True)
