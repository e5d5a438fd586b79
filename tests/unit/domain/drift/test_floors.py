from __future__ import annotations

import numpy as np
import pytest

from modelyard.domain.drift.block_effects import BlockEffects
from modelyard.domain.drift.detection import check_window
from modelyard.domain.drift.floors import CAPS, FLOORS, drift_floor
from modelyard.domain.drift.profile import Profile, hardly_watched
from modelyard.domain.drift.profiling.build import build_profile
from modelyard.domain.specs.contract import Column

COLUMNS = (Column(name="x", type="number", nullable=True),)
WEEKS, ROWS = 52, 400


def profile_of(x) -> Profile:
    return build_profile({"x": x}, COLUMNS, np.repeat(np.arange(WEEKS), ROWS))


def drifted(profile: Profile, x) -> set[str]:
    checks = check_window(profile, {"x": x}, least_rows=100)
    return {check.reason for check in checks if check.drifted}


def normal(seed=1, weeks=WEEKS):
    return np.random.default_rng(seed).normal(size=weeks * ROWS)


@pytest.mark.parametrize("measure", FLOORS)
@pytest.mark.parametrize("largest", [0.0, 0.5, 1.0, 40.0])
def test_a_floor_is_never_beyond_what_its_measure_can_reach(measure, largest):
    effects = {measure: BlockEffects(largest=largest, mean=largest, deviation=largest)}
    floor = drift_floor(measure, effects)
    assert floor >= FLOORS[measure]
    assert floor < (1.0 if measure in CAPS else np.inf)


@pytest.mark.parametrize("weeks", [1, 2])
def test_a_short_outage_in_training_does_not_hide_a_column_that_is_empty_later(weeks):
    x = normal()
    x[10 * ROWS : (10 + weeks) * ROWS] = np.nan
    profile = profile_of(x)
    assert drift_floor("null share", profile.columns[0].effects) < 0.1
    assert drifted(profile, np.full(ROWS, np.nan)) == {"null"}
    half = normal(2, 1)
    half[::2] = np.nan
    assert drifted(profile, half) == {"null"}
    assert drifted(profile, normal(3, 1)) == set()


def test_what_more_weeks_do_is_known_to_the_calendar():
    x = normal()
    x[10 * ROWS : 16 * ROWS] = np.nan
    profile = profile_of(x)
    half = normal(2, 1)
    half[::2] = np.nan
    assert drifted(profile, half) == set()
    assert hardly_watched(profile) == (("x", "null share"),)
    assert drifted(profile, np.full(ROWS, np.nan)) == {"null"}  # 88 points more than in training


def test_a_column_that_the_year_moves_as_far_as_can_be_is_named():
    season = np.repeat(3 * np.sin(2 * np.pi * np.arange(WEEKS) / WEEKS), ROWS)
    seasonal = profile_of(0.3 * normal() + season)
    assert [measure for _, measure in hardly_watched(seasonal)] == ["KS D"]
    assert hardly_watched(profile_of(normal())) == ()
    assert drifted(seasonal, np.full(ROWS, 40.0)) >= {"range"}


def test_a_new_regime_at_the_end_of_training_is_no_outage():
    x = normal()
    x[50 * ROWS :] += 3
    assert drifted(profile_of(x), normal(2, 1) + 3) == set()
    x = normal()
    x[30 * ROWS : 32 * ROWS] += 3
    assert drifted(profile_of(x), normal(2, 1) + 3) == {"shape"}
