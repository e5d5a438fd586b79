"""Whether the values of a window are those of training in another unit."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from modelyard.domain.drift.causes.nearness import (
    APART,
    NEAR,
    distance_apart,
    is_explained,
    is_like_a_block,
    largest_of_blocks,
    mean_move,
    relative_spread,
    shape_distance,
)
from modelyard.domain.drift.profile import NumberProfile
from modelyard.domain.specs.column_values import Floats

_MOST_MOVED = 3.0
"""Times the furthest block's distance by which a column may move without any fault."""

_TIE, _TIE_OF_BLOCKS = 0.03, 0.3
_LARGEST_GROWTH = 1.9
_SPREAD_WEIGHT = 0.25
_NEARLY_ALL = 0.8  # of the reference
_LEAST = 1e-6  # of a spread


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

_TURNED = _Conversion(name="the sign was turned", factor=-1.0)
_CONVERSIONS = (
    _TURNED,
    _Conversion(name="degC became degF", factor=1.8, offset=32.0),
    _Conversion(name="degF became degC", factor=1 / 1.8, offset=-32 / 1.8),
    _Conversion(name="degC became K", factor=1.0, offset=273.15),
    _Conversion(name="K became degC", factor=1.0, offset=-273.15),
    *(_Conversion(name=f"{a} became {b} (x {size:g})", factor=size) for size, a, b in _SCALES),
    *(_Conversion(name=f"{b} became {a} (/ {size:g})", factor=1 / size) for size, a, b in _SCALES),
)


def find_unit(
    column: NumberProfile,
    values: Floats,
    *,
    near: float = NEAR,
    limits: tuple[float, float] | None = None,
) -> str | None:
    """What change of unit or sign the values look like; None if it may be something else.

    Args:
        column: The reference.
        values: The values.
        near: The greatest distance from the reference that undoing the change may leave.
        limits: The contract's, if the values are those outside them: then a change is meant that
            moves nearly all values there, and not one of which they are the tail.
    """
    if _is_turned(column, values):
        return f"looks as if {_TURNED.name}"
    before = shape_distance(column, values)
    apart = distance_apart(column, values, before)
    found = [
        (after, mean_move(column, undone), _unlike_spread(column, undone), each.name)
        for each in _CONVERSIONS
        if _is_possible(column, each, before)
        and (limits is None or _moves_beyond(column, each, limits))
        for undone in [_undo(each, values)]
        for after in [shape_distance(column, undone)]
        if is_explained(column, before, after, near=near)
        or is_like_a_block(column, apart, after, undone)
    ]
    least = min(found, default=(1.0, 0.0, 0.0, ""))[0]
    if not found or _has_moved(column, values, least):
        return None
    # Factors such as 3.28 and 3.6 are near each other where a column varies much.
    if least <= NEAR:
        ranked, tie = sorted((after, name) for after, _, _, name in found)[:2], _TIE
    else:
        ranked = sorted((after + moved + spread, name) for after, moved, spread, name in found)[:3]
        tie = _TIE_OF_BLOCKS
    likely = [name for distance, name in ranked if distance <= ranked[0][0] + tie]
    return f"looks as if {' or '.join(likely)}"


def _undo(change: _Conversion, values: Floats) -> Floats:
    """The values before a change; infinite where no number is great enough."""
    with np.errstate(over="ignore"):
        before: Floats = (values - change.offset) / change.factor
    return before


def _is_turned(column: NumberProfile, values: Floats) -> bool:
    """Whether a column that had no value below 0, or none above, has none but such values."""
    low, high = column.minimum or 0.0, column.maximum or 0.0
    if low < 0 < high or low == high == 0:
        return False
    turned = -values if low >= 0 else values
    known = (-values >= low) & (-values <= high)
    return bool(turned.min() >= 0 and 2 * np.count_nonzero(turned) > len(values) and known.all())


def _unlike_spread(column: NumberProfile, undone: Floats) -> float:
    """How unlike the reference's the spread is, as half a logarithm."""
    return _SPREAD_WEIGHT * abs(math.log(max(_LEAST, relative_spread(column, undone))))


def _has_moved(column: NumberProfile, values: Floats, least: float) -> bool:
    """Whether the calendar may have moved the values: moved back, they are as near as its blocks.

    A cold week, of few different values, is near the reference by some factor too. Where undoing a
    fault leaves no more than chance does, this is not asked.
    """
    if least <= NEAR:
        return False
    edges, rows = np.array(column.edges), np.cumsum(column.counts)
    middle = min(int(np.searchsorted(rows, rows[-1] / 2)), len(edges) - 1)
    move = float(edges[middle] - np.median(values))
    if abs(move) > _MOST_MOVED * largest_of_blocks(column, "W1") * column.scale:
        return False
    back = values + move
    return shape_distance(column, back) <= max(
        least, largest_of_blocks(column, "KS D")
    ) and mean_move(column, back) <= largest_of_blocks(column, "W1")


def _moves_beyond(column: NumberProfile, change: _Conversion, limits: tuple[float, float]) -> bool:
    """Whether a change moves nearly all of the reference out of the contract's limits."""
    moved = np.array(column.edges) * change.factor + change.offset
    beyond = (moved < limits[0]) | (moved > limits[1])
    return bool(np.array(column.counts[:-1])[beyond].sum() >= _NEARLY_ALL * column.known)


def _is_possible(column: NumberProfile, change: _Conversion, before: float) -> bool:
    if column.type == "integer":
        return change.factor.is_integer()
    # Demand grows by a third or a half; only where hardly a value overlaps it must be a unit.
    small = 1 / _LARGEST_GROWTH < change.factor < _LARGEST_GROWTH and not change.offset
    return not small or before >= APART
