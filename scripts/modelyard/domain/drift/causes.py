"""Suspected causes of drift that are faults of the data, such as another unit."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from modelyard.domain.drift.column_checks import ColumnCheck, ColumnCounts
from modelyard.domain.drift.effect_sizes import (
    ks_distance,
    total_variation_distance,
    wasserstein_distance,
)
from modelyard.domain.drift.floors import FLOORS
from modelyard.domain.drift.profile import LevelProfile, NumberProfile, Profile
from modelyard.domain.specs.column_values import Floats, ReadColumns, plain_array, read_column
from modelyard.domain.specs.contract import Breach

_READ = 10_000  # values of a column: a cause that takes more to see is none

_NEAR = 0.06
"""Greatest distance from the reference of a window whose fault is undone."""

_LARGEST_NEAR = 0.2
_BLOCK_FACTOR = 1.25  # as for the floors of drift

_TIMES_NEARER = 3.0
"""How many times nearer a window must come by undoing the fault."""

_MOST_MOVED = 3.0
"""Times the furthest block's distance by which a column may move without any fault."""

_TIMES_OF_BLOCKS = 1.3
"""The same where values and reference hardly overlap, and blocks of training differ much too."""

_TIE, _TIE_OF_BLOCKS = 0.03, 0.3
_LARGEST_GROWTH = 1.9
_APART = 0.8

_SENTINELS = (-9999.0, -999.0, -99.0, -9.0, -1.0, 0.0, 99.0, 999.0, 9999.0, 65535.0)
_LEAST_SENTINELS = 0.003  # of the rows of a window, beyond the reference's share
_STUCK = 0.9
_LEAST_STUCK = 0.75  # of the rows that had other values in training
_LEAST_LEVEL = 0.02  # share of a level whose rows can be missing as a shard
_SAME_MIX = 0.03  # total variation of the other levels


@dataclass(frozen=True, kw_only=True)
class _Conversion:
    """A known change of a unit: value x factor + offset."""

    name: str
    factor: float
    offset: float = 0.0


_SCALES = (
    (1e6, "M", "1"),
    (1000.0, "k or m", "1 or mm"),
    (100.0, "a share or hPa", "percent or Pa"),
    (10.0, "cm", "mm"),
    (60.0, "hours", "minutes"),
    (3600.0, "hours", "seconds"),
    (24.0, "days", "hours"),
    (3.6, "m/s", "km/h"),
    (1.94384, "m/s", "knots"),
    (1.60934, "miles", "km"),
    (3.28084, "m", "feet"),
    (2.54, "inches", "cm"),
    (2.20462, "kg", "pounds"),
    (2.23694, "m/s", "miles per hour"),
    (1.33322, "mmHg", "hPa"),
    (33.8639, "inHg", "hPa"),
    (1.852, "knots", "km/h"),
)

_CONVERSIONS = (
    _Conversion(name="the sign was turned", factor=-1.0),
    _Conversion(name="degC became degF", factor=1.8, offset=32.0),
    _Conversion(name="degF became degC", factor=1 / 1.8, offset=-32 / 1.8),
    _Conversion(name="degC became K", factor=1.0, offset=273.15),
    _Conversion(name="K became degC", factor=1.0, offset=-273.15),
    *(_Conversion(name=f"{a} became {b} (x {size:g})", factor=size) for size, a, b in _SCALES),
    *(_Conversion(name=f"{b} became {a} (/ {size:g})", factor=1 / size) for size, a, b in _SCALES),
)


def find_causes(
    profile: Profile,
    counts: Sequence[ColumnCounts],
    read: ReadColumns,
    drifted: Collection[ColumnCheck],
) -> tuple[Breach, ...]:
    """What the drift of a window looks like, by column; nothing where it looks like new data.

    Args:
        profile: The reference.
        counts: The counts of the window, by column of the profile.
        read: Reads the window; only columns of numbers that drifted are read again.
        drifted: The checks of the window that drifted.
    """
    names = {check.column for check in drifted}
    counted = dict(zip((column.name for column in profile.columns), counts, strict=True))
    columns = [column for column in profile.columns if column.name in names and column.known]
    numbers = {each.name: each for each in columns if isinstance(each, NumberProfile)}
    known = {name: counted[name].rows - counted[name].nulls for name in numbers}
    numbers = {name: column for name, column in numbers.items() if known[name]}
    windows = _read_some(numbers, known, read)
    found = dict(_swaps(numbers, windows))
    shares = {
        each.columns[0]: each.usual[0] + each.floor
        for each in profile.habits
        if each.kind == "most frequent value"
    }
    for name, number in numbers.items():
        cause = _number_cause(number, windows[name], stuck=shares.get(name, 0.0))
        if name not in found and cause:
            found[name] = cause
    for column in columns:
        if isinstance(column, LevelProfile) and (
            cause := _level_cause(column, counted[column.name].levels, profile.block_rows)
        ):
            found[column.name] = cause
    return tuple(
        Breach(column=name, rule="cause", expected="values as in training", found=what, rows=0)
        for name, what in found.items()
    )


def _read_some(
    columns: Mapping[str, NumberProfile], known: Mapping[str, int], read: ReadColumns
) -> dict[str, Floats]:
    """Every n-th value of each column, about `_READ` of them."""
    found: dict[str, list[Floats]] = {name: [] for name in columns}
    done = dict.fromkeys(columns, 0)
    for part in read(list(columns)) if columns else ():
        for name, column in columns.items():
            values = read_column(column.type, plain_array(part[name])).values
            values, step = values[~np.isnan(values)], -(-known[name] // _READ)
            found[name].append(values[-done[name] % step :: step])
            done[name] += len(values)
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _distance(column: NumberProfile, values: Floats) -> float:
    return ks_distance(np.append(0, np.array(column.counts)), _bins(column, values))


def _bins(column: NumberProfile, values: Floats) -> npt.NDArray[np.int64]:
    # A hair to the left: undoing a conversion moves values off the edges that they were on.
    hair = 1e-9 * np.maximum(np.abs(values), column.scale)
    bins = 1 + np.searchsorted(np.array(column.edges), values - hair, side="left")
    # What is below the range is like no row, as what is above it is, which has a bin of its own.
    bins[values + hair < (column.minimum or 0.0)] = 0
    return np.bincount(bins, minlength=1 + len(column.counts))


def _move(column: NumberProfile, values: Floats) -> float:
    """How far the values are from the reference on average, in units of its scale."""
    below, *bins = _bins(column, values).tolist()
    window = np.array([below + bins[0], *bins[1:]])
    return wasserstein_distance(
        np.array(column.counts), window, np.array(column.edges), column.scale
    )


def _of_blocks(column: NumberProfile, measure: str) -> float:
    """The largest effect of a block of training: what the calendar does to a column."""
    calendar = column.effects.get(measure)
    return calendar.largest if calendar else 0.0


def _is_explained(column: NumberProfile, before: float, after: float) -> bool:
    usual = min(_LARGEST_NEAR, _BLOCK_FACTOR * _of_blocks(column, "KS D"))
    return after <= max(_NEAR, usual) and before >= _TIMES_NEARER * after


def _is_like_a_block(column: NumberProfile, apart: float, after: float, undone: Floats) -> bool:
    """Whether values that hardly overlapped the reference are as near as the blocks of training."""
    if apart < max(_APART, _TIMES_OF_BLOCKS * after):
        return False
    moved = max(FLOORS["W1"], _BLOCK_FACTOR * _of_blocks(column, "W1"))
    usual = _BLOCK_FACTOR * _of_blocks(column, "KS D")
    return after <= usual and _move(column, undone) <= moved


def _number_cause(column: NumberProfile, values: Floats, *, stuck: float) -> str | None:
    if sentinel := _sentinel(column, values, stuck=stuck):
        return sentinel
    before = _distance(column, values)
    # Values on both sides of the reference are no further from it than half of them.
    outside = (values < (column.minimum or 0.0)) | (values > (column.maximum or 0.0))
    apart = max(before, float(outside.mean()))
    near = [
        (after, _move(column, undone), each.name)
        for each in _CONVERSIONS
        if _is_possible(column, each, before)
        for undone in [(values - each.offset) / each.factor]
        for after in [_distance(column, undone)]
        if _is_explained(column, before, after) or _is_like_a_block(column, apart, after, undone)
    ]
    least = min(near, default=(1.0, 0.0, ""))[0]
    if not near or _has_moved(column, values, least):
        return None
    # Factors such as 3.28 and 3.6 are near each other where a column varies much.
    if least <= _NEAR:
        ranked, tie = sorted((after, name) for after, _, name in near)[:2], _TIE
    else:
        ranked = sorted((after + moved, name) for after, moved, name in near)[:3]
        tie = _TIE_OF_BLOCKS
    likely = [name for distance, name in ranked if distance <= ranked[0][0] + tie]
    return f"looks as if {' or '.join(likely)}"


def _has_moved(column: NumberProfile, values: Floats, least: float) -> bool:
    """Whether the calendar may have moved the values: moved back, they are as near as its blocks.

    A cold week, of few different values, is near the reference by some factor too. Where undoing a
    fault leaves no more than chance does, this is not asked.
    """
    if least <= _NEAR:
        return False
    edges, rows = np.array(column.edges), np.cumsum(column.counts)
    middle = min(int(np.searchsorted(rows, rows[-1] / 2)), len(edges) - 1)
    move = float(edges[middle] - np.median(values))
    if abs(move) > _MOST_MOVED * _of_blocks(column, "W1") * column.scale:
        return False
    back = values + move
    return _distance(column, back) <= max(least, _of_blocks(column, "KS D")) and _move(
        column, back
    ) <= _of_blocks(column, "W1")


def _is_possible(column: NumberProfile, change: _Conversion, before: float) -> bool:
    if column.type == "integer":
        return change.factor.is_integer()
    # Demand grows by a third or a half; only where hardly a value overlaps it must be a unit.
    small = 1 / _LARGEST_GROWTH < change.factor < _LARGEST_GROWTH and not change.offset
    return not small or before >= _APART


def _sentinel(column: NumberProfile, values: Floats, *, stuck: float) -> str | None:
    """That one value is far more frequent than in training, and is one that stands for another.

    Args:
        column: The reference.
        values: The window.
        stuck: The share of its most frequent value from which on a block is unlike the others.
    """
    levels, counts = np.unique(values, return_counts=True)
    top = int(np.argmax(counts))
    level, share = float(levels[top]), counts[top] / len(values)
    low, high = column.minimum or 0.0, column.maximum or 0.0
    usual = _share_at(column, level) if low <= level <= high else 0.0
    # Most hours are dry, and a month is one number: then only what training never had is stuck.
    is_stuck = share >= max(_STUCK, stuck, usual + _LEAST_STUCK * (1 - usual))
    if is_stuck and column.scale > 0:
        return f"{share:.0%} of the values are {level:g}: looks stuck"
    for level, count in zip(levels.tolist(), counts.tolist(), strict=True):
        inside = low <= level <= high
        usual = _share_at(column, level) if inside else 0.0
        if level in _SENTINELS and count / len(values) - usual >= max(_LEAST_SENTINELS, usual):
            rest = values[values != level]
            before, after = _distance(column, values), _distance(column, rest)
            beyond = np.count_nonzero((rest < low) | (rest > high))
            alone = not inside and beyond < count
            if alone or (inside and len(rest) and _is_explained(column, before, after)):
                share = count / len(values)
                return f"{share:.1%} of the values are {level:g}: looks like a sentinel"
    return None


def _share_at(column: NumberProfile, level: float) -> float:
    """At most the share of the reference at this very value: that of its bin."""
    place = int(np.searchsorted(np.array(column.edges), level, side="left"))
    return column.counts[place] / column.known


def _swaps(
    columns: Mapping[str, NumberProfile], windows: Mapping[str, Floats]
) -> Iterator[tuple[str, str]]:
    """Pairs of columns of which each looks like the other's reference."""
    names: Sequence[str] = list(columns)
    for number, one in enumerate(names):
        for other in names[number + 1 :]:
            pairs = [
                (
                    _distance(columns[here], windows[here]),
                    _distance(columns[here], windows[there]),
                )
                for here, there in ((one, other), (other, one))
            ]
            if all(
                _is_explained(columns[here], *pair)
                for here, pair in zip((one, other), pairs, strict=True)
            ):
                yield one, f"looks as if it was swapped with {other}"
                yield other, f"looks as if it was swapped with {one}"


def _level_cause(
    column: LevelProfile, seen: Mapping[str, int], block_rows: Sequence[int]
) -> str | None:
    """That all rows have one level, or that one has none and the others the shares they had."""
    if len(seen) != 1:
        return _missing_shard(column, seen)
    [(level, rows)] = seen.items()
    before = column.counts.get(level, 0) / column.known
    if not 0 < before < _STUCK:
        return None
    # Without the shards of all other levels a window would have so many rows fewer.
    if block_rows and rows < statistics.median(block_rows) * math.sqrt(before):
        return _missing_shard(column, seen)
    return f"all values are {level!r}: looks stuck"


def _missing_shard(column: LevelProfile, seen: Mapping[str, int]) -> str | None:
    """That one level has no rows, and the others have the shares that they had."""
    gone = [
        level
        for level, rows in column.counts.items()
        if rows >= _LEAST_LEVEL * column.known and not seen.get(level)
    ]
    kept = [level for level in column.counts if level not in gone]
    if not gone or not kept or any(level not in column.counts for level in seen):
        return None
    reference = np.array([column.counts[level] for level in kept])
    window = np.array([seen.get(level, 0) for level in kept])
    if total_variation_distance(reference, window) > _SAME_MIX:
        return None
    named = ", ".join(repr(level) for level in gone[:3])
    return f"no row of {named}, the others as before: looks like missing shards"
