"""What came to an environment without a review goes back past all else that nobody reviewed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelyard.domain.promotion.actions import RaiseIncident, RollBack
from modelyard.domain.promotion.promote import release_command
from modelyard.domain.promotion.rollback import plan_rollbacks, rollback_target, unreviewed_command
from modelyard.domain.promotion.world import PastRelease
from modelyard.domain.review.placements import Unreviewed
from unit.domain.promotion.examples import DEV, release
from unit.domain.promotion.simulated import Simulated


@pytest.fixture
def sim():
    """v1, v2 and v3 verified in dev, which has v3 now."""
    sim = Simulated()
    for version in ("v1", "v2", "v3"):
        sim.let_run(version, "dev")
    return sim


def pushed(what="a push brought it", *, goes_back=True):
    return {"dev": Unreviewed(what=what, commit="c" * 40, goes_back=goes_back)}


def without_review(world, *versions):
    """The same world, where nobody reviewed these past releases in dev."""
    past = tuple(
        replace(each, reviewed=each.release.version not in versions) for each in world.past["dev"]
    )
    return replace(world, past={"dev": past})


def past(version):
    return PastRelease(release=release("dev", version), commit=f"{version} in dev")


def back_to(version, *, gone="v3"):
    reason = "a push brought it"
    return RollBack(environment="dev", version=gone, target=past(version), reason=reason)


def incident(what):
    key = f"unreviewed/dev/{'c' * 16}"
    return RaiseIncident(what=f"dev has {what}", key=key)


def test_a_push_goes_back_past_what_nobody_reviewed_and_people_are_told(sim):
    world = replace(without_review(sim.world(), "v3", "v2"), unreviewed=pushed())

    assert list(plan_rollbacks(world)) == [
        incident("v3 of m, unreviewed: a push brought it. It goes back to v1"),
        back_to("v1"),
    ]


def test_a_push_of_manifests_alone_goes_back_to_the_same_release_as_it_was_reviewed(sim):
    world = replace(sim.world(), unreviewed=pushed())

    assert rollback_target(world, DEV, release("dev", "v3")) == past("v3")


def test_where_no_past_release_was_reviewed_a_person_decides_about_the_push(sim):
    world = replace(without_review(sim.world(), "v1", "v2", "v3"), unreviewed=pushed())

    command = "A person must decide: modelyard promote dev m v3"
    told = incident(f"v3 of m, unreviewed: a push brought it. {command}")
    assert list(plan_rollbacks(world)) == [told]


def test_where_people_are_only_told_of_pushes_nothing_goes_back(sim):
    world = replace(sim.world(), unreviewed=pushed(goes_back=False))

    command = "A person must decide: modelyard promote dev m v3"
    told = incident(f"v3 of m, unreviewed: a push brought it. {command}")
    assert list(plan_rollbacks(world)) == [told]


def test_a_fault_goes_back_to_what_was_reviewed_and_else_to_what_was_verified(sim):
    sim.hold("v3", by="ada")
    world = sim.world()

    def target(*unreviewed):
        return rollback_target(without_review(world, *unreviewed), DEV, release("dev", "v3"))

    assert [target().release.version, target("v2").release.version] == ["v2", "v1"]
    # The forge has lost its pull requests.
    assert target("v1", "v2").release.version == "v2"


def without_release(world):
    return replace(world, catalog=replace(world.catalog, releases={}))


def test_a_release_that_a_push_deleted_comes_back(sim):
    world = replace(without_release(sim.world()), unreviewed=pushed())

    assert list(plan_rollbacks(world)) == [
        incident("no release of m, unreviewed: a push brought it. It goes back to v3"),
        back_to("v3", gone=""),
    ]


def test_a_deleted_release_stays_away_where_people_are_only_told_or_a_person_deleted_it(sim):
    world = without_release(sim.world())
    told = replace(world, unreviewed=pushed(goes_back=False))

    command = "A person must decide: modelyard promote dev m"
    expected = incident(f"no release of m, unreviewed: a push brought it. {command}")
    assert list(plan_rollbacks(told)) == [expected]
    assert list(plan_rollbacks(world)) == []


def test_a_deleted_release_with_no_past_that_is_good_stays_away(sim):
    world = replace(without_release(sim.world()), unreviewed=pushed(), past={})

    assert [type(each) for each in plan_rollbacks(world)] == [RaiseIncident]


def test_nothing_pushed_goes_back_while_facts_cannot_be_read(sim):
    world = replace(sim.world(), unreviewed=pushed(), unknown=frozenset({"dev"}))

    assert list(plan_rollbacks(world)) == []


@pytest.mark.parametrize(
    ("change", "command"),
    [
        ({"unknown": frozenset({"dev"})}, "modelyard doctor"),
        ({"unreviewed": pushed()}, "modelyard reconcile m"),
        ({"unreviewed": pushed(goes_back=False)}, "modelyard promote dev m v3"),
        ({"facts": {}}, "modelyard watch --once"),
        ({}, ""),
    ],
)
def test_a_person_is_told_the_command_that_comes_next(sim, change, command):
    assert release_command(replace(sim.world(), **change), DEV) == command


@pytest.mark.parametrize("goes_back", [False, True])
@pytest.mark.parametrize("past", [None, {}])
@pytest.mark.parametrize("is_gone", [False, True])
def test_the_incident_and_the_status_of_what_nobody_reviewed_name_the_same_command(
    sim, goes_back, past, is_gone
):
    world = without_release(sim.world()) if is_gone else sim.world()
    world = replace(world, unreviewed=pushed(goes_back=goes_back))
    world = world if past is None else replace(world, past=past)
    (said,) = [each for each in plan_rollbacks(world) if isinstance(each, RaiseIncident)]

    command = unreviewed_command(world, DEV)

    assert release_command(world, DEV) == command
    is_restored = any(isinstance(each, RollBack) for each in plan_rollbacks(world))
    assert (command == "modelyard reconcile m") is is_restored
    assert said.what.endswith("It goes back to v3" if is_restored else command)


def test_a_release_that_is_gone_or_goes_back_waits_for_reconcile(sim):
    assert release_command(without_release(sim.world()), DEV) == "modelyard reconcile m"
    sim.hold("v3", by="ada")
    assert release_command(sim.world(), DEV) == "modelyard reconcile m"


def test_a_held_release_with_nothing_to_go_back_to_is_taken_out(sim):
    sim.hold("v3", by="ada")
    command = "modelyard rollback dev m --remove --reason ..."
    assert release_command(replace(sim.world(), past={}), DEV) == command
