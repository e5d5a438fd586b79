"""What the judge finds in predictions: the canary's, and what else may explain how far they are."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from modelyard.domain.canary.arms import Arm
from modelyard.domain.canary.design_effect import design_effects
from modelyard.domain.canary.input_mix import input_differences
from modelyard.domain.canary.prediction_shift import (
    ExpectedPredictions,
    Histograms,
    ShiftEvidence,
    added_by_bin,
    fold_predictions,
    shift_evidence,
)
from modelyard.domain.canary.request_metrics import LEAST_BAD_LOOKS, Finding
from modelyard.domain.canary.shift.bets import STAKES
from modelyard.domain.canary.shift.looks import (
    LEAST_TRUSTED,
    counts_of_looks,
    distance_by_chance,
    looks_with,
    sound_looks,
)

NOTABLE_DESIGN_EFFECT = 2.0  # from this design effect on the reason mentions it


def prediction_findings(
    canary: Arm,
    stable: Arm | None,
    expected: ExpectedPredictions,
    *,
    radius: float,
    alpha: float,
    least_rows: float,
) -> Iterator[Finding]:
    """The finding on the canary's predictions, and what else may explain them.

    Args:
        canary: The canary.
        stable: Stable, or None for a first release.
        expected: The predictions to expect.
        radius: As in `distribution_radius` of the policy.
        alpha: The level.
        least_rows: As in `excuse_of`.
    """
    # Before the grids are made equal: servers count pairs of rows on their own grid.
    effects = design_effects(canary, stable)
    expected, canary, stable = _on_common_grid(expected, canary, stable)
    missing = _missing_predictions(canary, stable, expected)
    if missing or effects is None:
        yield Finding(missing=missing or "the number of rows in a request")
        return
    test = PredictionTest(expected=expected, radius=radius, effects=effects, alpha=alpha)
    found = test.shift(canary, stable)
    finding = _own_finding(test, found)
    if finding.bad or finding.missing:
        other = excuse_of(test, canary, stable, least_rows=least_rows)
        if other is not None:
            yield replace(finding, bad=False, missing=None)
            yield other
            return
    yield finding


def is_stable_doubtful(
    stable: Arm, expected: ExpectedPredictions, *, radius: float, alpha: float
) -> bool:
    """Whether stable seems not to predict as on held-out rows, in all looks or in the last ones.

    No test: where it is doubtful, nothing may be blamed on a canary that differs from it. But what
    few rows differ by chance leaves no doubt.
    """
    expected, stable, _ = _on_common_grid(expected, stable, None)
    effects = design_effects(stable, None)
    unknown = _missing_predictions(stable, None, expected)
    if unknown or effects is None or not expected.stable_shares:
        return False
    test = PredictionTest(expected=expected, radius=radius, effects=effects, alpha=alpha)
    theirs = test.alone(expected.stable_shares)
    found = (theirs.shift_of(late, start=start) for start, late in _late_parts(stable.predictions))
    return any(
        each.distance > theirs.allowed + distance_by_chance(expected.stable_shares, each.effective)
        for each in found
    )


def trusted_looks(
    stable: Arm, expected: ExpectedPredictions, *, radius: float
) -> NDArray[np.bool_]:
    """By sample, whether stable seemed to predict as on held-out rows in the look before it.

    What differs from a stable release that is broken is not the canary's, also when stable is
    repaired later.
    """
    expected, stable, _ = _on_common_grid(expected, stable, None)
    effects = design_effects(stable, None)
    unknown = _missing_predictions(stable, None, expected)
    if unknown or effects is None or not expected.stable_shares:
        return np.ones(len(stable.predictions), dtype=np.bool_)
    test = PredictionTest(expected=expected, radius=radius, effects=effects, alpha=1.0)
    return _sound_looks(test, stable)


def _sound_looks(test: PredictionTest, stable: Arm) -> NDArray[np.bool_]:
    alone = test.alone(test.expected.stable_shares)
    added = added_by_bin(test.expected, stable.predictions)
    return sound_looks(added, alone.expected.shares, alone.allowed, test.effects)


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
        )


def excuse_of(
    test: PredictionTest,
    canary: Arm,
    stable: Arm | None,
    *,
    least_rows: float,
    part: float = 1.0,
) -> Finding | None:
    """What else than the canary explains how far its predictions are; None if nothing does.

    Args:
        test: The test of these predictions.
        canary: The canary, with the inputs of all rows.
        stable: Stable, with those of all rows.
        least_rows: The canary's predictions that are needed while stable was in order, where it is
            judged by these alone.
        part: The part of the rows whose predictions these are.
    """
    if stable is None:
        return None
    found = _other_inputs(test, canary, stable, part)
    return found or _stable_off(test, canary, stable, least_rows)


def _own_finding(test: PredictionTest, found: ShiftEvidence) -> Finding:
    radius, effect = test.allowed, found.predictions / found.effective
    is_notable = effect >= NOTABLE_DESIGN_EFFECT
    discount = f" ({effect:.2g} correlated rows count as one)" if is_notable else ""
    blind = ""
    if test.expected.is_blind(test.radius):
        constant = test.expected.constant_distance
        blind = f"; a constant answer would differ by {constant:.2g}: not seen"
    return Finding(
        text=f"predictions differ by {found.distance:.2f} from the expected ones, {radius:.2g} is "
        f"allowed{discount}{blind}",
        bad=found.evidence.ever_rejects(test.alpha),
        missing=f"predictions within {radius:.2g}" if found.distance > radius else None,
        numbers={
            "distance": found.distance,
            "radius": radius,
            "evidence_distance": found.evidence.peak,
            "design_effect": effect,
        },
    )


def _other_inputs(test: PredictionTest, canary: Arm, stable: Arm, part: float) -> Finding | None:
    """What is said instead of a fail if canary and stable get rows of another kind.

    Predictions cannot be further apart than their inputs are. So a canary that is further away than
    the radius and all the distances of its inputs fails all the same. All that differs may be in a
    part of the rows, which are then as much further apart as they are fewer.
    """
    found = input_differences(canary.inputs, stable.inputs, max(test.effects, default=1.0))
    if not found:
        return None
    wider = min(1.0, test.allowed + sum(each.distance for each in found) / part)
    if test.shift(canary, stable, allowed=wider).evidence.ever_rejects(test.alpha):
        return None
    named = ", ".join(f"{each.column} by {each.distance:.2f}" for each in found)
    return Finding(
        text=f"inputs of canary and stable differ: {named}",
        missing="the same kind of inputs for canary and stable",
        numbers={"input_distance": found[0].distance},
        columns=tuple(each.column for each in found),
    )


def _stable_off(
    test: PredictionTest, canary: Arm, stable: Arm, least_rows: float
) -> Finding | None:
    """What is said instead of a fail if it is stable that predicts what it should not.

    Stable is held against its own predictions on held-out rows. If it keeps them, the answer is
    None. If it does not, `_beside` says what is left of the canary's difference.
    """
    if not test.expected.stable_shares:
        return None
    theirs = test.alone(test.expected.stable_shares)
    found = _latest_shift(theirs, stable.predictions)
    if found is None:
        return _was_off(test, canary, stable, least_rows)
    text = (
        f"an incident of stable: its predictions differ by {found.distance:.2f} from those on "
        f"held-out rows, {theirs.allowed:.2g} is allowed"
    )
    numbers = {"stable_distance": found.distance, "evidence_stable_distance": found.evidence.peak}
    known = Finding(text=text, numbers=numbers)
    excuse = _beside(test, canary.predictions, stable.predictions, found.distance, known)
    if excuse is None or excuse.missing:
        return excuse
    return replace(excuse, text=f"{text}; the canary's are as expected")


def _beside(
    test: PredictionTest, mine: Histograms, others: Histograms, off: float, excuse: Finding
) -> Finding | None:
    """An excuse while stable is so far off: as it is, with something missing, or None.

    The canary is held against its own predictions on held-out rows. Where it does not keep them
    either, the traffic may have changed or both may be broken, and nothing is decided, unless the
    canary is further away than the radius and stable's distance together.
    """
    own = test.alone(test.expected.shares)
    alone = own.shift_of(mine)
    if not alone.evidence.ever_rejects(test.alpha) and alone.distance <= own.allowed:
        return excuse
    wider = min(1.0, test.allowed + off)
    if test.shift_of(mine, others, allowed=wider).evidence.ever_rejects(test.alpha):
        return None
    return replace(excuse, missing="predictions of canary or stable as on held-out rows")


def _was_off(test: PredictionTest, canary: Arm, stable: Arm, least_rows: float) -> Finding | None:
    """What is said instead of a fail if stable was broken for a time, and nothing else is wrong.

    Evidence of that time stays for ever. So the canary is judged by the looks in which stable was
    in order, of which there must be enough, and in the others by `_beside`.
    """
    trusted = _sound_looks(test, stable)
    judged = trusted & looks_with(stable.predictions)
    if trusted.all() or judged.mean() < LEAST_TRUSTED:
        return None
    mine, others = (_parts_of(arm.predictions, judged) for arm in (canary, stable))
    found = test.shift_of(mine[0], others[0])
    if found.evidence.ever_rejects(test.alpha):
        return None
    doubtful, rows = int(np.count_nonzero(~trusted)), math.ceil(least_rows - found.predictions)
    text = (
        f"an incident of stable: in {doubtful} of {trusted.size} looks its predictions were "
        f"not those on held-out rows; in the others the canary's differ by {found.distance:.2f}"
    )
    sound, more = "while stable's are as on held-out rows", None
    if rows > 0:
        more = f"{rows} more predictions {sound}"
    elif found.distance > test.allowed:
        # Of few rows that may be chance. What they show is not enough for a fail.
        more = f"predictions within {test.allowed:.2g} {sound}"
    excuse = Finding(text=text, missing=more, numbers={"stable_doubtful_looks": doubtful})
    off = test.alone(test.expected.stable_shares).shift_of(others[1]).distance
    return _beside(test, mine[1], others[1], off, excuse)


def _parts_of(totals: Histograms, looks: NDArray[np.bool_]) -> tuple[Histograms, Histograms]:
    """The counts of some looks, and those of the others."""
    return counts_of_looks(totals, looks).tolist(), counts_of_looks(totals, ~looks).tolist()


def _latest_shift(test: PredictionTest, predictions: Histograms) -> ShiftEvidence | None:
    """The evidence of the last looks that rejects, of all, the last half, quarter and so on.

    A release that breaks late has many good looks before, in which bets were lost.
    """
    parts = list(_late_parts(predictions))
    test = replace(test, alpha=test.alpha / len(parts))
    for start, late in parts:
        found = test.shift_of(late, start=start)
        if found.evidence.ever_rejects(test.alpha):
            return found
    return None


def _late_parts(predictions: Histograms) -> Iterator[tuple[int, list[list[float]]]]:
    """All looks, the last half, quarter and so on, each with its first look."""
    counts, starts = np.asarray(predictions, dtype=np.float64), [0]
    while len(counts) - starts[-1] > LEAST_BAD_LOOKS:
        starts.append(starts[-1] + (len(counts) - starts[-1] + 1) // 2)
    for start in starts:
        yield start, (counts[start:] - (counts[start - 1] if start else 0)).tolist()


def _on_common_grid(
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


def _missing_predictions(
    canary: Arm, stable: Arm | None, expected: ExpectedPredictions
) -> str | None:
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
