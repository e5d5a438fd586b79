"""One column of a window against its profile: each reason to call it drift, with both keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from modelyard.domain.drift import effect_sizes, p_values
from modelyard.domain.drift.floors import drift_floor
from modelyard.domain.drift.profile import (
    ColumnProfile,
    LevelProfile,
    NumberProfile,
    count_levels,
)
from modelyard.domain.specs.column_values import Array, Floats, read_column

Reason = Literal["null", "range", "shape", "new"]

_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class ColumnCheck:
    """One column checked for one reason.

    Args:
        column: The column.
        reason: `null`, `range` (numbers outside the reference), `shape` or `new` (levels).
        measure: The effect size behind it, a name in `FLOORS`.
        effect: How far the window is from the reference, in the measure's unit.
        floor: The least effect that counts, after what the calendar alone does to this column.
        p: Chance of such a window when nothing drifted and rows are independent.
        limit: What `p` must stay below.
        rows: Rows of the window.
        enough_blocks: Whether the floor rests on enough calendar blocks; otherwise a warning only.
        detail: What the two windows hold, in words.
    """

    column: str
    reason: Reason
    measure: str
    effect: float
    floor: float
    p: float
    limit: float
    rows: int
    enough_blocks: bool
    detail: str

    @property
    def drifted(self) -> bool:
        """Whether both keys turn: large enough to matter, and not by p_values."""
        return self.effect >= self.floor and self.p < self.limit


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """What every column of a window is held to.

    Args:
        limit: What a p must stay below.
        enough_blocks: Whether the profile has blocks enough for its floors to be believed.
        least_rows: A column with fewer values in either window is asked for nulls only.
    """

    limit: float
    enough_blocks: bool
    least_rows: int


def check_column(profile: ColumnProfile, values: Array, terms: Thresholds) -> Iterator[ColumnCheck]:
    """Every check that can be made of a column; none where either window has no rows."""
    if not profile.rows or not len(values):
        return
    if isinstance(profile, NumberProfile):
        yield from _check_numbers(profile, read_column(profile.type, values).values, terms)
    else:
        yield from _check_levels(profile, values, terms)


def _check_numbers(
    profile: NumberProfile, values: Floats, terms: Thresholds
) -> Iterator[ColumnCheck]:
    known = values[~np.isnan(values)]
    nulls = len(values) - len(known)
    yield _nulls(profile, nulls, len(values), terms)
    before = profile.rows - profile.nulls
    if min(before, len(known)) < max(1, terms.least_rows):
        return
    yield _outside(profile, known, len(values), terms)
    edges, reference = np.array(profile.edges), np.array(profile.counts)
    window = np.bincount(np.searchsorted(edges, known, side="left"), minlength=len(reference))
    distance = effect_sizes.ks_distance(reference, window)
    moved = effect_sizes.wasserstein_distance(reference, window, edges, profile.scale)
    p = p_values.ks_p_value(distance, before, len(known))
    middle = f"median {_median(edges, reference):.6g} -> {float(np.median(known)):.6g}"
    yield _larger(
        _check(profile, terms, "shape", "W1", moved, p, len(values), middle),
        _check(profile, terms, "shape", "KS D", distance, p, len(values), middle),
    )


def _check_levels(profile: LevelProfile, values: Array, terms: Thresholds) -> Iterator[ColumnCheck]:
    seen, rows = count_levels(profile.type, values), len(values)
    known, before = sum(seen.counts.values()), profile.rows - profile.nulls
    yield _nulls(profile, rows - known, rows, terms)
    if min(before, known) < max(1, terms.least_rows):
        return
    unlisted = {level: n for level, n in seen.counts.items() if level not in profile.counts}
    yield _unlisted(profile, unlisted, known, rows, terms)
    reference = np.array([*profile.counts.values(), profile.other])
    window = np.array([*(seen.counts.get(level, 0) for level in profile.counts), 0])
    window[-1] = sum(unlisted.values())
    p = p_values.chi_square_p_value(reference, window)
    gaps = np.abs(reference[:-1] / before - window[:-1] / known)
    doublings, worst = effect_sizes.largest_share_ratio(reference[:-1], window[:-1])
    variation = effect_sizes.total_variation_distance(reference, window)
    yield _larger(
        _check(
            profile,
            terms,
            "shape",
            "TV",
            variation,
            p,
            rows,
            _share_words(profile, reference, window, int(np.argmax(gaps))),
        ),
        _check(
            profile,
            terms,
            "shape",
            "doublings",
            doublings,
            p,
            rows,
            _share_words(profile, reference, window, worst),
        ),
    )


def _nulls(profile: ColumnProfile, nulls: int, rows: int, terms: Thresholds) -> ColumnCheck:
    before, now = profile.nulls / profile.rows, nulls / rows
    p = p_values.null_share_p_value(profile.nulls, profile.rows, nulls, rows)
    words = f"nulls {before:.2%} -> {now:.2%}"
    gap = effect_sizes.null_share_change(before, now)
    return _check(profile, terms, "null", "null share", gap, p, rows, words)


def _outside(profile: NumberProfile, known: Floats, rows: int, terms: Thresholds) -> ColumnCheck:
    low, high = profile.minimum or 0.0, profile.maximum or 0.0
    outside = int(np.count_nonzero((known < low) | (known > high)))
    p = p_values.outside_range_p_value(profile.rows - profile.nulls, outside, len(known))
    words = (
        f"{outside:,} rows outside {low:.6g} .. {high:.6g}, "
        f"now {float(known.min()):.6g} .. {float(known.max()):.6g}"
    )
    share = outside / len(known)
    return _check(profile, terms, "range", "rows outside", share, p, rows, words)


def _unlisted(
    profile: LevelProfile, unlisted: Mapping[str, int], known: int, rows: int, terms: Thresholds
) -> ColumnCheck:
    before, now = profile.rows - profile.nulls, sum(unlisted.values())
    share = effect_sizes.share_increase(profile.other / before, now / known)
    p = p_values.unlisted_levels_p_value(profile.other + profile.singles, before, now, known)
    named = ", ".join(f"{level!r} ({n:,})" for level, n in list(unlisted.items())[:_SHOWN])
    words = f"{now:,} rows of levels not listed{': ' if named else ''}{named}"
    return _check(profile, terms, "new", "unlisted rows", share, p, rows, words)


def _check(
    profile: ColumnProfile,
    terms: Thresholds,
    reason: Reason,
    measure: str,
    effect: float,
    p: float,
    rows: int,
    detail: str,
) -> ColumnCheck:
    return ColumnCheck(
        column=profile.name,
        reason=reason,
        measure=measure,
        effect=effect,
        floor=drift_floor(measure, profile.effects),
        p=p,
        limit=terms.limit,
        rows=rows,
        enough_blocks=terms.enough_blocks,
        detail=detail,
    )


def _larger(one: ColumnCheck, other: ColumnCheck) -> ColumnCheck:
    return other if other.effect / other.floor > one.effect / one.floor else one


def _median(edges: Floats, counts: effect_sizes.Counts) -> float:
    middle = int(np.searchsorted(np.cumsum(counts), counts.sum() / 2))
    return float(edges[min(middle, len(edges) - 1)])


def _share_words(
    profile: LevelProfile, reference: effect_sizes.Counts, window: effect_sizes.Counts, index: int
) -> str:
    level = list(profile.counts)[index]
    before, now = reference[index] / reference.sum(), window[index] / window.sum()
    return f"{level!r} {before:.2%} -> {now:.2%}"
