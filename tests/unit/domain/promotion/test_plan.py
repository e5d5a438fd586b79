from __future__ import annotations

from dataclasses import replace

import pytest

from modelyard.domain.people import Person
from modelyard.domain.promotion.actions import (
    ClosePull,
    Merge,
    PlaceHold,
    ProposeRelease,
    RemoveAlias,
    SetAlias,
    SetStatus,
)
from modelyard.domain.promotion.change import Purpose
from modelyard.domain.promotion.facts import Freeze
from modelyard.domain.promotion.plan import find_missing_for_pull, plan, shorten_description
from modelyard.domain.promotion.pulls import CHECKS, PROMOTE, PullState, Status, StatusState
from modelyard.domain.promotion.world import World
from modelyard.domain.verdict import Outcome
from unit.domain.promotion.examples import BOT, START, record, release, spec
from unit.domain.promotion.simulated import Simulated
from unit.domain.promotion.simulated_forge import Documents

EVERYWHERE = ("dev", "staging", "canary", "production")


@pytest.fixture
def sim():
    """v1 verified everywhere, v2 verified in dev and proposed for staging, green but unchecked."""
    sim = Simulated()
    sim.let_run("v1", *EVERYWHERE)
    sim.let_run("v2", "dev", champion="v1")
    sim.reconcile()
    return sim


def status(sim, purpose, subject):
    """(state, description) of `modelyard/promote` on the pull request."""
    said = sim.pull_of(purpose, subject).statuses[PROMOTE]
    return said.state, said.description


def staging(sim):
    return sim.pull_of(Purpose.PROMOTE, "staging")


def test_nothing_is_missing_of_an_empty_world():
    sim = Simulated()
    assert plan(World(model="m", catalog=sim.world().catalog, now=START, bot=BOT)) == ()


def test_the_same_world_gives_the_same_plan(sim):
    assert plan(sim.world()) == plan(sim.world())


# Statuses and merges


def test_a_status_is_pending_until_the_checks_have_answered(sim):
    said = f"modelyard/checks to pass for {staging(sim).head[:10]}"
    assert status(sim, Purpose.PROMOTE, "staging") == (StatusState.PENDING, said)


def test_a_status_that_was_said_is_not_said_again(sim):
    assert [each for each in sim.plan() if isinstance(each, SetStatus)] == []


def test_when_nothing_is_missing_it_says_so_and_merges_that_very_head(sim):
    sim.check()
    number, head = staging(sim).number, staging(sim).head
    assert [each for each in sim.plan() if isinstance(each, SetStatus | Merge)] == [
        SetStatus(
            number=number, sha=head, state=StatusState.SUCCESS, description="nothing is missing"
        ),
        Merge(number=number, sha=head),
    ]
    sim.reconcile()
    assert sim.releases["staging"] == release("staging", "v2")


def test_a_promotion_a_person_opened_is_closed_and_the_tool_opens_its_own(sim):
    theirs = staging(sim)
    sim.pulls[theirs.number] = replace(theirs, author=Person.named("ada"))
    sim.check()
    sim.reconcile()
    assert sim.pulls[theirs.number].state is PullState.CLOSED
    assert (staging(sim).number > theirs.number, str(staging(sim).author)) == (True, BOT)


def test_a_freeze_turns_a_green_promotion_red_and_its_end_merges_it(sim):
    sim.check()
    sim.freezes["staging"] = Freeze(reason="audit", by="ada", since=START)
    sim.reconcile()
    assert status(sim, Purpose.PROMOTE, "staging") == (
        StatusState.FAILURE,
        "staging is frozen by ada: audit",
    )
    sim.freezes.clear()
    sim.reconcile()
    assert staging(sim).state is PullState.MERGED


def test_lost_health_turns_a_promotion_red_and_keeps_it_open_with_its_approvals(sim):
    sim.let_run("v2", "staging")
    sim.reconcile()
    sim.check()
    sim.review(sim.pull_of(Purpose.PROMOTE, "canary").number, "ada")
    sim.watch("staging", ready=False)
    sim.reconcile()
    assert status(sim, Purpose.PROMOTE, "canary") == (
        StatusState.FAILURE,
        "v2 in staging: not ready",
    )
    sim.watch("staging")
    sim.wait(300)
    sim.watch("staging")
    sim.reconcile()
    assert sim.pull_of(Purpose.PROMOTE, "canary").state is PullState.MERGED


def test_what_blocks_is_said_before_what_is_still_to_come(sim):
    sim.freezes["staging"] = Freeze(reason="audit", by="ada", since=START)
    sim.reconcile()
    said = f"staging is frozen by ada: audit; {CHECKS} to pass for {staging(sim).head[:10]}"
    assert status(sim, Purpose.PROMOTE, "staging") == (StatusState.FAILURE, said)


def test_a_long_status_is_cut_to_what_a_forge_keeps_and_is_not_said_again(sim):
    sim.freezes["staging"] = Freeze(reason="audit " * 50, by="ada", since=START)
    sim.reconcile()
    _, said = status(sim, Purpose.PROMOTE, "staging")
    assert (len(said), said[:40], said[-1]) == (
        140,
        "staging is frozen by ada: audit audit au",
        "\N{HORIZONTAL ELLIPSIS}",
    )
    assert sim.reconcile() == 0
    assert shorten_description("a" * 140) == "a" * 140


def test_a_pull_request_that_changes_no_environment_is_green_and_left_to_people(sim):
    sim.propose("modelyard/retrain/m", Documents(record=record("v9")), ("v3",))
    sim.check()
    sim.reconcile()
    (pull,) = (each for each in sim.open_pulls if each.branch == "modelyard/retrain/m")
    assert (pull.statuses[PROMOTE].description, find_missing_for_pull(sim.world(), pull)) == (
        "changes no environment",
        None,
    )


def test_nobody_merges_a_head_the_same_plan_replaces(sim):
    sim.check()
    sim.let_run("v3", "dev", champion="v1")
    assert [each for each in sim.plan() if isinstance(each, Merge)] == []
    sim.reconcile()
    assert (staging(sim).labels, staging(sim).state) == (("v3", "staging"), PullState.OPEN)


def test_a_pull_request_that_would_be_written_otherwise_now_is_proposed_again_and_not_merged(sim):
    sim.check()
    world = sim.world()
    (merge,) = (each for each in plan(world) if isinstance(each, Merge))
    outdated = replace(world.proposals[merge.number], is_current=False)

    found = plan(replace(world, proposals={**world.proposals, merge.number: outdated}))

    again = ProposeRelease(environment="staging", version="v2", attempt=1)
    assert again in found
    assert again not in plan(world)
    assert [each for each in found if isinstance(each, Merge)] == []


def relabelled(sim, pull, *labels):
    sim.pulls[pull.number] = replace(pull, labels=labels)


def test_a_promotion_is_decided_by_the_version_its_head_pins_whatever_its_labels_say(sim):
    before = find_missing_for_pull(sim.world(), staging(sim))
    relabelled(sim, staging(sim), "v1", "anything")

    assert find_missing_for_pull(sim.world(), staging(sim)) == before
    sim.check()
    sim.reconcile()

    assert sim.releases["staging"] == release("staging", "v2")


# Records


def finished(sim, version, outcome):
    """The version's workflow ended and its record was proposed."""
    sim.versions[version] = spec(version)
    sim.finish(version, outcome, champion="v1")
    sim.reconcile()
    return sim.pull_of(Purpose.RECORD, version)


@pytest.mark.parametrize("outcome", [Outcome.FAIL, Outcome.INCONCLUSIVE])
def test_a_record_that_did_not_pass_is_merged_without_any_release(sim, outcome):
    finished(sim, "v3", outcome)
    sim.check()
    sim.reconcile()
    assert sim.records["v3"] == record("v3", outcome, champion="v1")
    assert sim.releases["dev"] == release("dev", "v2")


def test_a_record_waits_for_checks_that_compute_its_verdict_again(sim):
    pull = finished(sim, "v3", Outcome.FAIL)
    said = f"modelyard/checks to pass for {pull.head[:10]}"
    assert status(sim, Purpose.RECORD, "v3") == (StatusState.PENDING, said)
    failed = Status(context=CHECKS, state=StatusState.FAILURE, description="another verdict")
    sim.say(pull.number, pull.head, failed)
    sim.reconcile()
    assert sim.pull_of(Purpose.RECORD, "v3").state is PullState.OPEN


def test_a_record_that_passed_is_merged_together_with_its_first_release(sim):
    finished(sim, "v3", Outcome.PASS)
    sim.check()
    sim.reconcile()
    assert (sim.records["v3"].version, sim.releases["dev"]) == ("v3", release("dev", "v3"))


def test_a_superseded_version_gives_its_release_up_and_keeps_its_record(sim):
    before = finished(sim, "v3", Outcome.PASS)
    finished(sim, "v4", Outcome.PASS)
    after = sim.pull_of(Purpose.RECORD, "v3")
    assert ("release" in before.labels, "release" in after.labels) == (True, False)
    assert before.head != after.head
    sim.check()
    sim.reconcile()
    assert {"v3", "v4"} <= set(sim.records)
    assert sim.releases["dev"] == release("dev", "v4")


def test_a_record_brings_the_release_its_head_holds_whatever_its_labels_say(sim):
    pull = finished(sim, "v3", Outcome.PASS)
    relabelled(sim, pull)
    sim.freezes["dev"] = Freeze(reason="audit", by="ada", since=START)
    sim.check()
    sim.reconcile()
    assert status(sim, Purpose.RECORD, "v3") == (
        StatusState.FAILURE,
        "dev is frozen by ada: audit",
    )


def test_a_newer_record_closes_the_promotion_of_an_older_version_into_the_first_environment(sim):
    sim.records["v3"] = record("v3")
    sim.versions["v3"] = spec("v3")
    sim.reconcile()
    assert sim.pull_of(Purpose.PROMOTE, "dev").state is PullState.OPEN
    finished(sim, "v4", Outcome.PASS)
    assert sim.pull_of(Purpose.PROMOTE, "dev").closed_by == Person.named(BOT)
    assert "release" in sim.pull_of(Purpose.RECORD, "v4").labels


def test_records_are_merged_where_there_is_no_environment():
    sim = Simulated(environments={})
    finished(sim, "v1", Outcome.PASS)
    sim.check()
    sim.reconcile()
    assert set(sim.records) == {"v1"}


# What a plan is about to put on hold


def test_a_version_that_goes_bad_in_one_environment_enters_no_other_in_the_same_plan(sim):
    sim.let_run("v2", "staging")
    sim.reconcile()
    sim.check()
    sim.review(sim.pull_of(Purpose.PROMOTE, "canary").number, "ada")
    sim.watch("dev", aborted="crashed")
    actions = sim.plan()
    assert actions[0] == PlaceHold(version="v2", reason="dev: crashed")
    assert [each for each in actions if isinstance(each, Merge)] == []
    (close,) = (each for each in actions if isinstance(each, ClosePull))
    assert close.reason.startswith(f"v2 is on hold by {BOT}: dev: crashed; ")


# Aliases


def test_aliases_follow_the_last_verified_release(sim):
    assert sim.aliases == {"dev": "v2", "staging": "v1", "canary": "v1", "production": "v1"}
    sim.name(release("staging", "v2"))
    sim.watch("staging")
    sim.reconcile()
    assert sim.aliases["staging"] == "v1"
    sim.wait(300)
    sim.watch("staging")
    sim.reconcile()
    assert sim.aliases["staging"] == "v2"


def test_an_alias_moved_by_hand_is_repaired(sim):
    sim.aliases["production"] = "v2"
    assert [each for each in sim.plan() if isinstance(each, SetAlias)] == [
        SetAlias(alias="production", version="v1")
    ]


def test_an_alias_goes_back_with_its_release(sim):
    sim.hold("v2", by="ada")
    sim.reconcile()
    assert sim.aliases["dev"] == "v1"


def test_no_alias_points_at_a_version_on_hold_even_while_another_one_soaks(sim):
    sim.let_run("v2", "staging")
    sim.name(release("staging", "v3"))
    sim.hold("v2", by="ada")
    sim.reconcile()
    assert sim.aliases["staging"] == "v1"


def test_the_plan_that_rolls_a_held_version_back_already_points_no_alias_at_it(sim):
    sim.hold("v2", by="ada")
    world = sim.world()
    assert SetAlias(alias="dev", version="v1") in plan(world)
    alone = {"dev": tuple(each for each in world.past["dev"] if each.release.version == "v2")}
    assert RemoveAlias(alias="dev", version="v2") in plan(replace(world, past=alone))


def test_nothing_verified_leaves_the_aliases_alone():
    sim = Simulated()
    sim.let_run("v1")
    sim.name(release("dev", "v1"))
    sim.aliases["dev"] = "v0"
    sim.reconcile()
    assert sim.aliases == {"dev": "v0"}
