"""An arm's predictions held against those expected: the test, and what it needs of both arms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from modelyard.domain.canary.arms import Arm, Histograms
from modelyard.domain.canary.prediction_shift import (
    ExpectedPredictions,
    ShiftEvidence,
    added_by_bin,
    fold_predictions,
    shift_evidence,
)
from modelyard.domain.canary.request_metrics import LEAST_BAD_LOOKS
from modelyard.domain.canary.shift.bets import STAKES, most_evidence_alone

_ROUNDING = 1e-6


@dataclass(frozen=True, kw_only=True)
class PredictionTest:
    """The test of predictions, with what does not depend on the arms."""

    expected: ExpectedPredictions
    radius: float
    effects: tuple[float, ...]
    alpha: float

    @property
    def allowed(self) -> float:
        """The radius that counts."""
        return self.expected.allowed_radius(self.radius)

    def alone(self, shares: tuple[float, ...]) -> PredictionTest:
        """The test of one arm against shares, without another arm."""
        return replace(self, expected=replace(self.expected, kernel=(), shares=shares))

    def shift(
        self, canary: Arm, stable: Arm | None = None, *, allowed: float | None = None
    ) -> ShiftEvidence:
        """The evidence that an arm is further from what is expected than allowed."""
        return self.shift_of(
            canary.predictions, stable.predictions if stable else None, allowed=allowed
        )

    def shift_of(
        self,
        predictions: Histograms,
        others: Histograms | None = None,
        *,
        allowed: float | None = None,
        start: int = 0,
    ) -> ShiftEvidence:
        """As `shift`, of counts from one sample on."""
        # The capital of a set that is right is shared by all sets and stakes.
        bets = len(STAKES) * (2 ** len(self.expected.shares) - 2)
        needed = math.log(1 / self.alpha) + math.log(max(bets, 1))
        return shift_evidence(
            self.expected,
            predictions,
            others,
            self.allowed if allowed is None else allowed,
            self.effects[start:],
            most=needed / LEAST_BAD_LOOKS,
            is_peak_enough=True,
        )

    def may_reject_alone(self, predictions: Histograms, starts: Sequence[int]) -> list[bool]:
        """Whether one arm's evidence may reject, from each of these looks on.

        `shift_of` says it exactly.
        """
        discounted = added_by_bin(self.expected, predictions) / np.asarray(self.effects)[:, None]
        shares = np.array(self.expected.shares)
        found = most_evidence_alone(shares, discounted, starts, radius=self.allowed)
        return [most + _ROUNDING >= math.log(1 / self.alpha) for most in found]


def on_common_grid(
    expected: ExpectedPredictions, canary: Arm, stable: Arm | None
) -> tuple[ExpectedPredictions, Arm, Arm | None]:
    """All three on the grid of older servers if one of the arms counts on it."""
    older = expected.older
    if older is None:
        return expected, canary, stable
    arms = [arm for arm in (canary, stable) if arm is not None]
    if all(len(arm.predictions[-1]) != len(older.bins) for arm in arms):
        return expected, canary, stable

    def folded(arm: Arm) -> Arm:
        if len(arm.predictions[-1]) != len(expected.bins):
            return arm
        return replace(arm, predictions=fold_predictions(arm.predictions, expected.older_bins))

    return older, folded(canary), None if stable is None else folded(stable)


def missing_predictions(
    canary: Arm, stable: Arm | None, expected: ExpectedPredictions
) -> str | None:
    """What is missing of both arms' predictions to compare them; None if nothing."""
    for name, side in (("canary", canary), ("stable", stable)):
        if side is None:
            continue
        # After a change of the model's output, older servers count on another grid.
        bins = len(side.predictions[-1])
        if not sum(side.predictions[-1]):
            return f"predictions of {name}, by bin"
        if bins != len(expected.bins):
            return f"predictions of {name} in {len(expected.bins)} bins as expected, not {bins}"
    return None
