"""A second look at data: what single columns do not show. It is reported, and asks for nothing.

Two columns may keep their shapes and lose their relation; a clock may be off by hours; a sensor may
be stuck or round. Each *habit* of the training data is measured in every calendar block, and again
in a window. The second look has a level of its own, which costs the drift checks nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from modelyard.domain.specs.column_values import Array, Columns, Floats, plain_array, read_column
from modelyard.domain.specs.contract import Column

ALPHA = 0.01
"""Probability that a window like the blocks is flagged in any habit, if effects are normal."""

MOST_NUMBERS = 16
"""Number columns whose pairs are looked at; their number grows with the square."""

LEAST_BLOCKS = 8
_FACTOR = 1.25  # of the largest effect of a block, as for the drift floors

Kind = Literal["hour", "weekday", "most frequent value", "distinct values", "rank correlation"]

LEAST: Mapping[Kind, float] = {
    "hour": 0.05,
    "weekday": 0.05,
    "most frequent value": 0.05,
    "distinct values": 0.1,
    "rank correlation": 0.15,
}
"""Least effect that matters: differences of shares (total variation for clocks) or of a rho."""

Key = tuple[Kind, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class Habit:
    """One habit of the training data.

    Args:
        kind: What is measured.
        columns: The columns; none for `hour` and `weekday`.
        usual: Its mean over blocks: a share for each hour or weekday, else one number.
        floor: The least effect that counts, from the effects of the blocks.
    """

    kind: Kind
    columns: tuple[str, ...]
    usual: tuple[float, ...]
    floor: float


def find_habits(measured: Sequence[Mapping[Key, Floats]]) -> tuple[Habit, ...]:
    """The habits of training data, from those of each of its calendar blocks."""
    count = len(measured)
    kept = [key for key in measured[0] if all(key in each for each in measured)]
    habits = []
    for kind, names in kept:
        values = np.array([each[kind, names] for each in measured])
        usual = values.mean(axis=0)
        # The mean has the block itself in it, which makes its distance smaller by 1/count.
        effects = np.array([effect_of(kind, usual, each) for each in values]) * count / (count - 1)
        floor = _floor(kind, effects, len(kept))
        habits.append(
            Habit(
                kind=kind,
                columns=names,
                usual=tuple(round(float(each), 6) for each in usual),
                floor=round(floor, 6),
            )
        )
    return tuple(habits)


def number_columns(table: Columns, columns: Sequence[Column]) -> dict[str, Floats]:
    """The number columns as floats, NaN for null."""
    names = [column for column in columns if column.type in {"number", "integer"}]
    return {n.name: read_column(n.type, plain_array(table[n.name])).values for n in names}


def measure_habits(numbers: Mapping[str, Floats], times: Array) -> dict[Key, Floats]:
    """Every habit of some rows."""
    found: dict[Key, Floats] = {}
    hours = times.astype("datetime64[h]")
    hours = hours[~np.isnat(hours)].astype(np.int64)
    if hours.size:
        found["hour", ()] = np.bincount(hours % 24, minlength=24) / hours.size
        # Day 0 of 1970 was a Thursday; Monday is the first of the seven.
        weekdays = (hours // 24 + 3) % 7
        found["weekday", ()] = np.bincount(weekdays, minlength=7) / hours.size
    ranks: dict[str, Floats] = {}
    for column, own in numbers.items():
        known = own[~np.isnan(own)]
        if not known.size:
            continue
        counts = np.unique(known, return_counts=True)[1]
        found["most frequent value", (column,)] = np.array([counts.max() / known.size])
        found["distinct values", (column,)] = np.array([counts.size / known.size])
        if counts.size > 1 and len(ranks) < MOST_NUMBERS:
            ranks[column] = _ranks(own)
    for first, second in combinations(ranks, 2):
        rho = float(ranks[first] @ ranks[second])
        found["rank correlation", (first, second)] = np.array([rho])
    return found


def _ranks(values: Floats) -> Floats:
    """The centred ranks with length 1; ties have their mean rank, and nulls the middle one."""
    known = ~np.isnan(values)
    _, codes, counts = np.unique(values[known], return_inverse=True, return_counts=True)
    ranks = np.zeros(len(values))
    ranks[known] = (np.cumsum(counts) - (counts - 1) / 2)[codes]
    ranks[known] -= ranks[known].mean()
    found: Floats = ranks / math.sqrt(float(ranks @ ranks))
    return found


def effect_of(kind: Kind, usual: Floats, now: Floats) -> float:
    """How far a habit is from the usual."""
    gap = float(np.abs(usual - now).sum())
    return gap / 2 if kind in {"hour", "weekday"} else gap


def _floor(kind: Kind, effects: Floats, checks: int) -> float:
    """The least effect that counts: a prediction bound for one more block, or more."""
    from scipy.special import stdtrit  # noqa: PLC0415 - a second to load

    count = len(effects)
    quantile = float(stdtrit(count - 1, 1 - ALPHA / checks)) * math.sqrt(1 + 1 / count)
    bound = float(effects.mean() + quantile * effects.std(ddof=1))
    return max(LEAST[kind], _FACTOR * float(effects.max()), bound)
