"""What the observed state of a rollout means for a release."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from modelyard.domain.canary.rollout import (
    begin_again,
    is_judged_now,
    may_advance,
    observed_facts,
    release_events,
    with_verification,
)
from modelyard.domain.canary.traffic import RolloutState
from modelyard.domain.promotion.facts import ReleaseFacts
from modelyard.domain.server_fault import Blame, ServerFault
from modelyard.domain.specs.environment import Rollout, Step
from modelyard.domain.verdict import Outcome
from unit.domain.promotion.examples import CANARY, DEV, PRODUCTION, START, release, verdict

PINNED = release("production", "v2")
MINE = PINNED.identity
BEFORE = release("production", "v1")
RUNS = RolloutState(release=MINE, ready=True, share=0.2)
STARTS = replace(RUNS, ready=False)
SEEN = ReleaseFacts(release=MINE, version="v2", artifact=PINNED.artifact, seen_at=START)
READY = replace(SEEN, healthy_since=START)
PASSED = replace(READY, verdict=verdict(Outcome.PASS))
FAILED = replace(READY, verdict=verdict(Outcome.FAIL))
GONE = replace(SEEN, aborted="crashed")
VERIFIED = replace(PASSED, verified=(BEFORE.identity, MINE))
OWN = ServerFault(why="golden row 3 differs", blame=Blame.VERSION)
NO_NODE = ServerFault(why="no node of 7", blame=Blame.INFRASTRUCTURE)


def after(seconds):
    return START + timedelta(seconds=seconds)


def observed(facts, state, seconds=0):
    return observed_facts(facts, PINNED, state, after(seconds))


def test_a_new_release_keeps_what_the_environment_has_tried_and_verified_and_nothing_else():
    known = ReleaseFacts(
        release=BEFORE.identity,
        version="v1",
        healthy_since=START,
        verdict=verdict(Outcome.PASS),
        fault=OWN,
        aborted="crashed",
        verified=("one",),
        withdrawn=("other",),
        tried=(BEFORE.artifact,),
        rolled_back_to="one",
    )
    expected = ReleaseFacts(
        release=MINE,
        version="v2",
        artifact=PINNED.artifact,
        seen_at=after(5),
        verified=("one",),
        withdrawn=("other",),
        tried=(BEFORE.artifact, PINNED.artifact),
        rolled_back_to="one",
    )
    assert observed(known, None, 5) == expected
    again = replace(known, tried=(PINNED.artifact, BEFORE.artifact))
    assert observed(again, None, 5).tried == again.tried


def test_a_release_is_ready_since_it_was_first_seen_so_without_a_break():
    ready = observed(SEEN, RUNS, 5)
    assert ready.healthy_since == observed(ready, RUNS, 9).healthy_since == after(5)
    assert observed(ready, STARTS, 9).healthy_since is None
    assert observed(ready, None, 9).healthy_since is None


def test_servers_of_the_release_before_say_nothing_about_this_one():
    others = RolloutState(release=BEFORE.identity, ready=True, share=1, aborted="crashed")
    assert observed(SEEN, others) == SEEN


def test_the_first_reason_for_which_a_release_left_traffic_stays():
    gone = observed(SEEN, replace(STARTS, aborted="crashed"))
    assert gone.aborted == "crashed"
    assert observed(gone, replace(STARTS, aborted="never ready")).aborted == "crashed"
    assert observed(gone, RUNS).aborted == "crashed"


def test_a_fault_counts_from_when_it_was_first_seen_and_its_numbers_are_no_news():
    first = observed(SEEN, replace(STARTS, fault=NO_NODE), 5)
    other = replace(NO_NODE, why="no disk")

    assert (first.fault, first.fault_since) == (NO_NODE, after(5))
    again = replace(NO_NODE, why="no node of 8")
    assert observed(first, replace(STARTS, fault=again), 9) == first
    changed = observed(first, replace(STARTS, fault=other), 9)
    assert (changed.fault, changed.fault_since) == (other, after(5))


def test_a_fault_of_the_infrastructure_ends_when_the_release_is_ready_or_a_person_aborts_it():
    faulty = observed(SEEN, replace(STARTS, fault=NO_NODE))
    ended = [observed(faulty, each) for each in (RUNS, None, replace(STARTS, aborted="by ada"))]
    assert [(each.fault, each.fault_since) for each in ended] == [(None, None)] * 3
    # Between two starts nothing is known.
    assert observed(faulty, STARTS, 9) == faulty


def test_what_a_version_did_stays_its_fault():
    own = observed(SEEN, replace(STARTS, fault=OWN))
    assert own.fault == OWN
    assert observed(own, RUNS).fault == observed(own, None).fault == OWN
    assert observed(own, replace(STARTS, fault=NO_NODE)).fault == OWN


def test_what_a_release_left_traffic_for_stays_its_fault():
    gone = replace(GONE, fault=NO_NODE, fault_since=START)
    assert observed(gone, RUNS, 9).fault == NO_NODE


def test_a_release_that_was_verified_is_not_blamed_when_it_cannot_start_again():
    found = observed(VERIFIED, replace(STARTS, fault=OWN))
    assert found.fault == replace(OWN, blame=Blame.INFRASTRUCTURE)


def test_a_release_is_verified_at_full_share_and_one_that_joins_another_at_its_own():
    def verified(environment, facts, state):
        pinned = release(environment.name, "v2")
        mine = replace(facts, release=pinned.identity)
        found = with_verification(mine, pinned, environment, state, after(60))
        return pinned.identity in found.verified

    full = replace(RUNS, share=1)
    found = [verified(PRODUCTION, PASSED, each) for each in (full, RUNS, None)]
    assert found == [True, False, False]
    assert [verified(CANARY, PASSED, each) for each in (RUNS, None)] == [True, False]
    assert not verified(PRODUCTION, READY, full)


def test_what_is_verified_is_the_newest_and_is_added_once():
    known = replace(PASSED, verified=(BEFORE.identity,))
    full = replace(RUNS, share=1)
    found = with_verification(known, PINNED, PRODUCTION, full, START)
    assert found == VERIFIED
    assert with_verification(found, PINNED, PRODUCTION, full, START) == found


@pytest.mark.parametrize("bad", [{"aborted": "crashed"}, {"verdict": verdict(Outcome.FAIL)}])
def test_a_verified_release_that_turns_bad_is_withdrawn_once(bad):
    facts = replace(VERIFIED, withdrawn=("other", MINE), **bad)
    found = with_verification(facts, PINNED, PRODUCTION, RUNS, START)
    expected = replace(facts, verified=(BEFORE.identity,), withdrawn=("other", MINE))
    assert found == expected
    assert with_verification(found, PINNED, PRODUCTION, RUNS, START) == expected


@pytest.mark.parametrize(
    ("before", "facts", "share", "is_asked"),
    [
        (SEEN, READY, 0.2, True),
        (ReleaseFacts(), READY, 0.2, False),
        (SEEN, SEEN, 0.2, False),
        (SEEN, GONE, 0.2, True),
        (GONE, GONE, 0.2, False),
        (SEEN, VERIFIED, 0.2, False),
        (SEEN, FAILED, 0.2, False),
        (SEEN, PASSED, 0.2, True),
        (SEEN, PASSED, 1, False),
        (SEEN, replace(READY, verdict=verdict(Outcome.INCONCLUSIVE)), 1, True),
    ],
)
def test_the_judge_is_asked_while_its_verdict_can_change_something(before, facts, share, is_asked):
    state = replace(RUNS, share=share)
    assert is_judged_now(PRODUCTION, PINNED, before, facts, state) is is_asked
    assert not is_judged_now(DEV, PINNED, before, facts, state)


@pytest.mark.parametrize(
    ("facts", "state", "may"),
    [
        (PASSED, RUNS, True),
        (READY, RUNS, False),
        (replace(READY, verdict=verdict(Outcome.INCONCLUSIVE)), RUNS, False),
        (replace(PASSED, aborted="crashed"), RUNS, False),
        (replace(PASSED, healthy_since=None), RUNS, False),
        (PASSED, None, False),
        (PASSED, STARTS, False),
        (PASSED, replace(RUNS, share=1), False),
        (PASSED, replace(RUNS, release=BEFORE.identity), False),
    ],
)
def test_a_release_takes_the_next_step_when_it_is_ready_and_judged_well(facts, state, may):
    assert may_advance(PRODUCTION, PINNED, facts, state, START) is may


def test_a_release_that_was_verified_here_takes_every_step_without_a_verdict_or_a_pause():
    steps = (Step(share=0.1, pause_seconds=60), Step(share=0.5))
    slow = replace(PRODUCTION, rollout=Rollout(judged=True, steps=steps))
    restored, state = replace(READY, verified=(PINNED.identity,)), replace(RUNS, share=0.1)

    assert may_advance(slow, PINNED, restored, state, START)
    assert not may_advance(slow, PINNED, replace(restored, aborted="crashed"), state, START)
    assert not may_advance(slow, PINNED, restored, replace(state, ready=False), START)
    assert not may_advance(slow, PINNED, replace(READY, verified=("another",)), state, START)


def test_where_nothing_is_judged_a_ready_release_takes_the_next_step():
    unjudged = replace(PRODUCTION, rollout=Rollout())
    assert may_advance(unjudged, PINNED, READY, RUNS, START)


def test_an_environment_that_joins_another_takes_no_steps():
    assert not may_advance(CANARY, PINNED, PASSED, RUNS, START)


@pytest.mark.parametrize(
    ("share", "seconds", "may"),
    [(0.05, 0, True), (0.1, 59, False), (0.1, 60, True), (0.2, 89, False), (0.2, 90, True)],
)
def test_the_next_step_waits_for_the_pauses_of_all_that_were_taken(share, seconds, may):
    steps = (Step(share=0.1, pause_seconds=60), Step(share=0.2, pause_seconds=30), Step(share=0.5))
    slow = replace(PRODUCTION, rollout=Rollout(judged=True, steps=steps))
    state = replace(RUNS, share=share)
    assert may_advance(slow, PINNED, PASSED, state, after(seconds)) is may


def told(before, now):
    return [(each.what, each.is_good) for each in release_events(PINNED, before, now)]


@pytest.mark.parametrize(
    ("before", "now", "events"),
    [
        (SEEN, READY, [("is ready", True)]),
        (READY, READY, []),
        (replace(READY, release=BEFORE.identity), READY, [("is ready", True)]),
        (READY, PASSED, [("judged pass: so it was measured", True)]),
        (READY, FAILED, [("judged fail: so it was measured", False)]),
        (PASSED, VERIFIED, [("is verified", True)]),
        (VERIFIED, VERIFIED, []),
        (VERIFIED, replace(VERIFIED, verified=(BEFORE.identity,)), []),
        (SEEN, GONE, [("is out of traffic: crashed", False)]),
        (GONE, GONE, []),
        (
            SEEN,
            replace(SEEN, fault=OWN),
            [("cannot start, by its own fault: golden row 3 differs", False)],
        ),
        (
            SEEN,
            replace(SEEN, fault=NO_NODE),
            [("cannot start, by no fault of its own, and is tried again: no node of 7", False)],
        ),
        (replace(SEEN, fault=OWN), replace(SEEN, fault=OWN), []),
        (SEEN, replace(GONE, fault=OWN), [("is out of traffic: crashed", False)]),
    ],
)
def test_each_change_of_a_release_is_told_once(before, now, events):
    assert told(before, now) == events


@pytest.mark.parametrize("hours", [1, -1])
@pytest.mark.parametrize("facts", [SEEN, READY, PASSED, replace(SEEN, fault_since=START)])
def test_a_release_that_is_not_decided_begins_anew_when_the_clock_jumps(facts, hours):
    now = after(3600 * hours)
    for even_since in (now, None) if hours < 0 else (now,):
        begun = begin_again(facts, now=now, even_since=even_since)
        moments = ("seen_at", "healthy_since", "fault_since")
        expected = {name: now for name in moments if getattr(facts, name) is not None}
        assert begun == replace(facts, **expected)
        assert begin_again(begun, now=now + timedelta(seconds=9), even_since=even_since) == begun


@pytest.mark.parametrize("facts", [FAILED, GONE, VERIFIED, ReleaseFacts()])
def test_what_is_decided_stays_when_the_clock_jumps(facts):
    now = after(3600)
    assert begin_again(facts, now=now, even_since=now) == facts


def test_a_release_that_came_after_the_jump_keeps_its_times():
    assert begin_again(READY, now=after(3600), even_since=after(-10)) == READY
    assert begin_again(READY, now=after(-20), even_since=None) == READY


def test_a_jump_makes_no_release_verified_early():
    soaks = replace(DEV, soak_seconds=600)
    pinned = release("dev", "v2")
    facts = replace(READY, release=pinned.identity)
    runs = replace(RUNS, release=pinned.identity, share=1.0)
    now = after(3600)
    begun = begin_again(facts, now=now, even_since=now)
    assert pinned.identity not in with_verification(begun, pinned, soaks, runs, now).verified
    later = now + timedelta(seconds=601)
    assert pinned.identity in with_verification(begun, pinned, soaks, runs, later).verified


def test_what_was_verified_by_a_clock_that_was_ahead_soaks_again_and_not_until_then():
    now = after(-3600)
    assert begin_again(VERIFIED, now=now, even_since=None) == replace(VERIFIED, healthy_since=now)
    assert begin_again(VERIFIED, now=after(-9), even_since=after(-9)) == VERIFIED
