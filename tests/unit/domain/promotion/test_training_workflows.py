from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.people import Person
from modelyard.domain.promotion.actions import (
    GiveUpTraining,
    PlaceHold,
    ProposeRecord,
    RetryTraining,
    StartTraining,
)
from modelyard.domain.promotion.change import Purpose
from modelyard.domain.promotion.facts import TrainingFacts
from modelyard.domain.promotion.training_workflows import (
    plan_records,
    plan_trainings,
    version_order,
)
from modelyard.domain.specs.names import workflow_name
from modelyard.domain.verdict import Outcome
from unit.domain.promotion.examples import BOT, record, spec
from unit.domain.promotion.simulated import Simulated


@pytest.fixture
def sim():
    sim = Simulated()
    sim.versions["v1"] = spec("v1")
    return sim


def proposed(sim):
    return {each.record.version: each.environment for each in plan_records(sim.world())}


def test_starts_what_has_no_workflow_yet(sim):
    assert list(plan_trainings(sim.world())) == [StartTraining(version="v1", attempt=1)]


def test_leaves_a_running_workflow_alone(sim):
    sim.reconcile()
    assert list(plan_trainings(sim.world())) == []


def test_starts_nothing_that_is_recorded_held_or_given_up(sim):
    sim.versions |= {"v2": spec("v2"), "v3": spec("v3")}
    sim.records["v1"] = record("v1")
    sim.hold("v2", by="ada")
    sim.write_training("v3", TrainingFacts(attempt=1, failed="no such column"))
    assert list(plan_trainings(sim.world())) == []


def test_what_infrastructure_lost_is_tried_again_twice_then_given_up(sim):
    seen = []
    for _ in range(3):
        sim.reconcile()
        sim.finish("v1", None)
        seen += plan_trainings(sim.world())
    assert seen == [
        RetryTraining(version="v1", attempt=2),
        RetryTraining(version="v1", attempt=3),
        GiveUpTraining(version="v1", reason="the node went away"),
    ]
    sim.reconcile()
    assert sim.model_facts.training["v1"] == TrainingFacts(attempt=3, failed="the node went away")
    assert sim.plan() == ()


def test_retrain_allows_as_many_attempts_again(sim):
    sim.write_training("v1", TrainingFacts(attempt=4))
    assert list(plan_trainings(sim.world())) == [StartTraining(version="v1", attempt=4)]
    sim.reconcile()
    sim.finish("v1", None)
    assert list(plan_trainings(sim.world())) == [RetryTraining(version="v1", attempt=5)]


def test_the_newest_passing_version_brings_its_first_release_and_older_ones_only_their_record(sim):
    for number in (2, 9, 10):
        sim.versions[f"v{number}"] = spec(f"v{number}")
    for version in sim.versions:
        sim.finish(version, Outcome.PASS)
    assert proposed(sim) == {"v1": None, "v2": None, "v9": None, "v10": "dev"}


def test_a_version_that_did_not_pass_still_gets_its_record_and_no_release(sim):
    sim.versions["v2"] = spec("v2")
    sim.finish("v1", Outcome.FAIL)
    sim.finish("v2", Outcome.INCONCLUSIVE)
    assert proposed(sim) == {"v1": None, "v2": None}


def test_a_newer_one_that_did_not_pass_does_not_stand_in_the_way(sim):
    sim.versions["v2"] = spec("v2")
    sim.finish("v1", Outcome.PASS)
    sim.finish("v2", Outcome.INCONCLUSIVE)
    assert proposed(sim) == {"v1": "dev", "v2": None}


def test_a_version_older_than_what_the_first_environment_names_brings_no_release(sim):
    sim.let_run("v2", "dev")
    sim.finish("v1", Outcome.PASS)
    assert proposed(sim) == {"v1": None}


def test_a_version_on_hold_keeps_its_record_and_loses_its_release(sim):
    sim.finish("v1", Outcome.PASS)
    sim.hold("v1", by="ada")
    assert proposed(sim) == {"v1": None}


def test_an_artifact_that_was_released_before_brings_no_release(sim):
    sim.let_run("v1", "dev")
    sim.let_run("v2", "dev")
    sim.versions["v3"] = spec("v3")
    sim.finish("v3", Outcome.PASS, artifact="sha256:v1")
    assert proposed(sim) == {"v3": None}


def test_a_release_that_nobody_saw_running_counts_as_tried_because_git_named_it(sim):
    sim.let_run("v1", "dev")
    sim.let_run("v2", "dev")
    sim.facts.clear()
    sim.versions["v3"] = spec("v3")
    sim.finish("v3", Outcome.PASS, artifact="sha256:v1")
    assert proposed(sim) == {"v3": None}


def test_records_come_without_a_release_while_a_person_asks_for_another_one(sim):
    sim.let_run("v1", "dev")
    sim.let_run("v2", "dev")
    sim.propose_release("dev", "v1", attempt=2, requester="ada")
    sim.versions["v3"] = spec("v3")
    sim.finish("v3", Outcome.PASS)
    assert proposed(sim) == {"v3": None}


def test_a_record_whose_pull_request_a_person_closed_becomes_a_hold(sim):
    sim.finish("v1", Outcome.PASS)
    sim.reconcile()
    sim.close(1, by="ada")
    reason = "its record's pull request was closed by ada"
    assert list(plan_records(sim.world())) == [PlaceHold(version="v1", reason=reason)]
    sim.reconcile()
    assert sim.model_facts.holds["v1"].reason == reason
    assert list(plan_records(sim.world())) == []


def test_a_lifted_hold_forgives_the_pull_request_that_was_closed_before(sim):
    sim.finish("v1", Outcome.PASS)
    sim.reconcile()
    sim.close(1, by="ada")
    sim.reconcile()
    sim.wait(60)
    sim.lift("v1")
    assert proposed(sim) == {"v1": "dev"}
    sim.reconcile()
    sim.wait(60)
    sim.close(2, by="ada")
    sim.reconcile()
    assert "v1" in sim.model_facts.holds


@pytest.mark.parametrize("closer", [BOT, None])
def test_what_no_person_closed_is_proposed_again(sim, closer):
    sim.finish("v1", Outcome.PASS)
    sim.reconcile()
    sim.close(1, by=closer)
    assert proposed(sim) == {"v1": "dev"}


def test_the_record_of_an_attempt_that_does_not_count_any_more_is_withdrawn(sim):
    sim.finish("v1", Outcome.PASS)
    sim.reconcile()
    sim.write_training("v1", TrainingFacts(attempt=2))
    sim.reconcile()
    assert sim.pull_of(Purpose.RECORD, "v1").closed_by == Person.named(BOT)
    sim.finish("v1", Outcome.PASS)
    assert list(plan_records(sim.world())) == [
        ProposeRecord(record=record("v1"), environment="dev")
    ]


def test_a_workflow_is_named_by_the_spec_and_the_current_attempt(sim):
    first = workflow_name("m", "v1", spec="spec", attempt=1)
    assert sim.world().workflow_name("v1") == first
    sim.write_training("v1", TrainingFacts(attempt=2))
    assert sim.world().workflow_name("v1") == workflow_name("m", "v1", spec="spec", attempt=2)


def test_versions_are_ordered_as_people_count():
    assert sorted(["v10", "v2", "v1.10", "v1.9", "v1", "a3"], key=version_order) == [
        "a3",
        "v1",
        "v1.9",
        "v1.10",
        "v2",
        "v10",
    ]


@pytest.mark.long
@given(
    model=st.from_regex(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?", fullmatch=True),
    version=st.from_regex(r"[a-z][a-z0-9]{0,9}([.-][a-z0-9]{1,9}){0,2}", fullmatch=True),
    attempt=st.integers(1, 99),
)
def test_a_workflow_name_is_one_kubernetes_takes_and_its_own(model, version, attempt):
    name = workflow_name(model, version, spec="s", attempt=attempt)
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*", name)
    assert len(name) <= 52
    assert name == workflow_name(model, version, spec="s", attempt=attempt)
    others = {
        workflow_name(model, version, spec="other", attempt=attempt),
        workflow_name(model, version, spec="s", attempt=attempt + 1),
        workflow_name(model, f"{version}x", spec="s", attempt=attempt),
    }
    assert name not in others
