"""What the judge finds in the predictions of segments: garbage for a part of the rows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from modelyard.domain.canary.arms import Arm
from modelyard.domain.canary.design_effect import design_effects
from modelyard.domain.canary.prediction_grid import Grid
from modelyard.domain.canary.prediction_shift import (
    ExpectedPredictions,
    ShiftEvidence,
    expect_predictions,
)
from modelyard.domain.canary.predictions import excuse_of, hidden_finding
from modelyard.domain.canary.promises.comparison import PredictionTest
from modelyard.domain.canary.request_metrics import Finding
from modelyard.domain.canary.segments.cells import CELLS, segment_cell, segment_name
from modelyard.domain.gate.slices import holm

LEAST_HELD_OUT = 100
"""Held-out rows that a segment needs: with fewer the kernel is noise."""

LEAST_LIVE = 200
"""Rows of the canary from which a segment beyond the radius holds a pass back."""

MOST_SEGMENT_BINS = 5
"""Fewer than of all rows: there are up to 45 segments, and each has few rows."""

_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class SegmentPromise:
    """What to expect of the predictions of one segment.

    Args:
        column: Its column.
        cell: Its cell in the servers' counts, by `segment_cell`.
        title: Its rows in words, such as `carrier = AA`.
        expected: From held-out rows of the segment.
        bins: The number of bins of the segments' grid.
    """

    column: str
    cell: str
    title: str
    expected: ExpectedPredictions
    bins: int


def segment_promises(
    champion: ArrayLike | None,
    challenger: ArrayLike,
    levels: Mapping[str, NDArray[Any]],
    grid: Grid,
) -> tuple[SegmentPromise, ...]:
    """The promise of each segment with enough held-out rows.

    Args:
        champion: As in `expect_predictions`.
        challenger: As there.
        levels: Each row's level, by column, as `segment_level` gives it.
        grid: See `cells.segment_grid`.
    """
    before = None if champion is None else np.asarray(champion)
    after, found = np.asarray(challenger), []
    for column, names in sorted(levels.items()):
        cells = np.array([segment_cell(name) for name in names.tolist()])
        for cell in sorted(set(cells.tolist())):
            rows = cells == cell
            if np.count_nonzero(rows) < LEAST_HELD_OUT:
                continue
            expected = expect_predictions(
                None if before is None else before[rows], after[rows], grid, most=MOST_SEGMENT_BINS
            )
            title = f"{column} = {_named(names[rows])}"
            found.append(
                SegmentPromise(
                    column=column, cell=cell, title=title, expected=expected, bins=grid.bins
                )
            )
    return tuple(found)


def segment_findings(
    canary: Arm,
    stable: Arm | None,
    promises: Sequence[SegmentPromise],
    *,
    columns: Sequence[str],
    radius: float,
    alpha: float,
) -> Iterator[Finding]:
    """The finding on all segments, one for each that differs, and one for each column not judged.

    Each segment has the test of all predictions, on its own rows and its own held-out kernel. A
    segment fails by Holm's (1979) steps over all segments: exp(-peak) of an e-process is a p value
    that is valid at any time (Ville 1939). What excuses all predictions excuses a segment.

    Args:
        canary: The canary.
        stable: Stable, or None for a first release.
        promises: Of the segments.
        columns: The columns that the policy declares.
        radius: As in `distribution_radius` of the policy.
        alpha: The level over all segments together.
    """
    for column in columns:
        if (why := _why_not_judged(column, canary, stable, promises)) is not None:
            yield Finding(text=f"segments of {column} not judged: {why}")
    if (effects := design_effects(canary, stable)) is None:
        return
    judged = []
    for promise in promises:
        if _uncounted(promise, canary, stable) is not None:
            continue
        test = PredictionTest(
            expected=_merged(promise.expected),
            radius=radius,
            effects=effects,
            alpha=alpha / len(promises),
        )
        mine, others = _arm_of(canary, promise), stable and _arm_of(stable, promise)
        judged.append((promise, test, mine, others, test.shift(mine, others)))
    if not judged:
        return
    # Those not judged count in Holm's steps: a server may count them later.
    others_too = [1.0] * (len(promises) - len(judged))
    shown = holm([*(math.exp(-found.evidence.peak) for *_, found in judged), *others_too], alpha)
    worst = max(found.distance for *_, found in judged)
    # By Holm's first step, so that it needs as much as other evidence.
    peak = max(found.evidence.peak for *_, found in judged) - math.log(len(promises))
    yield Finding(
        numbers={
            "segments": len(judged),
            "segment_distance": worst,
            "evidence_segment": max(0.0, peak),
        }
    )
    for (promise, test, mine, others, found), bad in zip(judged, shown, strict=False):
        yield from _findings_of(promise, test, (mine, others), found, bad=bad)


def _why_not_judged(
    column: str, canary: Arm, stable: Arm | None, promises: Sequence[SegmentPromise]
) -> str | None:
    promise = next((each for each in promises if each.column == column), None)
    if promise is None:
        return f"none of them has {LEAST_HELD_OUT} held-out rows that were scored by it"
    name = _uncounted(promise, canary, stable)
    return f"the server of {name} does not count them" if name else None


def _uncounted(promise: SegmentPromise, canary: Arm, stable: Arm | None) -> str | None:
    """The arm whose server does not count the column of a promise; None if both count it."""
    names = _names_of(promise.column, promise.bins)
    for name, side in (("the canary", canary), ("stable", stable)):
        # Asked name by name: all that a server counts is many more.
        if side is not None and not any(each in side.segments.places for each in names):
            return name
    return None


@lru_cache(maxsize=64)
def _names_of(column: str, bins: int) -> frozenset[str]:
    """The names of all segments of a column."""
    return frozenset(name for cell in CELLS for name in _names_of_cell(column, cell, bins))


@lru_cache(maxsize=1024)
def _names_of_cell(column: str, cell: str, bins: int) -> tuple[str, ...]:
    return tuple(segment_name(column, cell, place) for place in range(bins))


def _findings_of(
    promise: SegmentPromise,
    test: PredictionTest,
    arms: tuple[Arm, Arm | None],
    found: ShiftEvidence,
    *,
    bad: bool,
) -> Iterator[Finding]:
    where = f"where {promise.title}"
    hidden = None if bad else hidden_finding(test, *arms, part=_part(*arms), noise=_noise_of(test))
    is_far = found.distance > test.allowed + _noise_of(test)(found.effective)
    if hidden is not None and (hidden.bad or not is_far):
        columns = hidden.columns or (promise.column,)
        yield replace(hidden, text=f"{where}: {hidden.text}", columns=columns, numbers={})
        return
    if not bad and not is_far:
        return
    if (excuse := excuse_of(test, *arms, least_rows=LEAST_LIVE, part=_part(*arms))) is not None:
        text = f"{where}: {excuse.text}" if excuse.text else ""
        yield replace(excuse, text=text, numbers={})
        return
    said = f"predictions differ by {found.distance:.2f} from the expected ones"
    yield Finding(
        text=f"{where} {said}, {test.allowed:.2g} is allowed" if bad else "",
        bad=bad,
        missing=f"predictions within {test.allowed:.2g} {where}",
        columns=(promise.column,),
    )


def _part(canary: Arm, stable: Arm | None) -> float:
    """The segment's part of the rows, of the arm in which it is greater."""
    arms = [canary] if stable is None else [canary, stable]
    shares = [sum(arm.predictions[-1]) / max(arm.rows, 1.0) for arm in arms]
    # A server is read while it counts, so a segment may have a row more than all of them.
    return min(1.0, max(shares)) or 1.0


def _noise_of(test: PredictionTest) -> Callable[[float], float]:
    """By how many rows a segment has, how far beyond the radius it may be by chance."""

    def noise(effective: float) -> float:
        if effective < LEAST_LIVE:
            return math.inf
        # Twice what chance adds to a total variation distance, and as much of stable's.
        return 2 * math.sqrt(len(test.expected.shares) / (math.pi * effective))

    return noise


def _arm_of(arm: Arm, promise: SegmentPromise) -> Arm:
    """The arm with the predictions of the segment alone, in the bins of what is expected."""
    names = _names_of_cell(promise.column, promise.cell, promise.bins)
    # Whole numbers, whose sums are exact in any order.
    counted = sorted(
        (place, merged)
        for name, merged in zip(names, promise.expected.bins, strict=True)
        if (place := arm.segments.places.get(name)) is not None
    )
    places, merged_bins = np.array(counted, dtype=np.intp).reshape(-1, 2).T
    merging = merged_bins[:, None] == np.arange(len(promise.expected.shares))
    rows = arm.segments.columns(places.tolist()) @ merging.astype(np.float64)
    return replace(arm, predictions=rows)


def _merged(expected: ExpectedPredictions) -> ExpectedPredictions:
    """What is expected, of predictions that are counted in its own bins."""
    return replace(expected, bins=tuple(range(len(expected.shares))))


def _named(levels: NDArray[Any]) -> str:
    """The levels of a cell, most frequent first."""
    counts = Counter(levels.tolist())
    names = [name or "null" for name, _ in sorted(counts.items(), key=lambda n: (-n[1], n[0]))]
    return ", ".join(names[:_NAMED]) + (" ..." if len(names) > _NAMED else "")
