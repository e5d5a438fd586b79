from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from modelyard.domain.promotion.actions import ProposeRelease
from modelyard.domain.promotion.change import Purpose
from modelyard.domain.promotion.facts import Freeze, GateOverride
from modelyard.domain.promotion.promote import (
    Missing,
    champion_now,
    compared_champion,
    find_missing,
    find_override,
    gate_verdict,
    needs_comparison,
    plan_promotions,
)
from modelyard.domain.review.pushed_rules import PushedRule
from modelyard.domain.specs.environment import FreezeWindow
from modelyard.domain.verdict import Outcome
from unit.domain.promotion.examples import (
    BOT,
    CANARY,
    DEV,
    PRODUCTION,
    STAGING,
    record,
    release,
    verdict,
)
from unit.domain.promotion.simulated import Simulated

EVERYWHERE = ("dev", "staging", "canary", "production")


@pytest.fixture
def sim():
    """v1 verified everywhere, v2 compared with it and verified in dev."""
    sim = Simulated()
    sim.let_run("v1", *EVERYWHERE)
    sim.let_run("v2", "dev", champion="v1")
    return sim


def proposed(sim):
    return {each.environment: each.version for each in plan_promotions(sim.world())}


def lacking(sim, where, version="v2"):
    return find_missing(sim.world(), where, version=version)


def test_what_one_environment_verified_is_proposed_for_the_next_alone(sim):
    assert list(plan_promotions(sim.world())) == [
        ProposeRelease(environment="staging", version="v2", attempt=1)
    ]


def test_nothing_is_proposed_before_the_soak_is_over_and_the_watcher_has_seen_it_so(sim):
    sim.name(release("staging", "v2"))
    sim.watch("staging")
    assert proposed(sim) == {}
    sim.wait(300)
    assert proposed(sim) == {}
    assert lacking(sim, CANARY) == (Missing(what="v2 in staging: soaked, but not seen since"),)
    sim.watch("staging")
    assert proposed(sim) == {"canary": "v2"}
    assert lacking(sim, CANARY) == ()


def test_nothing_is_proposed_that_the_judge_has_not_passed(sim):
    sim.let_run("v2", "staging")
    sim.name(release("canary", "v2"))
    sim.watch("canary", judged=Outcome.INCONCLUSIVE)
    sim.wait(60)
    sim.watch("canary", judged=Outcome.INCONCLUSIVE)
    assert proposed(sim) == {}
    assert lacking(sim, PRODUCTION) == (
        Missing(what="v2 in canary: the judge has not passed it", blocks=True),
    )


def test_what_was_never_seen_running_does_not_move_on(sim):
    sim.facts.pop("dev")
    assert proposed(sim) == {}
    assert lacking(sim, STAGING) == (Missing(what="v2 in dev: not seen running yet", blocks=True),)


def test_a_version_that_is_not_what_the_environment_before_names_is_blocked(sim):
    sim.records["v3"] = record("v3")
    assert lacking(sim, STAGING, "v3") == (Missing(what="dev does not run v3", blocks=True),)


def test_an_artifact_that_is_not_the_records_is_blocked(sim):
    sim.name(release("dev", "v2", artifact="sha256:other"))
    sim.watch("dev")
    assert lacking(sim, STAGING) == (
        Missing(what="the artifact in dev is not the one that the record of v2 names", blocks=True),
    )


def test_what_was_tried_there_once_is_never_proposed_again_by_itself(sim):
    sim.let_run("v2", "staging")
    sim.name(release("staging", "v1"))
    assert proposed(sim) == {}


def test_what_git_named_there_counts_as_tried_though_nobody_saw_it(sim):
    sim.name(release("staging", "v2"))
    sim.name(release("staging", "v1"))
    assert proposed(sim) == {}


def test_the_same_artifact_under_another_name_is_not_proposed(sim):
    sim.records["v3"] = record("v3", artifact="sha256:v1")
    sim.name(release("dev", "v3", artifact="sha256:v1"))
    sim.watch("dev")
    assert proposed(sim) == {}


def test_what_is_on_hold_is_not_proposed_and_its_merge_is_blocked(sim):
    sim.hold("v2", by="ada", reason="wrong units")
    assert proposed(sim) == {}
    assert Missing(what="v2 is on hold by ada: wrong units", blocks=True) in lacking(sim, STAGING)


def test_what_a_person_declined_is_not_proposed_again_but_the_next_version_is(sim):
    sim.reconcile()
    declined = sim.pull_of(Purpose.PROMOTE, "staging").number
    sim.close(declined, by="ada")
    assert proposed(sim) == {}
    sim.pulls[declined] = replace(sim.pulls[declined], labels=("v3",))
    assert proposed(sim) == {}
    sim.let_run("v3", "dev")
    assert proposed(sim) == {"staging": "v3"}


@pytest.mark.parametrize("closer", [BOT, None])
def test_what_no_person_closed_is_proposed_again(sim, closer):
    sim.reconcile()
    sim.close(sim.pull_of(Purpose.PROMOTE, "staging").number, by=closer)
    assert proposed(sim) == {"staging": "v2"}


def test_nothing_else_is_proposed_where_a_person_asked_for_a_promotion(sim):
    sim.propose_release("staging", "v1", attempt=2, requester="ada")
    assert proposed(sim) == {}


def test_the_first_environment_is_owed_a_recorded_version_that_lost_its_release(sim):
    sim.records["v3"] = record("v3")
    assert proposed(sim) == {"dev": "v3", "staging": "v2"}


def test_the_first_environment_waits_for_a_newer_version_whose_record_is_on_its_way(sim):
    sim.records["v3"] = record("v3")
    sim.versions["v4"] = sim.versions["v2"]
    sim.finish("v4", Outcome.PASS)
    assert proposed(sim) == {"staging": "v2"}


# The gate's verdict, and whom it was against


def test_the_champion_is_what_production_names_now(sim):
    assert champion_now(sim.world()) == "v1"
    sim.name(release("production", "v2"))
    assert champion_now(sim.world()) == "v2"
    assert champion_now(Simulated().world()) is None


def test_a_verdict_against_another_champion_counts_only_before_production_s_traffic(sim):
    sim.let_run("v3", "dev", champion="v2")
    world = sim.world()
    assert needs_comparison(world, "v3") == ("v3", "v1")
    assert gate_verdict(world, STAGING, "v3") == verdict(Outcome.PASS)
    assert gate_verdict(world, CANARY, "v3") is None
    assert gate_verdict(world, PRODUCTION, "v3") is None


def test_without_a_verdict_against_the_champion_of_now_a_promotion_waits(sim):
    sim.let_run("v3", "dev", "staging", champion="v2")
    what = "a gate verdict of v3 against v1, the version in production"
    assert lacking(sim, CANARY, "v3") == (Missing(what=what),)


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Outcome.PASS, ()),
        (Outcome.FAIL, (Missing(what="gate: fail: so it was measured", blocks=True),)),
        (
            Outcome.INCONCLUSIVE,
            (Missing(what="gate: inconclusive: so it was measured", blocks=True),),
        ),
    ],
)
def test_the_verdict_against_the_champion_of_now_decides(sim, outcome, expected):
    sim.let_run("v3", "dev", "staging", champion="v2")
    sim.comparisons["v3", "v1"] = verdict(outcome)
    assert lacking(sim, CANARY, "v3") == expected


def test_a_first_version_needs_no_champion():
    sim = Simulated()
    sim.let_run("v1", "dev", "staging")
    assert needs_comparison(sim.world(), "v1") is None
    assert lacking(sim, CANARY, "v1") == ()


def test_the_champion_itself_needs_no_verdict_against_itself(sim):
    assert needs_comparison(sim.world(), "v1") is None


@pytest.mark.parametrize("outcome", [Outcome.FAIL, Outcome.INCONCLUSIVE])
def test_a_version_that_did_not_pass_its_gate_enters_no_environment(sim, outcome):
    sim.records["v3"] = record("v3", outcome)
    said = Missing(what=f"gate: {outcome}: so it was measured", blocks=True)
    sim.name(release("staging", "v3"), commit="by force")
    sim.comparisons["v3", "v1"] = verdict(Outcome.PASS)
    for where in (DEV, STAGING, CANARY, PRODUCTION):
        assert said in find_missing(sim.world(), where, version="v3")


def test_a_version_without_a_record_waits_for_its_verdict(sim):
    assert lacking(sim, DEV, "v9") == (
        Missing(what="a gate verdict of v9 against v1, the version in production"),
    )


# Pushed rules


def test_a_rule_that_a_push_changed_blocks_the_environments_that_it_can_affect(sim):
    rule = PushedRule(
        file="modelyard.yaml", what="bot: a -> b", commit="c" * 40, author="Mallory",
        environments=frozenset({"staging"}),
    )  # fmt: skip
    world = replace(sim.world(), pushed_rules=(rule,))

    (missing,) = find_missing(world, STAGING, version="v2")
    assert (missing.what, missing.blocks, missing.command) == (str(rule), True, rule.command)
    assert missing not in find_missing(world, CANARY, version="v2")
    told = replace(world, unreviewed_goes_back=False)  # people are told, and nothing waits
    assert find_missing(told, STAGING, version="v2") == ()


# Freezes


def test_a_person_s_freeze_blocks(sim):
    sim.freezes["staging"] = Freeze(reason="audit", by="ada", since=sim.now)
    assert lacking(sim, STAGING) == (Missing(what="staging is frozen by ada: audit", blocks=True),)
    assert proposed(sim) == {"staging": "v2"}


@pytest.mark.parametrize(
    ("seconds", "is_frozen"), [(-1, False), (0, True), (3599, True), (3600, False)]
)
def test_a_freeze_window_blocks_from_its_first_second_up_to_its_last(sim, seconds, is_frozen):
    since = sim.now + timedelta(seconds=1)
    window = FreezeWindow(since=since, until=since + timedelta(hours=1), reason="holidays")
    sim.environments = {
        **sim.environments,
        "staging": replace(STAGING, freeze_windows=(window,)),
    }
    what = f"staging is frozen until {window.until.isoformat()}: holidays"
    sim.wait(seconds + 1)
    found = lacking(sim, sim.environments["staging"])
    assert found == ((Missing(what=what, blocks=True),) if is_frozen else ())


# A folder whose release is on its way out


def test_nothing_enters_while_git_names_a_release_that_goes_back(sim):
    sim.let_run("v2", "staging")
    sim.let_run("v3", "dev", champion="v1")
    sim.watch("staging", aborted="crashed")
    what = "staging still has v2, which is rolled back: crashed"
    assert lacking(sim, STAGING, "v3") == (Missing(what=what, blocks=True),)


def test_where_there_is_nothing_to_go_back_to_a_better_version_may_enter():
    sim = Simulated()
    sim.let_run("v1")
    sim.name(release("dev", "v1"))
    sim.watch("dev", aborted="never ready")
    sim.records["v2"] = record("v2")
    assert lacking(sim, DEV) == ()


def test_a_verdict_names_the_champion_it_compares_with(sim):
    def champions(version):
        return [compared_champion(sim.world(), each, version) for each in (DEV, PRODUCTION)]

    assert [champions("v1"), champions("v2")] == [[None, None], ["v1", "v1"]]
    sim.let_run("v3", *EVERYWHERE)
    # The record of v2 compares with v1. Production has v3 now, and users have it, too.
    assert champions("v2") == ["v1", "v3"]


def test_an_override_opens_the_environments_its_comparison_is_about(sim):
    sim.records["v2"] = record("v2", Outcome.INCONCLUSIVE, champion="v1")
    given = GateOverride(
        reason="season",
        by="ada",
        since=sim.now,
        until=sim.now + timedelta(days=1),
        champion="v1",
        verdict="so it was measured",
    )
    sim.model_facts = replace(sim.model_facts, overrides={"v2": given})

    assert find_override(sim.world(), PRODUCTION, "v2") == given
    sim.let_run("v3", *EVERYWHERE)
    sim.comparisons["v2", "v3"] = verdict(Outcome.INCONCLUSIVE)
    assert find_override(sim.world(), DEV, "v2") == given
    assert find_override(sim.world(), PRODUCTION, "v2") is None


def test_each_thing_that_is_missing_names_the_command_that_comes_next(sim):
    def commands(version, where=STAGING):
        return [(each.what, each.command) for each in lacking(sim, where, version)]

    assert commands("v9") == [
        ("dev does not run v9", "modelyard promote dev m v9"),
        ("a gate verdict of v9 against v1, the version in production", "modelyard gate m v9"),
    ]
    assert commands("")[-1] == (
        "a gate verdict of its version against v1, the version in production",
        "modelyard gate m",
    )
    sim.records["v2"] = record("v2", Outcome.FAIL, champion="v1")
    assert commands("v2") == [("gate: fail: so it was measured", "modelyard gate m v2")]
    sim.hold("v2", by="ada", reason="wrong units")
    sim.past["dev"] = sim.past["dev"][:1]
    assert commands("v2")[0] == ("v2 is on hold by ada: wrong units", "modelyard unhold m v2")


def test_what_is_not_ready_one_environment_before_waits_for_the_watcher(sim):
    sim.watch("dev", ready=False)
    (missing,) = lacking(sim, STAGING)
    assert (missing.what, missing.command) == ("v2 in dev: not ready", "modelyard watch --once")
