from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from modelyard.domain.promotion.facts import (
    Freeze,
    ReleaseFacts,
    Unverified,
    check_verified,
    is_bad,
    is_own_fault,
)
from modelyard.domain.server_fault import Blame, ServerFault
from modelyard.domain.verdict import Outcome
from unit.domain.promotion.examples import CANARY, DEV, START, release, verdict

PINNED = release("canary", "v1")
GOOD = ReleaseFacts(
    release=PINNED.identity,
    version="v1",
    artifact=PINNED.artifact,
    seen_at=START,
    healthy_since=START,
    verdict=verdict(Outcome.PASS),
)
SOAKED = START + timedelta(seconds=60)


def test_ready_soaked_and_judged_well_is_verified():
    assert check_verified(GOOD, PINNED, CANARY, SOAKED) is None


def test_the_soak_is_over_on_its_last_second_and_not_before():
    before = SOAKED - timedelta(seconds=1)
    assert check_verified(GOOD, PINNED, CANARY, before) == Unverified(
        reason="soaking until 2024-01-01T00:01:00+00:00", is_soaking=True
    )


def test_what_it_says_of_a_soak_does_not_change_from_look_to_look():
    said = {check_verified(GOOD, PINNED, CANARY, START + timedelta(seconds=s)) for s in range(60)}
    assert len(said) == 1


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"release": None}, "not seen running yet"),
        ({"release": release("canary", "v1", attempt=2).identity}, "not seen running yet"),
        ({"healthy_since": None}, "not ready"),
        ({"aborted": "somebody stopped it"}, "aborted: somebody stopped it"),
        ({"verdict": None}, "the judge has not passed it"),
        ({"verdict": verdict(Outcome.INCONCLUSIVE)}, "the judge has not passed it"),
        ({"verdict": verdict(Outcome.FAIL)}, "the judge has not passed it"),
    ],
)
def test_says_the_first_thing_that_keeps_a_release_from_being_verified(change, why):
    found = check_verified(replace(GOOD, **change), PINNED, CANARY, SOAKED)
    assert found == Unverified(reason=why)


def test_nothing_seen_is_not_healthy():
    assert check_verified(ReleaseFacts(), PINNED, DEV, SOAKED) == Unverified(
        reason="not seen running yet"
    )


def test_an_environment_that_is_not_judged_asks_for_no_verdict():
    pinned = release("dev", "v1")
    facts = replace(GOOD, release=pinned.identity, verdict=None)
    assert check_verified(facts, pinned, DEV, START) is None
    bad = replace(facts, verdict=verdict(Outcome.FAIL))
    assert check_verified(bad, pinned, DEV, START) == Unverified(
        reason="the judge has not passed it"
    )


def test_what_a_rollback_restored_is_not_judged_again():
    restored = replace(GOOD, verdict=None, verified=(PINNED.identity,))
    assert check_verified(restored, PINNED, CANARY, SOAKED) is None


def test_bad_is_only_what_was_said_of_this_very_release():
    aborted = replace(GOOD, aborted="crashed")
    failed = replace(GOOD, verdict=verdict(Outcome.FAIL))
    other = release("canary", "v1", attempt=2)
    assert [is_bad(each, PINNED) for each in (GOOD, aborted, failed)] == [False, True, True]
    assert [is_bad(each, other) for each in (GOOD, aborted, failed)] == [False, False, False]


OWN = ServerFault(why="its golden rows differ", blame=Blame.VERSION)
OF_THE_CLUSTER = ServerFault(why="no node", blame=Blame.INFRASTRUCTURE)


@pytest.mark.parametrize(
    ("fault", "outcome", "is_own"),
    [
        (None, None, True),
        (OWN, None, True),
        (OF_THE_CLUSTER, None, False),
        (OF_THE_CLUSTER, Outcome.INCONCLUSIVE, False),
        (OF_THE_CLUSTER, Outcome.FAIL, True),
    ],
)
def test_only_what_the_cluster_alone_gave_up_is_no_fault_of_the_version(fault, outcome, is_own):
    judged = verdict(outcome) if outcome else None
    assert is_own_fault(replace(GOOD, aborted="gone", fault=fault, verdict=judged)) is is_own


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (OWN, "not ready: its golden rows differ"),
        (OF_THE_CLUSTER, "not ready, by no fault of its own, and tried again: no node"),
    ],
)
def test_what_is_not_ready_says_whose_fault_it_is(fault, why):
    facts = replace(GOOD, healthy_since=None, fault=fault)
    assert check_verified(facts, PINNED, CANARY, SOAKED) == Unverified(reason=why)


def test_a_freeze_ends_by_itself_at_its_end_and_one_without_an_end_never():
    freeze = Freeze(reason="holidays", by="ada", since=START, until=SOAKED)
    last = SOAKED - timedelta(seconds=1)
    assert [freeze.is_over(now) for now in (START, last, SOAKED)] == [False, False, True]
    assert not replace(freeze, until=None).is_over(SOAKED)
