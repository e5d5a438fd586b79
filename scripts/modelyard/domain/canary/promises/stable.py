"""What a stable release that is broken, for some looks or for all, excuses and hides."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from modelyard.domain.canary.arms import Arm, Histograms
from modelyard.domain.canary.design_effect import design_effects
from modelyard.domain.canary.prediction_shift import (
    ExpectedPredictions,
    ShiftEvidence,
    added_by_bin,
)
from modelyard.domain.canary.promises.comparison import (
    PredictionTest,
    missing_predictions,
    on_common_grid,
)
from modelyard.domain.canary.request_metrics import LEAST_BAD_LOOKS, Finding
from modelyard.domain.canary.shift.looks import (
    LEAST_TRUSTED,
    and_next,
    counts_of_looks,
    distance_by_chance,
    distance_by_look,
    far_looks,
    looks_with,
)


def is_stable_doubtful(
    stable: Arm, expected: ExpectedPredictions, *, radius: float, alpha: float
) -> bool:
    """Whether stable seems not to predict as on held-out rows, in all looks or in the last ones.

    No test: where it is doubtful, nothing may be blamed on a canary that differs from it. But what
    few rows differ by chance leaves no doubt.
    """
    known = _test_of_stable(stable, expected, radius=radius, alpha=alpha)
    if known is None:
        return False
    test, predictions = known
    starts = _late_starts(len(predictions))
    found = (test.shift_of(_counts_from(predictions, start), start=start) for start in starts)
    return any(
        each.distance > test.allowed + distance_by_chance(test.expected.shares, each.effective)
        for each in found
    )


def trusted_looks(
    stable: Arm, expected: ExpectedPredictions, *, radius: float
) -> NDArray[np.bool_]:
    """By sample, whether stable's predictions in the look before it were as on held-out rows.

    What differs from a stable release that is broken is not the canary's, also when stable is
    repaired later.
    """
    known = _test_of_stable(stable, expected, radius=radius, alpha=1.0)
    if known is None:
        return np.ones(len(stable.predictions), dtype=np.bool_)
    return ~and_next(_far_looks(*known))


def excused_by_stable(
    test: PredictionTest, canary: Arm, stable: Arm, least_rows: float
) -> Finding | None:
    """What is said instead of a fail if it is stable that predicts what it should not.

    Stable is held against its own predictions on held-out rows. If it keeps them, the answer is
    None. If it does not, `_beside` says what is left of the canary's difference.
    """
    if not test.expected.stable_shares:
        return None
    both = _Both(test, canary.predictions, stable.predictions)
    found = _latest_shift(both.theirs, stable.predictions)
    if found is None and (both.is_enough or not both.far.any()):
        return _was_off(both, least_rows)
    if both.is_shown_twice:
        return None
    # What breaks and is repaired in turns may be shown by no part of the looks.
    text, off, numbers = both.text, both.off, both.numbers
    if found is not None:
        text = (
            f"an incident of stable: its predictions differ by {found.distance:.2f} from those on "
            f"held-out rows, {both.theirs.allowed:.2g} is allowed"
        )
        # Among the last looks may be some in which it was in order.
        off = max(found.distance, off)
        numbers = {
            "stable_distance": found.distance,
            "evidence_stable_distance": found.evidence.peak,
        }
    known = Finding(text=text, numbers=numbers)
    excuse = _beside(test, canary.predictions, stable.predictions, off, known)
    if excuse is None or excuse.missing:
        return excuse
    if both.is_enough and both.found.distance > test.allowed:
        # In looks in which stable was in order the canary is off, which is not enough for a pass.
        return replace(excuse, missing=_within(test))
    return replace(excuse, text=f"{text}; the canary's are as expected")


def hidden_by_stable(
    test: PredictionTest, canary: Arm, stable: Arm, *, noise: Callable[[float], float]
) -> Finding | None:
    """What does not show in all looks together, as stable was broken in some; None if nothing.

    Differences of opposite directions cancel: what a canary always answers may be the mean of
    what such a stable release does. So the canary must keep the radius in the looks in which stable
    was in order too. Where these are too few, and the two differ look by look, nothing is decided,
    unless the canary's predictions are those on held-out rows. Traffic that moved for both moves
    both in each look. `noise` is that of `hidden_finding`.
    """
    if not test.expected.stable_shares:
        return None
    both = _Both(test, canary.predictions, stable.predictions)
    if not both.far.any():
        return None
    if not both.is_enough:
        own = test.alone(test.expected.shares)
        alone = own.shift_of(canary.predictions)
        limit = test.allowed + noise(alone.effective)
        if _keeps(own, alone) or both.distance_by_look <= limit:
            return None
        missing = "predictions of stable as on held-out rows"
        return Finding(text=both.text, missing=missing, numbers=both.numbers)
    found = both.found
    is_far = found.distance > test.allowed + noise(found.effective)
    if not found.evidence.ever_rejects(test.alpha) and not is_far:
        return None
    return Finding(
        text=f"{both.text}; in the others the canary's differ by {found.distance:.2f} from the "
        f"expected ones, {test.allowed:.2g} is allowed",
        bad=both.is_shown_twice,
        missing=_within(test),
        numbers=both.numbers,
    )


@dataclass(frozen=True)
class _Both:
    """Both arms in looks in which stable was in order, and in the others.

    Args:
        test: The test of both.
        canary: The canary's predictions.
        stable: Those of stable.
    """

    test: PredictionTest
    canary: Histograms
    stable: Histograms

    @property
    def theirs(self) -> PredictionTest:
        return self.test.alone(self.test.expected.stable_shares)

    @cached_property
    def far(self) -> NDArray[np.bool_]:
        """By sample, whether stable's of the look before it were not as on held-out rows."""
        return _far_looks(self.theirs, self.stable)

    @property
    def doubtful(self) -> int:
        return int(np.count_nonzero(and_next(self.far)))

    @property
    def text(self) -> str:
        return (
            f"an incident of stable: in {self.doubtful} of {self.far.size} looks its predictions "
            "were not those on held-out rows"
        )

    @property
    def numbers(self) -> dict[str, float]:
        return {"stable_doubtful_looks": self.doubtful}

    @cached_property
    def judged(self) -> NDArray[np.bool_]:
        """The looks with rows of stable in which it was in order."""
        return ~and_next(self.far) & looks_with(self.stable)

    @property
    def is_enough(self) -> bool:
        return bool(self.judged.mean() >= LEAST_TRUSTED)

    @cached_property
    def found(self) -> ShiftEvidence:
        """The evidence of these looks."""
        return self.test.shift_of(*self.parts(self.judged))

    @property
    def is_shown_twice(self) -> bool:
        """Whether these looks show harm, beside stable and by the canary's own held-out rows.

        They are chosen by what stable answers, which biases the first a little; not the second,
        but traffic that moved is evidence there.
        """
        if not self.is_enough or not self.found.evidence.ever_rejects(self.test.alpha):
            return False
        own = self.test.alone(self.test.expected.shares)
        mine, _ = self.parts(self.judged)
        return own.shift_of(mine).evidence.ever_rejects(self.test.alpha)

    @property
    def off(self) -> float:
        """How far stable was in looks in which it was far."""
        return self.theirs.shift_of(self.parts(self.far)[1]).distance

    @property
    def distance_by_look(self) -> float:
        expected = self.test.expected
        mine, others = (added_by_bin(expected, each) for each in (self.canary, self.stable))
        return distance_by_look(mine, others @ np.array(expected.kernel), self.test.effects)

    def parts(self, looks: NDArray[np.bool_]) -> tuple[Histograms, Histograms]:
        """What was counted of both in some looks alone."""
        return counts_of_looks(self.canary, looks), counts_of_looks(self.stable, looks)


def _was_off(both: _Both, least_rows: float) -> Finding | None:
    """What is said instead of a fail if stable was broken for a time, and nothing else is wrong.

    Evidence of that time stays for ever. So the canary is judged by the looks in which stable was
    in order, of which there must be enough, and in the others by `_beside`.
    """
    test = both.test
    if not both.far.any():
        return None
    found = both.found
    if found.evidence.ever_rejects(test.alpha):
        return None
    text = f"{both.text}; in the others the canary's differ by {found.distance:.2f}"
    rows, more = math.ceil(least_rows - found.predictions), None
    if rows > 0:
        more = f"{rows} more predictions while stable's are as on held-out rows"
    elif found.distance > test.allowed:
        # Of few rows that may be chance. What they show is not enough for a fail.
        more = _within(test)
    excuse = Finding(text=text, missing=more, numbers=both.numbers)
    return _beside(test, *both.parts(~both.judged), both.off, excuse)


def _within(test: PredictionTest) -> str:
    return f"predictions within {test.allowed:.2g} while stable's are as on held-out rows"


def _beside(
    test: PredictionTest, mine: Histograms, others: Histograms, off: float, excuse: Finding
) -> Finding | None:
    """An excuse while stable is so far off: as it is, with something missing, or None.

    The canary is held against its own predictions on held-out rows. Where it does not keep them
    either, the traffic may have changed or both may be broken, and nothing is decided, unless the
    canary is further away than the radius and stable's distance together.
    """
    own = test.alone(test.expected.shares)
    if _keeps(own, own.shift_of(mine)):
        return excuse
    wider = min(1.0, test.allowed + off)
    if test.shift_of(mine, others, allowed=wider).evidence.ever_rejects(test.alpha):
        return None
    return replace(excuse, missing="predictions of canary or stable as on held-out rows")


def _keeps(own: PredictionTest, found: ShiftEvidence) -> bool:
    """Whether an arm is within the radius of its own held-out rows."""
    return not found.evidence.ever_rejects(own.alpha) and found.distance <= own.allowed


def _test_of_stable(
    stable: Arm, expected: ExpectedPredictions, *, radius: float, alpha: float
) -> tuple[PredictionTest, Histograms] | None:
    """The test of stable against its held-out rows, and what it is asked about.

    None if there is nothing to hold it against.
    """
    expected, stable, _ = on_common_grid(expected, stable, None)
    effects = design_effects(stable, None)
    unknown = missing_predictions(stable, None, expected)
    if unknown or effects is None or not expected.stable_shares:
        return None
    test = PredictionTest(expected=expected, radius=radius, effects=effects, alpha=alpha)
    return test.alone(expected.stable_shares), stable.predictions


def _far_looks(test: PredictionTest, predictions: Histograms) -> NDArray[np.bool_]:
    """The looks in which an arm is further from what is expected of it than allowed."""
    added = added_by_bin(test.expected, predictions)
    return far_looks(added, test.expected.shares, test.allowed, test.effects)


def _latest_shift(test: PredictionTest, predictions: Histograms) -> ShiftEvidence | None:
    """The evidence of the last looks that rejects, of all, the last half, quarter and so on.

    A release that breaks late has many good looks before, in which bets were lost.
    """
    starts = _late_starts(len(predictions))
    test = replace(test, alpha=test.alpha / len(starts))
    for start, may in zip(starts, test.may_reject_alone(predictions, starts), strict=True):
        if may:
            found = test.shift_of(_counts_from(predictions, start), start=start)
            if found.evidence.ever_rejects(test.alpha):
                return found
    return None


def _counts_from(predictions: Histograms, start: int) -> Histograms:
    """The counts of the looks from this one on, without those of earlier looks."""
    counts = np.asarray(predictions, dtype=np.float64)
    return counts[start:] - (counts[start - 1] if start else 0)


def _late_starts(looks: int) -> list[int]:
    """Where all looks begin, the last half of them, the last quarter and so on."""
    starts = [0]
    while looks - starts[-1] > LEAST_BAD_LOOKS:
        starts.append(starts[-1] + (looks - starts[-1] + 1) // 2)
    return starts
