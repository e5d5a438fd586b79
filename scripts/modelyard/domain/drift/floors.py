"""The drift floors: the least effect of each measure that is worth a retraining."""

from __future__ import annotations

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

# A block of the reference drifted from nothing, so its effect is what the calendar alone does. The
# largest of few blocks is exceeded often, hence a factor and a normal bound, whichever is larger.
_BLOCK_FACTOR = 1.25
_BLOCK_DEVIATIONS = 3.0


def drift_floor(measure: str, blocks: Mapping[str, BlockEffects]) -> float:
    """The least effect that counts: the fixed floor, or more if the calendar alone does more."""
    fixed = FLOORS[measure]
    calendar = blocks.get(measure)
    if calendar is None:
        return fixed
    usual = calendar.mean + _BLOCK_DEVIATIONS * calendar.deviation
    return max(fixed, _BLOCK_FACTOR * calendar.largest, usual)
