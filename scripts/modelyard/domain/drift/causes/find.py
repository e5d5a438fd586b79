"""Suspected causes of drift, or of values that the contract does not allow: faults of the data."""

from __future__ import annotations

from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from modelyard.domain.drift.causes.levels import find_level_cause
from modelyard.domain.drift.causes.nearness import shape_distance
from modelyard.domain.drift.causes.swaps import find_swaps
from modelyard.domain.drift.causes.units import find_unit
from modelyard.domain.drift.causes.values import find_sentinel, find_stray_sentinel
from modelyard.domain.drift.column_checks import ColumnCheck, ColumnCounts
from modelyard.domain.drift.profile import LevelProfile, NumberProfile, Profile
from modelyard.domain.specs.column_values import Floats, ReadColumns, plain_array, read_column
from modelyard.domain.specs.contract import Breach, Column

_READ = 10_000  # values of a column: a cause that takes more to see is none
_ALL_SINCE = 0.9  # of the rows since the first one with a fault have it
_NEAR_OF_REST = 0.2  # greatest distance from the reference of the rows without it
_NEAR_OF_DAYS = 0.3  # greatest distance from the reference of a day whose fault is undone
_STRAYS = frozenset({"range", "level"})  # rules that a fault of values breaks


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
    return _as_breaches(_find(_Suspects.of(profile, counts, read, names)))


def name_causes(
    profile: Profile,
    counts: Sequence[ColumnCounts],
    read: ReadColumns,
    drifted: Collection[ColumnCheck],
    *,
    broken: Sequence[Breach],
    contract: Sequence[Column],
) -> tuple[Breach, ...]:
    """The breaches of a window with what they look like, and causes of further columns.

    A fault has mostly begun within the window. So where the whole window shows none, the values
    that the contract does not allow are looked at alone.

    Args:
        profile: The reference.
        counts: The counts of the window, by column of the profile.
        read: Reads the window; only numbers outside their limits or drifted are read again.
        drifted: The checks of the window that drifted.
        broken: The rules of the contract that it breaks.
        contract: The columns of the contract.
    """
    unread = {each.column for each in broken if each.rule == "type"}
    strayed = {each.column for each in broken if each.rule in _STRAYS} - unread
    names = strayed | {check.column for check in drifted} - unread
    suspects = _Suspects.of(profile, counts, read, names)
    found = _find(suspects)
    limits = {column.name: column.limits for column in contract}
    for name in strayed & suspects.numbers.keys() - found.keys():
        if cause := _cause_outside(suspects.numbers[name], suspects.values[name], limits[name]):
            found[name] = cause
    named = tuple(
        replace(each, cause=found.get(each.column, "")) if each.rule in _STRAYS else each
        for each in broken
    )
    others = {name: what for name, what in found.items() if name not in strayed}
    return (*named, *_as_breaches(others))


@dataclass(frozen=True, kw_only=True)
class _Suspects:
    """The columns of a window that are held against faults.

    Args:
        numbers: The numbers with a value, by name.
        values: Some of their values.
        levels: The categories and booleans, each with its rows by level.
        stuck: The share of its most frequent value from which on a block is unlike the others.
        block_rows: The rows of the blocks of training.
    """

    numbers: Mapping[str, NumberProfile]
    values: Mapping[str, Floats]
    levels: Sequence[tuple[LevelProfile, Mapping[str, int]]]
    stuck: Mapping[str, float]
    block_rows: Sequence[int]

    @classmethod
    def of(
        cls,
        profile: Profile,
        counts: Sequence[ColumnCounts],
        read: ReadColumns,
        names: Container[str],
    ) -> _Suspects:
        """The columns of these names that the profile has, with what the window has of them."""
        counted = dict(zip((column.name for column in profile.columns), counts, strict=True))
        columns = [column for column in profile.columns if column.name in names and column.known]
        known = {name: each.rows - each.nulls for name, each in counted.items()}
        numbers = {c.name: c for c in columns if isinstance(c, NumberProfile) and known[c.name]}
        return cls(
            numbers=numbers,
            values=_read_some(numbers, known, read),
            levels=[(c, counted[c.name].levels) for c in columns if isinstance(c, LevelProfile)],
            stuck={
                each.columns[0]: each.usual[0] + each.floor
                for each in profile.habits
                if each.kind == "most frequent value"
            },
            block_rows=profile.block_rows,
        )


def _find(suspects: _Suspects) -> dict[str, str]:
    """The cause of each column that has one."""
    found = dict(find_swaps(suspects.numbers, suspects.values))
    for name, number in suspects.numbers.items():
        values, stuck = suspects.values[name], suspects.stuck.get(name, 0.0)
        cause = find_sentinel(number, values, stuck=stuck) or find_unit(number, values)
        if name not in found and cause:
            found[name] = cause
    for column, seen in suspects.levels:
        if cause := find_level_cause(column, seen, suspects.block_rows):
            found[column.name] = cause
    return found


def _cause_outside(
    column: NumberProfile, values: Floats, limits: tuple[float, float]
) -> str | None:
    """What the values look like that the contract does not allow."""
    low, high = limits
    strays = (values < low) | (values > high)
    outside, rest = values[strays], values[~strays]
    if not len(outside):
        return None
    if sentinel := find_stray_sentinel(outside, of=len(values)):
        return sentinel
    # Else they may be the tail of a change of all values, which is like many units.
    is_of_some_rows = (
        strays[int(np.argmax(strays)) :].mean() >= _ALL_SINCE
        or shape_distance(column, rest) <= _NEAR_OF_REST
    )
    if not is_of_some_rows:
        return None
    # They are mostly of a day or two, which are further from all weeks than a week is.
    unit = find_unit(column, outside, near=_NEAR_OF_DAYS, limits=limits)
    return f"{unit}, in {len(outside) / len(values):.0%} of the values" if unit else None


def _as_breaches(causes: Mapping[str, str]) -> tuple[Breach, ...]:
    return tuple(
        Breach(column=name, rule="cause", expected="values as in training", found=what, rows=0)
        for name, what in causes.items()
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
