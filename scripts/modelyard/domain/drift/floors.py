"""The drift floors: the least effect of each measure that is worth a retraining."""

from __future__ import annotations

import math
from collections.abc import Mapping

from modelyard.domain.drift.block_effects import BlockEffects

FLOORS: Mapping[str, float] = {
    "null share": 0.02,
    "rows outside": 0.005,
    "unlisted rows": 0.005,
    "W1": 0.2,
    "KS D": 0.1,
    "TV": 0.1,
    "doublings": 1.0,
}
"""Least effect worth a retraining, by measure: shares, standard deviations, powers of two."""

CAPS: Mapping[str, float] = {
    "null share": 0.8,  # an empty column with a fifth of nulls in training reaches no more
    "rows outside": 0.9,
    "unlisted rows": 0.9,
    "KS D": 0.9,
    "TV": 0.9,
}
"""Greatest floor of the measures that end at 1."""

# A block of the reference drifted from nothing, so its effect is what the calendar alone does. The
# largest of few blocks is exceeded often, hence a factor and a normal bound, whichever is larger.
_BLOCK_FACTOR = 1.25
_BLOCK_DEVIATIONS = 3.0


def drift_floor(measure: str, blocks: Mapping[str, BlockEffects]) -> float:
    """The least effect that counts: the fixed floor, or more if the calendar alone does more.

    It is capped below what the measure can reach: else no window could ever drift.
    """
    return min(max(FLOORS[measure], calendar_floor(measure, blocks)), CAPS.get(measure, math.inf))


def calendar_floor(measure: str, blocks: Mapping[str, BlockEffects]) -> float:
    """The least effect that the calendar alone seldom has, not capped; 0 if it is not known."""
    calendar = blocks.get(measure)
    if calendar is None:
        return 0.0
    usual = calendar.mean + _BLOCK_DEVIATIONS * calendar.deviation
    return max(_BLOCK_FACTOR * calendar.largest, usual)


def is_capped(measure: str, blocks: Mapping[str, BlockEffects]) -> bool:
    """Whether the calendar alone moves a column so far that only the extreme is watched."""
    return calendar_floor(measure, blocks) > CAPS.get(measure, math.inf)
