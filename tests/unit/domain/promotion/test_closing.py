"""Promotions that nothing asks for any more, and those that must stay."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelyard.domain.people import Person
from modelyard.domain.promotion.actions import ClosePull, Merge, SetStatus
from modelyard.domain.promotion.change import Purpose
from modelyard.domain.promotion.facts import Freeze
from modelyard.domain.promotion.pulls import PROMOTE, PullState, StatusState
from modelyard.domain.verdict import Outcome
from unit.domain.promotion.examples import START, branch, record, release, spec
from unit.domain.promotion.simulated import Simulated
from unit.domain.promotion.simulated_forge import Documents

EVERYWHERE = ("dev", "staging", "canary", "production")
MOON = Documents(release=release("moon", "v2"))


ON_HOLD = (
    "v2 is on hold by ada: wrong units; once the hold is lifted it is proposed again: "
    "modelyard unhold m v2"
)


@pytest.fixture
def sim():
    """v1 verified everywhere, v2 verified in dev and proposed for staging."""
    sim = Simulated()
    sim.let_run("v1", *EVERYWHERE)
    sim.let_run("v2", "dev", champion="v1")
    sim.reconcile()
    return sim


def staging(sim):
    return sim.pull_of(Purpose.PROMOTE, "staging")


def test_a_promotion_that_nothing_asks_for_is_closed(sim):
    number = staging(sim).number
    sim.name(release("staging", "v2"), commit="by hand")
    reason = "v2 is no longer due in staging"
    assert [each for each in sim.plan() if isinstance(each, ClosePull)] == [
        ClosePull(number=number, reason=reason)
    ]


def test_a_promotion_that_is_closed_is_not_merged_by_the_same_plan(sim):
    sim.check()
    sim.name(release("staging", "v2"), commit="by hand")
    assert [each for each in sim.plan() if isinstance(each, SetStatus | Merge)] == []


def test_a_promotion_of_a_version_on_hold_is_closed_and_says_why(sim):
    sim.check()
    number = staging(sim).number
    sim.hold("v2", by="ada", reason="wrong units")
    assert [each for each in sim.plan() if isinstance(each, ClosePull)] == [
        ClosePull(number=number, reason=ON_HOLD)
    ]
    sim.reconcile()
    assert sim.pulls[number].state is PullState.CLOSED


def test_a_promotion_that_a_hold_closed_comes_back_with_the_lifted_hold(sim):
    """The tool closed it, which no person meant as a no."""
    number = staging(sim).number
    sim.hold("v2", by="ada", reason="wrong units")
    closed = [each for each in sim.plan() if isinstance(each, ClosePull)]
    sim.close(number, by=sim.world().bot)
    sim.lift("v2")
    sim.reconcile()
    assert len(closed) == 1
    assert (staging(sim).state, staging(sim).number) == (PullState.OPEN, number + 1)


def test_a_promotion_that_a_person_asked_for_is_red_while_its_version_is_on_hold(sim):
    sim.propose_release("production", "v2", requester="ada")
    sim.hold("v2", by="bob", reason="wrong units")
    sim.reconcile()
    pull = sim.pull_of(Purpose.PROMOTE, "production")
    assert (pull.state, pull.statuses[PROMOTE].state) == (PullState.OPEN, StatusState.FAILURE)
    assert pull.statuses[PROMOTE].description.startswith("v2 is on hold by bob: wrong units")


def test_a_held_promotion_gives_way_to_a_record_that_brings_another_version(sim):
    sim.freezes["dev"] = Freeze(reason="audit", by="ada", since=START)
    sim.records["v4"] = record("v4")
    sim.versions |= {"v3": spec("v3"), "v4": spec("v4")}
    sim.reconcile()
    sim.hold("v4", by="ada")
    sim.finish("v3", Outcome.PASS, champion="v1")
    number = sim.pull_of(Purpose.PROMOTE, "dev").number
    assert [each for each in sim.plan() if isinstance(each, ClosePull)] == [
        ClosePull(number=number, reason="another version is on its way to dev")
    ]


def test_a_promotion_a_person_asked_for_stays_open_until_a_person_closes_it(sim):
    sim.propose_release("production", "v2", requester="ada")
    sim.reconcile()
    pull = sim.pull_of(Purpose.PROMOTE, "production")
    assert (pull.state, pull.statuses[PROMOTE].state) == (PullState.OPEN, StatusState.FAILURE)
    sim.close(pull.number, by="ada")
    sim.reconcile()
    assert sim.pull_of(Purpose.PROMOTE, "production").number == pull.number


def test_a_person_may_bring_back_what_automation_does_not(sim):
    sim.let_run("v2", "staging")
    sim.name(release("staging", "v1"), commit="went back")
    sim.reconcile()
    sim.propose_release("staging", "v2", attempt=2, requester="ada")
    sim.check()
    sim.reconcile()
    assert sim.releases["staging"] == release("staging", "v2", attempt=2)


def test_a_promotion_into_an_environment_that_is_gone_is_closed(sim):
    sim.propose(branch(Purpose.PROMOTE, "moon"), MOON, ("v2", "moon"))
    (close,) = (each for each in sim.plan() if isinstance(each, ClosePull))
    assert close.reason == "there is no such environment"


def test_a_pull_request_a_person_opened_from_a_branch_of_the_tools_is_closed_with_a_reason(sim):
    sim.propose(branch(Purpose.PROMOTE, "moon"), MOON, ("v2", "moon"))
    pull = sim.pull_of(Purpose.PROMOTE, "moon")
    sim.pulls[pull.number] = replace(pull, author=Person.named("ada"))
    (close,) = (each for each in sim.plan() if isinstance(each, ClosePull))
    assert close.reason == (
        f"only the tool opens pull requests from {pull.branch}, not ada; "
        f"its commits stay at {pull.head}: push them to a branch of your own"
    )


def test_the_pull_requests_of_a_model_are_the_open_and_the_closed_ones_by_number(sim):
    sim.check()
    sim.reconcile()
    pulls = sim.world().pulls
    assert {each.state for each in pulls} >= {PullState.MERGED}
    assert [each.number for each in pulls] == sorted(sim.pulls)


def test_the_removal_that_a_person_asked_for_is_left_to_their_command():
    """The watcher looked between its pull request and its merge, and closed it."""
    sim = Simulated()
    sim.let_run("v1")
    sim.name(release("dev", "v1"))
    sim.hold("v1", by="ada")
    sim.reconcile()
    pin = Documents(release=release("dev", "v2"))
    number = sim.propose(branch(Purpose.ROLLBACK, "dev"), pin, ("dev", "rollback"), "ada")
    assert not [each for each in sim.plan() if isinstance(each, ClosePull)]

    sim.lift("v1")  # nothing is to be taken out any more
    sim.reconcile()
    assert number is not None
    assert sim.pulls[number].state is PullState.CLOSED
