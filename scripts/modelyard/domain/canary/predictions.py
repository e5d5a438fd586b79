"""What the judge finds in predictions: the canary's, and what else may explain how far they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from modelyard.domain.canary.arms import Arm
from modelyard.domain.canary.design_effect import design_effects
from modelyard.domain.canary.input_mix import input_differences
from modelyard.domain.canary.prediction_shift import ExpectedPredictions, ShiftEvidence
from modelyard.domain.canary.promises.comparison import (
    PredictionTest,
    missing_predictions,
    on_common_grid,
)
from modelyard.domain.canary.promises.stable import excused_by_stable, hidden_by_stable
from modelyard.domain.canary.request_metrics import Finding

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
    expected, canary, stable = on_common_grid(expected, canary, stable)
    missing = missing_predictions(canary, stable, expected)
    if missing or effects is None:
        yield Finding(missing=missing or "the number of rows in a request")
        return
    test = PredictionTest(expected=expected, radius=radius, effects=effects, alpha=alpha)
    found = test.shift(canary, stable)
    finding = _own_finding(test, found)
    hidden = None if finding.bad else hidden_finding(test, canary, stable)
    if hidden is not None and (hidden.bad or not finding.missing):
        yield finding
        yield hidden
        return
    if finding.bad or finding.missing:
        other = excuse_of(test, canary, stable, least_rows=least_rows)
        if other is not None:
            yield replace(finding, bad=False, missing=None)
            yield other
            return
    yield finding


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
    return found or excused_by_stable(test, canary, stable, least_rows)


def hidden_finding(
    test: PredictionTest,
    canary: Arm,
    stable: Arm | None,
    *,
    part: float = 1.0,
    noise: Callable[[float], float] = lambda _: 0.0,
) -> Finding | None:
    """What all looks together do not show, as stable was broken in some; None if nothing.

    Args:
        test: As in `excuse_of`.
        canary: As there.
        stable: As there.
        part: As there.
        noise: By how many rows there are, how far beyond the radius they may be by chance.
    """
    if stable is None:
        return None
    hidden = hidden_by_stable(test, canary, stable, noise=noise)
    return hidden and (_other_inputs(test, canary, stable, part) or hidden)


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
