"""A clock that is set, or a machine that slept: no canary is given up, and none passes early."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from operations.yard import CANARY, MODEL, PRODUCTION, STAGING, contested_yard

SOAKING = replace(STAGING, promotes_from=None, soak_seconds=1800)


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    path = (SOAKING, CANARY, PRODUCTION)
    return contested_yard(tmp_path_factory.mktemp("start") / "yard", path)


@pytest.fixture
def yard(start, tmp_path):
    """v1 is verified everywhere."""
    yard = start.copy(tmp_path / "yard")
    yard.clock.wait(3600)
    yard.rest()
    return yard


@pytest.fixture
def undecided(yard):
    """v2 is verified before canary, and just came there; nobody knows how it does."""
    yard.put("v2", "staging")
    yard.put("v2", "canary", is_verified=False)
    yard.out_of_reach.add("metrics")
    yard.rest()
    return yard


@pytest.mark.parametrize("jump", [timedelta(hours=2), timedelta(hours=-2)], ids=str)
def test_an_undecided_canary_has_its_whole_time_although_the_clock_jumps(undecided, jump):
    yard = undecided
    yard.clock.wait(600)
    yard.clock.jump(jump)
    for _ in range(3):
        yard.rest()
        yard.clock.wait(1000)
    assert yard.names()["canary"] == "v2"

    yard.clock.wait(1000)
    yard.rest()
    assert yard.names()["canary"] == "v1"  # after the 3600 s that it has
    assert "v2" not in yard.workspace().facts.read_model(MODEL).holds


@pytest.mark.parametrize("jump", [timedelta(hours=2), timedelta(hours=-2)], ids=str)
def test_a_release_soaks_for_as_long_as_it_has_to_although_the_clock_jumps(yard, jump):
    yard.put("v2", "staging", is_verified=False)
    yard.rest()
    yard.clock.wait(60)
    yard.clock.jump(jump)
    verified = []
    for _ in range(5):
        yard.rest()
        facts = yard.facts("staging")
        verified.append(facts.release in facts.verified)
        yard.clock.wait(500)
    assert verified == [False, False, False, False, True]


@pytest.mark.parametrize("jump", [timedelta(hours=2), timedelta(hours=-2)], ids=str)
def test_a_bad_canary_is_rolled_back_although_the_clock_jumps(undecided, jump):
    yard = undecided
    yard.clock.jump(jump)
    yard.out_of_reach.clear()
    yard.broken.add("v2")
    yard.rest()
    assert yard.names() == dict.fromkeys(yard.names(), "v1")
