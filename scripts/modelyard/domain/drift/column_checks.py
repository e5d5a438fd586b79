"""Checks one column of a window against its profile: nulls, range, shape and new levels."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
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
from modelyard.domain.drift.profiling.bins import Bins
from modelyard.domain.specs.column_values import Array, Floats, Values, plain_array, read_column

Reason = Literal["null", "range", "shape", "new", "quality"]

_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class ColumnCheck:
    """One column checked for one reason.

    Args:
        column: The column.
        reason: `null`, `range` (numbers outside the reference), `shape` or `new` (levels); of the
            target `quality`, see `domain.drift.quality`.
        measure: The measure of the effect, a name in `FLOORS`.
        effect: The effect size: how far the window is from the reference, in the measure's unit.
        floor: The least effect that counts; see `drift_floor`.
        p: The p value of the window if nothing drifted and rows are independent.
        limit: The level that `p` must be below.
        rows: Rows of the window.
        enough_blocks: Whether enough calendar blocks are behind the floor; if not, it only warns.
        detail: What the two windows hold, for people.
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
        """Whether the effect is large enough to matter and is not chance."""
        return self.effect >= self.floor and self.p < self.limit


@dataclass(frozen=True, kw_only=True)
class _Effect:
    reason: Reason
    measure: str
    size: float
    p: float
    detail: str


@dataclass(frozen=True, kw_only=True)
class ColumnCounts:
    """What the checks need of a column of a window; see `ColumnTally`.

    Args:
        rows: Rows, with and without a value.
        nulls: Rows without a value.
        bins: Rows by bin of the profile, shape (bins,); empty for levels.
        outside: Rows outside the range of the profile.
        minimum: The least value; infinite without values.
        maximum: The greatest value; minus infinite without values.
        levels: Rows by level, by name; empty for numbers.
    """

    rows: int
    nulls: int
    bins: tuple[int, ...] = ()
    outside: int = 0
    minimum: float = math.inf
    maximum: float = -math.inf
    levels: Mapping[str, int] = field(default_factory=dict)


class ColumnTally:
    """Counts a column of a window from parts of its rows: any parts in any order, the same counts.

    Args:
        profile: The column's profile, on whose grid numbers are counted.
    """

    def __init__(self, profile: ColumnProfile) -> None:
        self.profile = profile
        self._rows = self._known = self._outside = 0
        self._levels: Counter[str] = Counter()
        self._least, self._greatest = math.inf, -math.inf
        if isinstance(profile, NumberProfile):
            self._bins = Bins(np.array(profile.edges))
            self._counts = np.zeros(len(profile.counts), dtype=np.int64)

    def add(self, values: Values) -> None:
        """Take the next rows."""
        self._rows += len(values)
        if isinstance(self.profile, NumberProfile):
            self._add_numbers(self.profile, plain_array(values))
            return
        levels = count_levels(self.profile.type, values).counts
        self._known += sum(levels.values())
        self._levels.update(levels)

    def _add_numbers(self, profile: NumberProfile, values: Array) -> None:
        numbers = read_column(profile.type, values).values
        known = numbers[~np.isnan(numbers)]
        low, high = profile.minimum or 0.0, profile.maximum or 0.0
        self._known += len(known)
        self._counts += np.bincount(self._bins.places(known), minlength=len(self._counts))
        self._outside += int(np.count_nonzero((known < low) | (known > high)))
        self._least = min(self._least, float(known.min(initial=math.inf)))
        self._greatest = max(self._greatest, float(known.max(initial=-math.inf)))

    def counts(self) -> ColumnCounts:
        """The counts of the rows so far."""
        is_number = isinstance(self.profile, NumberProfile)
        return ColumnCounts(
            rows=self._rows,
            nulls=self._rows - self._known,
            bins=tuple(self._counts.tolist()) if is_number else (),
            outside=self._outside,
            minimum=self._least,
            maximum=self._greatest,
            levels=dict(sorted(self._levels.items())),
        )


def check_column(
    profile: ColumnProfile,
    counts: ColumnCounts,
    *,
    limit: float,
    enough_blocks: bool,
    least_rows: int,
) -> Iterator[ColumnCheck]:
    """Every check of a column that its rows allow; none if either window has no rows.

    Args:
        profile: The column's profile.
        counts: The column of the window.
        limit: The level that a p value must be below.
        enough_blocks: Whether the profile has enough calendar blocks to rely on its floors.
        least_rows: With fewer values in either window, only nulls are checked; so it is with a
            clock, which always moves.
    """
    if not profile.rows or not counts.rows:
        return
    if isinstance(profile, NumberProfile):
        effects = _number_effects(profile, counts, least_rows)
    else:
        effects = _level_effects(profile, counts, least_rows)
    for effect in effects:
        yield ColumnCheck(
            column=profile.name,
            reason=effect.reason,
            measure=effect.measure,
            effect=effect.size,
            floor=drift_floor(effect.measure, profile.effects),
            p=effect.p,
            limit=limit,
            rows=counts.rows,
            enough_blocks=enough_blocks,
            detail=effect.detail,
        )


def _number_effects(
    profile: NumberProfile, counts: ColumnCounts, least_rows: int
) -> Iterator[_Effect]:
    known = counts.rows - counts.nulls
    yield _null_effect(profile, counts.nulls, counts.rows)
    if profile.is_clock or min(profile.known, known) < max(1, least_rows):
        return
    yield _range_effect(profile, counts, known)
    edges, reference = np.array(profile.edges), np.array(profile.counts)
    window = np.array(counts.bins)
    distance = effect_sizes.ks_distance(reference, window)
    moved = effect_sizes.wasserstein_distance(reference, window, edges, profile.scale)
    p = p_values.ks_p_value(distance, profile.known, known)
    medians = f"median {_median(edges, reference)} -> {_median(edges, window)}"
    # W1 finds a shift of few far values, D a change near the middle; both have the p value of D.
    yield _larger(
        profile,
        _Effect(reason="shape", measure="W1", size=moved, p=p, detail=medians),
        _Effect(reason="shape", measure="KS D", size=distance, p=p, detail=medians),
    )


def _level_effects(
    profile: LevelProfile, counts: ColumnCounts, least_rows: int
) -> Iterator[_Effect]:
    known = counts.rows - counts.nulls
    yield _null_effect(profile, counts.nulls, counts.rows)
    if min(profile.known, known) < max(1, least_rows):
        return
    # Most frequent first, ties by name, so that the order of parts changes nothing.
    seen = dict(sorted(counts.levels.items(), key=lambda item: (-item[1], item[0])))
    unlisted = {level: n for level, n in seen.items() if level not in profile.counts}
    yield _new_level_effect(profile, unlisted, known)
    reference = np.array([*profile.counts.values(), profile.other])
    window = np.array([*(seen.get(level, 0) for level in profile.counts), 0])
    window[-1] = sum(unlisted.values())
    p = p_values.chi_square_p_value(reference, window)
    gaps = np.abs(reference[:-1] / profile.known - window[:-1] / known)
    doublings, worst = effect_sizes.largest_share_ratio(reference[:-1], window[:-1])
    variation = effect_sizes.total_variation_distance(reference, window)
    details = [_level_shares(profile, reference, window, n) for n in (int(np.argmax(gaps)), worst)]
    # TV finds many rows that moved, a ratio the level that all but vanished.
    yield _larger(
        profile,
        _Effect(reason="shape", measure="TV", size=variation, p=p, detail=details[0]),
        _Effect(reason="shape", measure="doublings", size=doublings, p=p, detail=details[1]),
    )


def _null_effect(profile: ColumnProfile, nulls: int, rows: int) -> _Effect:
    before, now = profile.nulls / profile.rows, nulls / rows
    return _Effect(
        reason="null",
        measure="null share",
        size=effect_sizes.null_share_change(before, now),
        p=p_values.null_share_p_value(profile.nulls, profile.rows, nulls, rows),
        detail=f"nulls {before:.2%} -> {now:.2%}",
    )


def _range_effect(profile: NumberProfile, counts: ColumnCounts, known: int) -> _Effect:
    low, high = profile.minimum or 0.0, profile.maximum or 0.0
    outside = counts.outside
    return _Effect(
        reason="range",
        measure="rows outside",
        size=outside / known,
        p=p_values.outside_range_p_value(profile.known, outside, known),
        detail=f"{outside:,} rows outside {low:.6g} .. {high:.6g}, "
        f"now {counts.minimum:.6g} .. {counts.maximum:.6g}",
    )


def _new_level_effect(profile: LevelProfile, unlisted: Mapping[str, int], known: int) -> _Effect:
    rows = sum(unlisted.values())
    named = ", ".join(f"{level!r} ({n:,})" for level, n in list(unlisted.items())[:_SHOWN])
    # Any unlisted row may be a level that training met once, so both kinds are expected again.
    p = p_values.unlisted_levels_p_value(
        profile.other + profile.singles, profile.known, rows, known
    )
    return _Effect(
        reason="new",
        measure="unlisted rows",
        size=effect_sizes.share_increase(profile.other / profile.known, rows / known),
        p=p,
        detail=f"{rows:,} rows of levels not listed{': ' if named else ''}{named}",
    )


def _larger(profile: ColumnProfile, *effects: _Effect) -> _Effect:
    return max(effects, key=lambda one: one.size / drift_floor(one.measure, profile.effects))


def _median(edges: Floats, counts: effect_sizes.Counts) -> str:
    """The median to the next edge: raw values of parts do not add up, counts do."""
    middle = int(np.searchsorted(np.cumsum(counts), counts.sum() / 2))
    return f"{edges[middle]:.6g}" if middle < len(edges) else f"above {edges[-1]:.6g}"


def _level_shares(
    profile: LevelProfile, reference: effect_sizes.Counts, window: effect_sizes.Counts, index: int
) -> str:
    level = list(profile.counts)[index]
    before, now = reference[index] / reference.sum(), window[index] / window.sum()
    return f"{level!r} {before:.2%} -> {now:.2%}"
