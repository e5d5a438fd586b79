from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta

import pytest

from modelyard.domain.people import Person
from modelyard.domain.promotion.actions import PlaceHold, RaiseIncident, RollBack
from modelyard.domain.promotion.change import Purpose
from modelyard.domain.promotion.facts import Freeze, ReleaseFacts
from modelyard.domain.promotion.incidents import Incident, infrastructure_key, stuck_key
from modelyard.domain.promotion.promote import release_command
from modelyard.domain.promotion.pulls import PullState
from modelyard.domain.promotion.rollback import (
    is_over,
    plan_holds,
    plan_infrastructure_incidents,
    plan_rollbacks,
)
from modelyard.domain.promotion.world import PastRelease
from modelyard.domain.server_fault import Blame, ServerFault
from modelyard.domain.verdict import Outcome
from unit.domain.promotion.examples import START, release
from unit.domain.promotion.simulated import Simulated

EVERYWHERE = ("dev", "staging", "canary", "production")


@pytest.fixture
def sim():
    """v1 verified everywhere; then v2 in dev and staging, and seen in the canary."""
    sim = Simulated()
    sim.let_run("v1", *EVERYWHERE)
    sim.let_run("v2", "dev", "staging", champion="v1")
    sim.name(release("canary", "v2"), commit="v2 in canary")
    sim.watch("canary", judged=Outcome.INCONCLUSIVE)
    return sim


def back_to_v1(where, reason):
    return RollBack(
        environment=where,
        version="v2",
        target=PastRelease(release=release(where, "v1"), commit=f"v1 in {where}"),
        reason=reason,
    )


def is_way_back(action):
    return isinstance(action, RollBack)


def named(sim):
    return {where: each.version for where, each in sim.releases.items()}


def test_what_runs_well_stays(sim):
    assert (list(plan_holds(sim.world())), list(plan_rollbacks(sim.world()))) == ([], [])


def test_a_release_that_is_crashed_is_held_and_goes_back(sim):
    sim.watch("canary", judged=Outcome.FAIL)
    reason = "so it was measured"
    assert list(plan_holds(sim.world())) == [PlaceHold(version="v2", reason=f"canary: {reason}")]
    assert list(plan_rollbacks(sim.world())) == [back_to_v1("canary", reason)]


@pytest.mark.parametrize("last", ["aborted_at", "judged_at", "seen_at"])
def test_a_hold_that_was_lifted_after_the_last_that_went_wrong_is_not_placed_again(sim, last):
    sim.watch("canary", judged=Outcome.FAIL)
    times = {"aborted_at": None, "judged_at": None, "seen_at": sim.now - timedelta(days=1)}
    if last == "aborted_at":
        times["judged_at"] = sim.now - timedelta(days=1)
    sim.facts["canary"] = replace(sim.facts["canary"], **{**times, last: sim.now})

    assert [each.version for each in plan_holds(sim.world())] == ["v2"]
    sim.now -= timedelta(seconds=1)
    sim.lift("v2")
    assert [each.version for each in plan_holds(sim.world())] == ["v2"]
    sim.now += timedelta(seconds=1)
    sim.lift("v2")
    assert list(plan_holds(sim.world())) == []


def test_a_hold_that_was_lifted_is_placed_again_while_nobody_knows_when_it_went_wrong(sim):
    sim.watch("canary", judged=Outcome.FAIL)
    sim.facts["canary"] = replace(sim.facts["canary"], judged_at=None, seen_at=None)
    sim.lift("v2")
    assert [each.version for each in plan_holds(sim.world())] == ["v2"]


def test_an_aborted_release_goes_back_with_the_reason_it_was_aborted_for(sim):
    sim.watch("canary", judged=Outcome.FAIL, aborted="ada stopped it")
    assert list(plan_rollbacks(sim.world())) == [back_to_v1("canary", "ada stopped it")]


def test_facts_about_another_attempt_take_nothing_back(sim):
    sim.watch("canary", judged=Outcome.FAIL)
    sim.name(release("canary", "v2", attempt=2))
    assert (list(plan_holds(sim.world())), list(plan_rollbacks(sim.world()))) == ([], [])


def test_a_held_version_goes_back_everywhere_nearest_to_users_first(sim):
    sim.watch("canary")
    sim.wait(sim.environments["canary"].soak_seconds)
    sim.watch("canary")
    sim.name(release("production", "v2"))
    sim.hold("v2", by="ada", reason="wrong units")
    reason = "v2 is on hold: wrong units"
    assert list(plan_rollbacks(sim.world())) == [
        back_to_v1(where, reason) for where in ("canary", "production", "staging", "dev")
    ]
    sim.reconcile()
    assert named(sim) == dict.fromkeys(EVERYWHERE, "v1")


def test_one_bad_judgement_takes_the_version_out_of_every_environment(sim):
    sim.watch("canary", judged=Outcome.FAIL)
    sim.reconcile()
    assert named(sim) == dict.fromkeys(EVERYWHERE, "v1")
    assert sim.model_facts.holds["v2"].reason == "canary: so it was measured"


def test_a_held_version_that_was_merged_all_the_same_goes_back(sim):
    sim.hold("v2", by="ada")
    sim.reconcile()
    sim.name(release("production", "v2"), commit="merged against a red status")
    sim.reconcile()
    assert named(sim) == dict.fromkeys(EVERYWHERE, "v1")


@pytest.mark.parametrize("blame", list(Blame))
def test_what_entered_rightly_stays_when_the_environment_before_loses_it_later(sim, blame):
    sim.watch("staging", aborted="the cluster gave up")
    fault = ServerFault(why="no node", blame=blame)
    sim.facts["staging"] = replace(sim.facts["staging"], fault=fault, aborted_at=sim.now)
    sim.lift("v2")

    found = list(plan_rollbacks(sim.world()))

    assert found == [back_to_v1("staging", "the cluster gave up")]


def test_what_was_verified_elsewhere_before_its_facts_were_of_another_release_stays(sim):
    sim.watch("staging", aborted="the cluster gave up")
    sim.name(release("staging", "v1"), commit="v1 is back")
    sim.watch("staging")

    assert list(plan_rollbacks(sim.world())) == []


@pytest.mark.parametrize("aborted", [None, "the cluster gave up"])
def test_what_was_never_verified_one_environment_before_goes_back(sim, aborted):
    sim.name(release("staging", "v3"), commit="v3 in staging")
    sim.watch("staging", aborted=aborted)
    sim.name(release("canary", "v3"), commit="v3 in canary")
    sim.watch("canary")

    found = {
        each.environment: each.reason for each in plan_rollbacks(sim.world()) if is_way_back(each)
    }

    assert found["canary"] == "v3 was never verified in staging, which comes before"


def test_no_freeze_stops_a_rollback(sim):
    for where in EVERYWHERE:
        sim.freezes[where] = Freeze(reason="holidays", by="ada", since=START)
    sim.watch("canary", judged=Outcome.FAIL)
    sim.reconcile()
    assert named(sim) == dict.fromkeys(EVERYWHERE, "v1")


def test_goes_back_past_what_is_held_or_was_never_verified(sim):
    sim.let_run("v3", "dev")
    sim.name(release("dev", "v4"), commit="never looked at")
    sim.name(release("dev", "v5"), commit="v5 in dev")
    sim.hold("v3", by="ada")
    sim.hold("v5", by="ada")
    (action,) = plan_rollbacks(sim.world())
    assert (action.environment, action.target.release) == ("dev", release("dev", "v2"))


def test_never_rolls_a_rollback_back(sim):
    sim.let_run("v0", "dev")
    sim.past["dev"] = (*sim.past["dev"][1:], sim.past["dev"][0])
    sim.releases["dev"] = release("dev", "v2")
    sim.hold("v2", by="ada")
    sim.reconcile()
    assert sim.releases["dev"] == release("dev", "v1")
    sim.watch("dev", aborted="crashed")
    why = "a rollback restored it; modelyard rollback dev m --reason ... takes it out"
    what = f"dev has v1 of m: crashed. A person must decide: {why}"
    assert [each for each in plan_rollbacks(sim.world()) if each.what.startswith("dev")] == [
        RaiseIncident(what=what, key="stuck/dev/v1/1/restored")
    ]


def test_with_nothing_to_go_back_to_people_are_told_loudly_and_once():
    sim = Simulated()
    sim.let_run("v1")
    sim.name(release("dev", "v1"))
    sim.watch("dev", ready=False, aborted="never ready")
    command = "modelyard rollback dev m --remove --reason ..."
    why = f"there is no verified release to restore; {command} takes it out"
    what = f"dev has v1 of m: never ready. A person must decide: {why}"
    raised = RaiseIncident(what=what, key="stuck/dev/v1/1/no-way-back")
    assert list(plan_rollbacks(sim.world())) == [raised]
    sim.reconcile()
    assert [each.what for each in sim.model_facts.incidents] == [what]
    assert sim.plan() == ()


def test_what_was_not_ready_by_no_fault_of_its_own_may_be_tried_again():
    sim = Simulated()
    sim.let_run("v1")
    sim.name(release("dev", "v1"))
    sim.watch("dev", ready=False, aborted="not ready within 90 s")
    fault = ServerFault(why="no node", blame=Blame.INFRASTRUCTURE)
    sim.facts["dev"] = replace(sim.facts["dev"], fault=fault)
    (raised,) = plan_rollbacks(sim.world())
    assert raised.what == (
        "dev has v1 of m: not ready within 90 s. A person must decide: there is no verified "
        "release to restore; modelyard promote dev m v1 tries it again, "
        "modelyard rollback dev m --remove --reason ... takes it out"
    )


def held_by_a_person(sim):
    sim.watch("dev")
    sim.hold("v1", by="ada")


def crashed(sim):
    sim.watch("dev", aborted="crashed")


def crashed_and_held(sim):
    crashed(sim)
    sim.hold("v1", by="judge")


def crashed_and_the_hold_lifted(sim):
    crashed(sim)
    sim.model_facts = replace(sim.model_facts, lifted={"v1": sim.now + timedelta(1)})


def not_ready_by_no_fault_of_its_own(sim):
    sim.watch("dev", ready=False, aborted="not ready within 90 s")
    fault = ServerFault(why="no node", blame=Blame.INFRASTRUCTURE)
    sim.facts["dev"] = replace(sim.facts["dev"], fault=fault)


def restored_and_bad(sim):
    sim.watch("dev", aborted="crashed")
    facts = sim.facts["dev"]
    sim.facts["dev"] = replace(facts, rolled_back_to=facts.release)


def restored_and_held(sim):
    restored_and_bad(sim)
    sim.hold("v1", by="ada")


@pytest.mark.parametrize("has_earlier", [False, True])
@pytest.mark.parametrize(
    ("happens", "tries_again"),
    [
        (held_by_a_person, False),
        (crashed, False),
        (crashed_and_held, False),
        (crashed_and_the_hold_lifted, True),
        (not_ready_by_no_fault_of_its_own, True),
        (restored_and_bad, False),
        (restored_and_held, False),
    ],
)
def test_the_incident_and_the_status_of_a_stuck_release_name_the_same_command_first(
    happens, tries_again, has_earlier
):
    sim = Simulated()
    if has_earlier:
        sim.let_run("v0", "dev")
    sim.let_run("v1")
    sim.name(release("dev", "v1"), commit="v1 in dev")
    happens(sim)
    world = sim.world()
    planned = list(plan_rollbacks(world))
    command = release_command(world, world.catalog.environments["dev"])
    if any(map(is_way_back, planned)):
        assert command == "modelyard reconcile m"
        return

    (raised,) = planned

    first, *_ = re.findall("modelyard [^;,]+", raised.what)
    assert first.startswith(command)
    assert command.startswith("modelyard promote") is tries_again
    # What restores an earlier release is no removal, and the other way round.
    assert ("--remove" in raised.what) is not has_earlier


def test_an_incident_about_a_release_is_over_once_that_is_well_gone_or_another_attempt():
    sim = Simulated()
    sim.let_run("v1")
    sim.name(release("dev", "v1"))
    sim.watch("dev", ready=False, aborted="not ready within 90 s")
    (raised,) = plan_rollbacks(sim.world())
    incident = Incident(what=raised.what, key=raised.key, at=sim.now)
    assert not is_over(sim.world(), incident)

    sim.name(release("dev", "v1", attempt=2))
    assert is_over(sim.world(), incident)
    assert not is_over(replace(sim.world(), unknown=frozenset({"dev"})), incident)
    del sim.releases["dev"]
    assert is_over(sim.world(), incident)


def test_an_incident_about_a_held_version_is_over_once_that_is_allowed_again(sim):
    found = release("dev", "v2")
    incident = Incident(what="held", key=stuck_key(found, is_restored=False), at=sim.now)
    sim.hold("v2", by="ada")
    assert not is_over(sim.world(), incident)
    sim.lift("v2")
    assert is_over(sim.world(), incident)


@pytest.mark.parametrize(
    "key", ["contract/feed/*.csv#a/type/text", "unreviewed/dev/ab", "stuck/v1"]
)
def test_an_incident_about_something_else_is_never_over_by_itself(sim, key):
    assert not is_over(sim.world(), Incident(what="look", key=key, at=sim.now))


def test_servers_that_cannot_start_are_over_once_they_have(sim):
    found = release("dev", "v2")
    incident = Incident(what="no node", key=infrastructure_key(found, sim.now), at=sim.now)
    fault = ServerFault(why="no node", blame=Blame.INFRASTRUCTURE)
    sim.facts["dev"] = replace(sim.facts["dev"], fault=fault, fault_since=sim.now)
    assert not is_over(sim.world(), incident)
    sim.facts["dev"] = replace(sim.facts["dev"], fault=None, fault_since=None)
    assert is_over(sim.world(), incident)


def test_another_reason_for_the_same_trouble_is_not_told_again():
    sim = Simulated()
    sim.let_run("v1")
    sim.name(release("dev", "v1"))
    sim.watch("dev", aborted="never ready")
    sim.reconcile()
    sim.facts["dev"] = replace(sim.facts["dev"], aborted="never ready, 3 of 3 pods")
    assert sim.plan() == ()


def test_another_wording_of_the_same_trouble_is_not_told_again():
    sim = Simulated()
    sim.let_run("v1")
    sim.name(release("dev", "v1"))
    sim.watch("dev", aborted="never ready")
    sim.reconcile()
    (incident,) = sim.model_facts.incidents
    reworded = replace(incident, what="an older modelyard's words: never ready")
    sim.model_facts = replace(sim.model_facts, incidents=(reworded,))
    assert sim.plan() == ()


def test_another_attempt_in_the_same_trouble_is_told():
    sim = Simulated()
    sim.let_run("v1")
    for attempt in (1, 2):
        sim.name(release("dev", "v1", attempt=attempt))
        sim.watch("dev", aborted="never ready")
        sim.reconcile()
    starts = [each.what.partition(":")[0] for each in sim.model_facts.incidents]
    assert starts == ["dev has v1 of m", "dev has v1 (attempt 2) of m"]


def test_inconclusive_until_the_deadline_stays_and_then_goes_back_without_a_hold(sim):
    sim.wait(3600)
    assert list(plan_rollbacks(sim.world())) == []
    sim.wait(1)
    reason = "still inconclusive after 3600 s"
    assert list(plan_rollbacks(sim.world())) == [back_to_v1("canary", reason)]
    assert list(plan_holds(sim.world())) == []


def test_what_stayed_inconclusive_does_not_come_back_by_itself(sim):
    sim.wait(3601)
    for _ in range(3):
        sim.reconcile()
        for where in EVERYWHERE:
            sim.watch(where)
        sim.wait(86_400)
    assert named(sim) == {"dev": "v2", "staging": "v2", "canary": "v1", "production": "v1"}
    assert sim.open_pulls == []


def test_a_verified_release_is_never_overdue(sim):
    sim.wait(60)
    sim.watch("canary")
    sim.wait(86_400)
    assert list(plan_rollbacks(sim.world())) == []


def test_an_environment_that_is_not_judged_has_no_deadline(sim):
    sim.let_run("v3")
    sim.name(release("dev", "v3"))
    sim.watch("dev", ready=False)
    sim.wait(10 * 86_400)
    assert [each.environment for each in plan_rollbacks(sim.world())] == ["canary"]


def bring_undecided_to_production(sim):
    """v2 is in canary and in production, where its time to be judged is over."""
    sim.wait(60)
    sim.watch("canary")
    sim.name(release("production", "v2"), commit="v2 in production")
    sim.watch("production", judged=Outcome.INCONCLUSIVE)
    sim.wait(7201)


def test_what_joins_production_goes_back_with_it_and_before_it(sim):
    bring_undecided_to_production(sim)
    assert list(plan_rollbacks(sim.world())) == [
        back_to_v1("canary", "production: still inconclusive after 7200 s"),
        back_to_v1("production", "still inconclusive after 7200 s"),
    ]
    sim.reconcile()
    assert named(sim) == {"dev": "v2", "staging": "v2", "canary": "v1", "production": "v1"}
    assert sim.model_facts.holds == {}


def test_what_joins_production_stays_where_production_cannot_go_back(sim):
    bring_undecided_to_production(sim)
    known = sim.world()
    first = replace(known.facts["production"], verified=())
    found = list(plan_rollbacks(replace(known, facts={**known.facts, "production": first})))
    # People decide about production. Without it, the canary would only be taken from its version.
    assert [type(each) for each in found] == [RaiseIncident]
    assert found[0].what.startswith("production has v2 of m: still inconclusive")


def test_an_undecided_version_stays_in_production_while_its_canary_is_unknown(sim):
    bring_undecided_to_production(sim)
    known = sim.world()
    world = replace(
        known, facts={**known.facts, "canary": ReleaseFacts()}, unknown=frozenset({"canary"})
    )
    assert (list(plan_holds(world)), list(plan_rollbacks(world))) == ([], [])

    sim.hold("v2", by="ada")
    world = replace(world, model_facts=sim.model_facts)
    assert [each.environment for each in plan_rollbacks(world)] == ["production", "staging", "dev"]


def test_another_version_in_the_canary_stays_when_production_goes_back(sim):
    bring_undecided_to_production(sim)
    sim.let_run("v3", "canary")
    assert [each.environment for each in plan_rollbacks(sim.world())] == ["production"]


def test_a_rollback_killed_before_its_merge_is_finished_on_the_same_pull_request(sim):
    sim.watch("canary", judged=Outcome.FAIL)
    (action,) = plan_rollbacks(sim.world())
    sim.roll_back(action, killed=True)
    (left,) = sim.open_pulls
    sim.reconcile()
    assert sim.releases["canary"] == release("canary", "v1")
    assert sim.pull_of(Purpose.ROLLBACK, "canary").number == left.number
    assert sim.pulls[left.number].state is PullState.MERGED


def test_a_rollback_that_nothing_asks_for_any_more_is_closed(sim):
    sim.watch("canary", judged=Outcome.FAIL)
    (action,) = plan_rollbacks(sim.world())
    sim.roll_back(action, killed=True)
    sim.name(release("canary", "v1"), commit="by hand")
    sim.reconcile()
    assert sim.pull_of(Purpose.ROLLBACK, "canary").closed_by == Person.named("modelyard-bot")
    assert sim.releases["canary"] == release("canary", "v1")


def test_servers_that_cannot_start_for_too_long_are_told_and_blame_nobody(sim):
    def told(**changed):
        facts = replace(sim.facts["canary"], **changed)
        world = replace(sim.world(), facts={**sim.facts, "canary": facts})
        return list(plan_infrastructure_incidents(world))

    since = sim.now
    sim.facts["canary"] = replace(
        sim.facts["canary"],
        fault=ServerFault(why="no node", blame=Blame.INFRASTRUCTURE),
        fault_since=since,
    )
    sim.wait(90)
    assert told() == []
    sim.wait(1)
    what = "canary cannot start v2 of m, by no fault of the version; it is tried again: no node"
    key = f"infrastructure/canary/v2/1/{since.isoformat()}"
    assert told() == [RaiseIncident(what=what, key=key)]
    assert told(aborted="never ready") == []
    assert told(release="another one") == []
    assert told(fault=None) == told(fault_since=None) == []
    unknown = replace(sim.world(), unknown=frozenset({"canary"}))
    assert list(plan_infrastructure_incidents(unknown)) == []
