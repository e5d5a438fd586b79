"""Whose yes counts for a promotion, and on which commit."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from modelyard.domain.people import Person
from modelyard.domain.promotion.approvals import find_waiver, missing_approvals
from modelyard.domain.promotion.change import Purpose
from modelyard.domain.promotion.promote import find_missing, promotion_target
from modelyard.domain.promotion.pulls import BrokenGlass, StatusState
from modelyard.domain.specs.environment import Approvals
from unit.domain.promotion.simulated import Simulated


@pytest.fixture
def sim():
    """v1 verified everywhere, v2 compared with it and verified in dev."""
    sim = Simulated()
    sim.let_run("v1", "dev", "staging", "canary", "production")
    sim.let_run("v2", "dev", champion="v1")
    return sim


def waits_for(sim, environment):
    """What the environment's promotion still waits for, as (what, blocks)."""
    pull = sim.pull_of(Purpose.PROMOTE, environment)
    where, version = promotion_target(sim.world(), pull)
    return [
        (each.what, each.blocks)
        for each in find_missing(sim.world(), where, version=version, pull=pull)
    ]


def test_checks_must_have_said_yes_on_this_very_head(sim):
    sim.reconcile()
    pull = sim.pull_of(Purpose.PROMOTE, "staging")
    assert waits_for(sim, "staging") == [(f"modelyard/checks to pass for {pull.head[:10]}", False)]
    sim.check(state=StatusState.FAILURE)
    assert waits_for(sim, "staging") == [("modelyard/checks: so said the checks", True)]


def asked_for_production(sim):
    """A promotion of v2 into production that lacks nothing but approvals; returns its number."""
    sim.let_run("v2", "staging", "canary")
    sim.reconcile()
    sim.check()
    return sim.pull_of(Purpose.PROMOTE, "production").number


@pytest.mark.parametrize(("member", "counts"), [("dee", True), ("eve", False)])
def test_the_approval_of_a_member_counts_for_the_team_and_of_nobody_else(sim, member, counts):
    number = asked_for_production(sim)
    sim.review(number, "dee")
    members = frozenset({Person.named(member)})
    pull = replace(sim.pulls[number], teams={"org/leads": members, "org/others": None})
    asked = Approvals(needed=1, approvers=("org/leads",))
    where = replace(sim.environments["production"], approvals=asked)

    assert (missing_approvals(where, pull) is None) is counts


def test_where_anybody_may_approve_a_teammate_is_asked(sim):
    pull = sim.pulls[asked_for_production(sim)]
    where = replace(sim.environments["production"], approvals=Approvals(needed=1))

    assert missing_approvals(where, pull) == f"1 more approval of {pull.head[:10]}, from a teammate"


@pytest.mark.parametrize(
    ("members", "is_named"),
    [(None, True), (frozenset(), False), (frozenset({Person(login="cy", id="3")}), False)],
)
def test_a_team_whose_members_the_forge_does_not_say_is_named(sim, members, is_named):
    number = asked_for_production(sim)
    pull = replace(sim.pulls[number], teams={"org/leads": members})
    asked = Approvals(needed=1, approvers=("ada", "org/leads", "org/unasked"))
    where = replace(sim.environments["production"], approvals=asked)

    said = missing_approvals(where, pull)

    assert ("who is in org/leads is not known" in said) is is_named
    assert "org/unasked is not known" not in said


def test_approvals_count_once_a_person_and_only_of_the_list(sim):
    number = asked_for_production(sim)
    head = sim.pulls[number].head[:10]
    two = (f"2 more approvals of {head}, from among ada, bob, cy", False)
    one = (f"1 more approval of {head}, from among ada, bob, cy", False)
    assert waits_for(sim, "production") == [two]
    sim.review(number, "dee")
    assert waits_for(sim, "production") == [two]
    sim.review(number, "ada")
    sim.review(number, "ada")
    assert waits_for(sim, "production") == [one]
    sim.review(number, "cy")
    assert waits_for(sim, "production") == []


def test_the_last_word_of_a_person_counts(sim):
    number = asked_for_production(sim)
    for who in ("ada", "bob"):
        sim.review(number, who)
    sim.review(number, "bob", approved=False)
    assert [what[:16] for what, _ in waits_for(sim, "production")] == ["1 more approval "]


def test_approvals_of_an_older_head_do_not_count(sim):
    number = asked_for_production(sim)
    for who in ("ada", "bob"):
        sim.review(number, who)
    assert waits_for(sim, "production") == []
    sim.documents["b" * 40] = sim.documents[sim.pulls[number].head]
    sim.pulls[number] = replace(sim.pulls[number], head="b" * 40)
    assert [what[:16] for what, _ in waits_for(sim, "production")] == ["2 more approvals"]


def test_author_requester_and_whoever_committed_never_approve(sim):
    number = asked_for_production(sim)
    sim.pulls[number] = replace(
        sim.pulls[number],
        author=Person.named("ada"),
        requester=Person.named("bob"),
        contributors=(Person.named("cy"),),
    )
    for who in ("ada", "bob", "cy"):
        sim.review(number, who)
    assert [what[:16] for what, _ in waits_for(sim, "production")] == ["2 more approvals"]


def test_while_nobody_knows_who_pushed_the_head_no_approval_counts(sim):
    number = asked_for_production(sim)
    for who in ("ada", "bob", "cy"):
        sim.review(number, who)
    assert waits_for(sim, "production") == []

    head = sim.pulls[number].head
    sim.pulls[number] = replace(sim.pulls[number], unmapped=(head,))

    ((what, blocks),) = waits_for(sim, "production")
    assert not blocks
    assert what.startswith(f"a push of {head[:10]} to a branch of this repository")


def test_approvals_for_another_base_branch_do_not_count_and_it_says_why(sim):
    number = asked_for_production(sim)
    for who in ("ada", "bob"):
        sim.review(number, who)
    assert waits_for(sim, "production") == []

    last = max(review.at for review in sim.pulls[number].reviews)
    sim.pulls[number] = replace(sim.pulls[number], retargeted_at=last)

    ((what, blocks),) = waits_for(sim, "production")
    assert not blocks
    assert what.startswith("2 more approvals of ")
    assert what.endswith(f"; given after {last:%H:%M:%S} UTC, when its base branch was changed")


def test_a_word_waives_the_approvals_of_its_commit_until_the_base_branch_changes(sim):
    number = asked_for_production(sim)
    pull, at = sim.pulls[number], datetime(2026, 3, 1, tzinfo=UTC)
    word = BrokenGlass(
        number=number, sha=pull.head, login="root", person="9", reason="down", at=at, issue=4
    )

    sim.pulls[number] = replace(pull, glass=word)
    assert waits_for(sim, "production") == []

    sim.pulls[number] = replace(pull, glass=replace(word, sha="0" * 40))
    assert len(waits_for(sim, "production")) == 1
    sim.pulls[number] = replace(pull, glass=word, retargeted_at=at)
    assert len(waits_for(sim, "production")) == 1


def test_a_word_does_not_count_for_what_was_merged_a_day_later(sim):
    pull = sim.pulls[asked_for_production(sim)]
    at = datetime(2026, 3, 1, tzinfo=UTC)
    word = BrokenGlass(
        number=pull.number, sha=pull.head, login="root", person="9", reason="down", at=at, issue=4
    )
    for hours, counts in ((23, True), (24, False)):
        merged = replace(pull, glass=word, closed_at=at + timedelta(hours=hours))
        assert (find_waiver(merged) is not None) is counts
