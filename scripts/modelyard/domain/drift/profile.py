"""The drift profile: a summary of the training data, small enough to store with the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from modelyard.domain.drift.block_effects import (
    BlockEffects,
    level_effects,
    level_shapes,
    number_effects,
    number_shapes,
)
from modelyard.domain.drift.floors import CAPS, is_capped
from modelyard.domain.drift.row_keys import repeated_share, row_keys
from modelyard.domain.drift.season.column_seasons import Season, find_season
from modelyard.domain.drift.season.weeks import WEEKS, YearRows, weeks_near, year_rows
from modelyard.domain.drift.second_look.habits import Habit, find_habits
from modelyard.domain.specs.column_values import (
    Array,
    Floats,
    LevelCounts,
    Table,
    count_rows,
    read_booleans,
    read_column,
    read_levels,
)
from modelyard.domain.specs.contract import Column, ColumnType
from modelyard.domain.specs.interval import Interval
from modelyard.errors import CannotAnswer

FORMAT = 1
EDGES = 200
LISTED = 200
"""Levels that are listed by name; rows of further levels are counted together."""

_TAIL = 0.001  # of the values at each end is winsorised
_LEAST_OF_SEASON = 0.5  # of the rows that as many other weeks have
_DIGITS = 5  # of the interquartile range: more digits than a quantile has, fewer than a float's 17
_MICROS_A_DAY = 24 * 60 * 60 * 10**6
_NORMAL_IQR = 1.349  # interquartile range of a normal distribution with standard deviation 1


@dataclass(frozen=True, kw_only=True)
class _Column:
    """A column of the reference.

    Args:
        name: The column.
        type: Its type in the contract.
        rows: Rows, with and without a value.
        nulls: Rows without a value.
        effects: The effects of the calendar alone, by measure.
        season: What windows are compared with instead, if the column follows a known year.
    """

    name: str
    type: ColumnType
    rows: int
    nulls: int
    effects: Mapping[str, BlockEffects] = field(default_factory=dict)
    season: Season | None = None


@dataclass(frozen=True, kw_only=True)
class NumberProfile(_Column):
    """A number or integer column of the reference.

    Args:
        minimum: Least value; None without values.
        maximum: Greatest value; None without values.
        scale: Robust standard deviation: interquartile range / 1.349, or if that is 0 the
            winsorised standard deviation.
        edges: Up to `EDGES` ascending quantiles, from .1 % to 99.9 %, without repetition.
        counts: Rows by bin, one more than edges; a bin includes its right edge.
    """

    minimum: float | None
    maximum: float | None
    scale: float
    edges: tuple[float, ...]
    counts: tuple[int, ...]

    @property
    def known(self) -> int:
        """Rows with a value; of a season those of the season."""
        return sum(self.counts)


@dataclass(frozen=True, kw_only=True)
class LevelProfile(_Column):
    """A category or boolean column of the reference.

    Args:
        counts: Rows of the `LISTED` most frequent levels, most frequent first.
        other: Rows of all further levels.
        singles: Listed levels with a single row.
    """

    counts: Mapping[str, int]
    other: int
    singles: int

    @property
    def known(self) -> int:
        """Rows with a value; of a season those of the season."""
        return sum(self.counts.values()) + self.other


ColumnProfile = NumberProfile | LevelProfile


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The reference that later windows are compared with.

    Args:
        rows: Rows of the training data.
        blocks: Calendar blocks as long as a monitoring window.
        columns: In the order of the contract, without timestamps, which always move.
        block_rows: Rows of each block, as if it had rows on as many days as a usual one; empty in
            profiles of earlier versions.
        repeated: Share of rows that are there twice; None in profiles of earlier versions, and
            without times.
        habits: What the second look compares; empty in profiles of earlier versions, and without
            times.
    """

    rows: int
    blocks: int
    columns: tuple[ColumnProfile, ...]
    block_rows: tuple[int, ...] = ()
    repeated: float | None = None
    habits: tuple[Habit, ...] = ()

    def to_document(self) -> dict[str, Any]:
        """The profile as data for JSON; `from_document` returns an equal profile."""
        columns = [asdict(column) for column in self.columns]
        for column in columns:
            # Profiles without a season stay the same bytes as before there were any.
            if column["season"] is None:
                del column["season"]
            column.update({name: list(v) for name, v in column.items() if isinstance(v, tuple)})
        return {
            "format": FORMAT,
            "rows": self.rows,
            "blocks": self.blocks,
            "columns": columns,
            "block_rows": list(self.block_rows),
            "repeated": self.repeated,
            "habits": [
                {**asdict(each), "columns": list(each.columns), "usual": list(each.usual)}
                for each in self.habits
            ],
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Profile:
        """The profile of a document that `to_document` made.

        Raises:
            CannotAnswer: The document has another format or lacks a part.
        """
        if document.get("format") != FORMAT:
            raise CannotAnswer(
                f"drift profile: format {document.get('format')!r}, this version reads {FORMAT}",
                hint="train the version again: a profile is written with every training",
            )
        try:
            columns = tuple(_column_profile(column) for column in document["columns"])
            return cls(
                rows=document["rows"],
                blocks=document["blocks"],
                columns=columns,
                block_rows=tuple(document.get("block_rows", ())),
                repeated=document.get("repeated"),
                habits=tuple(
                    Habit(**{**h, "columns": tuple(h["columns"]), "usual": tuple(h["usual"])})
                    for h in document.get("habits", ())
                ),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise CannotAnswer(
                f"drift profile: a part is missing or of another shape: {error}",
                hint="train the version again: a profile is written with every training",
            ) from error


def build_profile(
    table: Table,
    columns: Sequence[Column],
    blocks: npt.NDArray[np.integer[Any]],
    *,
    times: Array | None = None,
) -> Profile:
    """The profile of training data, which must keep its contract.

    Args:
        table: The training data.
        columns: Columns to watch; timestamps are skipped.
        blocks: Shape (rows,): each row's calendar block, as long as a monitoring window. A block
            with less than half the rows of the median block counts as cut off: its rows belong to
            the reference, but it is not compared with the other blocks.
        times: Shape (rows,): each row's time; None without times.

    Raises:
        CannotAnswer: A column is missing, or `blocks` has another length than the table.
    """
    # Timestamps always move, so their drift would mean nothing.
    watched = [column for column in columns if column.type != "timestamp"]
    absent = [column.name for column in watched if column.name not in table]
    if absent or len(blocks) != count_rows(table):
        raise CannotAnswer(
            f"drift profile: {count_rows(table)} rows, {len(blocks)} block ids, columns without "
            f"data: {', '.join(absent) or 'none'}",
            hint="check the data against the contract first",
        )
    numbered = _number_blocks(blocks)
    year = None if times is None else year_rows(times, numbered)
    profiles = tuple(_profile(column, table[column.name], numbered, year) for column in watched)
    repeated: float | None = None
    habits: tuple[Habit, ...] = ()
    if times is not None:
        repeated = round(repeated_share(row_keys(table, watched, times=times)), 6)
        habits = find_habits(table, watched, numbered, times)
    return Profile(
        rows=len(blocks),
        blocks=int(numbered.max(initial=-1)) + 1,
        columns=profiles,
        block_rows=_rows_of_whole_blocks(numbered, times),
        repeated=repeated,
        habits=habits,
    )


def in_season(profile: Profile, days: Interval, *, later: int = 0) -> Profile:
    """The profile that a window of these days is compared with, or one of some days later.

    Columns that follow a known year have the shape of the weeks near these days alone, and the
    floors of blocks within their seasons; nulls, range and listed levels are those of all rows.
    """
    near = weeks_near(days, later=later)
    return replace(profile, columns=tuple(_in_season(each, near) for each in profile.columns))


def hardly_watched(profile: Profile) -> tuple[tuple[str, str], ...]:
    """The columns and measures for which the calendar alone comes near what a measure can reach."""
    return tuple(
        (column.name, measure)
        for column in profile.columns
        for measure in CAPS
        if is_capped(measure, _floor_effects(column))
    )


def seasonal_columns(profile: Profile) -> tuple[str, ...]:
    """The columns that are compared with their own season."""
    return tuple(column.name for column in profile.columns if column.season is not None)


def count_levels(kind: ColumnType, values: Array) -> LevelCounts:
    """A category or boolean column's rows by level; unreadable values count as null."""
    if kind == "category":
        return read_levels(values)
    return read_levels(_truth_names(values))


def _truth_names(values: Array) -> Array:
    truth = read_booleans(values).values
    names = np.where(truth == 1, "true", "false").astype(object)
    names[np.isnan(truth)] = None
    return names


def _number_blocks(blocks: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int64]:
    """The blocks as 0, 1, 2 ... in their order; -1 for blocks that are cut off."""
    if not len(blocks):
        return np.zeros(0, dtype=np.int64)
    _, inverse, rows = np.unique(blocks, return_inverse=True, return_counts=True)
    whole = rows * 2 >= np.median(rows)
    numbers = np.where(whole, np.cumsum(whole) - 1, -1)
    return np.asarray(numbers[inverse], dtype=np.int64)


def _rows_of_whole_blocks(blocks: npt.NDArray[np.int64], times: Array | None) -> tuple[int, ...]:
    """The rows of each block; those of a block with few days are raised to the usual days."""
    # Else the first and last weeks of a training, which are cut off, make half a week look usual.
    rows = np.bincount(blocks[blocks >= 0])
    if times is None or not len(rows):
        return tuple(rows.tolist())
    moments = times.astype("datetime64[us]")
    known = (blocks >= 0) & ~np.isnat(moments)
    # From the first moment on, as blocks are: a week that begins at noon has seven days, not eight.
    micros = moments[known].astype(np.int64)
    days = (micros - micros.min(initial=np.iinfo(np.int64).max)) // _MICROS_A_DAY
    pairs = np.unique(np.stack([blocks[known], days]), axis=1)
    counts = np.maximum(1, np.bincount(pairs[0], minlength=len(rows)))
    usual = np.quantile(counts, 0.5, method="higher")
    return tuple(np.rint(rows * np.maximum(1, usual / counts)).astype(int).tolist())


def _in_season(column: ColumnProfile, near: npt.NDArray[np.bool_]) -> ColumnProfile:
    if column.season is None:
        return column
    counts = np.array(column.season.counts)[near].sum(axis=0).tolist()
    # Weeks of which most values are null say little of a season: then all rows are compared.
    if sum(counts) < _LEAST_OF_SEASON * column.known * np.count_nonzero(near) / WEEKS:
        return replace(column, season=None)
    effects = _floor_effects(column)
    if isinstance(column, NumberProfile):
        return replace(column, counts=tuple(counts), effects=effects, season=None)
    listed = dict(zip(_by_rows(column.counts), counts[:-1], strict=True))
    return replace(column, counts=listed, other=counts[-1], effects=effects, season=None)


def _by_rows(counts: Mapping[str, int]) -> list[str]:
    """The levels in the order of a season's counts; a stored profile has them in another one."""
    return sorted(counts, key=lambda level: (-counts[level], level))


def _floor_effects(column: ColumnProfile) -> Mapping[str, BlockEffects]:
    return {**column.effects, **(column.season.effects if column.season else {})}


def _profile(
    column: Column, values: Array, blocks: npt.NDArray[np.int64], year: YearRows | None
) -> ColumnProfile:
    if column.type in {"number", "integer"}:
        return _number_profile(column, read_column(column.type, values).values, blocks, year)
    return _level_profile(column, values, blocks, year)


def _number_profile(
    column: Column, values: Floats, blocks: npt.NDArray[np.int64], year: YearRows | None
) -> NumberProfile:
    known = np.sort(values[~np.isnan(values)])
    edges, scale = _edges(known), _scale(known)
    bins = np.where(np.isnan(values), -1, np.searchsorted(edges, values, side="left"))
    effects = number_effects(values, bins, blocks, edges, scale)
    season = find_season(
        year, bins, len(edges) + 1, effects, lambda pairs: number_shapes(pairs, edges, scale)
    )
    return NumberProfile(
        name=column.name,
        type=column.type,
        rows=len(values),
        nulls=len(values) - len(known),
        minimum=float(known[0]) if len(known) else None,
        maximum=float(known[-1]) if len(known) else None,
        scale=scale,
        edges=tuple(edges.tolist()),
        counts=tuple(np.bincount(bins[bins >= 0], minlength=len(edges) + 1).tolist()),
        effects=effects,
        season=season,
    )


def _edges(known: Floats) -> Floats:
    if not len(known):
        return np.zeros(0)
    shares = np.concatenate([[_TAIL], np.linspace(0.005, 0.995, EDGES - 2), [1 - _TAIL]])
    quantiles = _quantiles(known, shares)
    lower, upper = _quantiles(known, [0.25, 0.75]).tolist()
    # Rounding keeps the stored profile small; see `_DIGITS`.
    spread = upper - lower or float(quantiles[-1]) - float(quantiles[0])
    if not 0 < spread < np.inf:
        return np.unique(quantiles)
    digits = int(_DIGITS - np.floor(np.log10(spread)))
    return np.unique([round(float(quantile), digits) for quantile in quantiles])


def _quantiles(known: Floats, shares: npt.ArrayLike) -> Floats:
    """Quantiles of sorted values that are values: interpolated ones would lie between integers."""
    # As numpy's `inverted_cdf`, which would sort again what is sorted.
    places = np.ceil(len(known) * np.asarray(shares) - 1).astype(np.int64)
    found: Floats = known[np.clip(places, 0, len(known) - 1)]
    return found


def _scale(known: Floats) -> float:
    if not len(known):
        return 0.0
    shares = [_TAIL, 0.25, 0.75, 1 - _TAIL]
    low, lower, upper, high = _quantiles(known, shares).tolist()
    with np.errstate(over="ignore"):  # a spread beyond float64 has no scale
        scale = (upper - lower) / _NORMAL_IQR or float(np.std(np.clip(known, low, high)))
    return scale if np.isfinite(scale) else 0.0


def _level_profile(
    column: Column, values: Array, blocks: npt.NDArray[np.int64], year: YearRows | None
) -> LevelProfile:
    named = values if column.type == "category" else _truth_names(values)
    seen = read_levels(named)
    listed = dict(list(seen.counts.items())[:LISTED])
    known = sum(seen.counts.values())
    codes = _codes(named, seen)
    effects = level_effects(codes, blocks, listed=len(listed))
    pooled = np.minimum(codes, len(listed))
    season = find_season(year, pooled, len(listed) + 1, effects, level_shapes)
    return LevelProfile(
        name=column.name,
        type=column.type,
        rows=len(codes),
        nulls=len(codes) - known,
        counts=listed,
        other=known - sum(listed.values()),
        singles=sum(rows == 1 for rows in listed.values()),
        effects=effects,
        season=season,
    )


class _LevelCodes(dict[object, int]):
    """The number of each level; -1 for anything else, such as null."""

    def __missing__(self, _: object) -> int:
        return -1


def _codes(values: Array, seen: LevelCounts) -> npt.NDArray[np.int64]:
    """The number of each row's level, shape (rows,); -1 without a level."""
    listed = values.tolist() if values.ndim == 1 else []
    if seen.wrong:  # lists and dicts are not hashable
        listed = [value if isinstance(value, str) else None for value in listed]
    numbers = _LevelCodes({level: code for code, level in enumerate(seen.counts)})
    return np.fromiter(map(numbers.__getitem__, listed), dtype=np.int64, count=len(listed))


def _column_profile(document: Mapping[str, Any]) -> ColumnProfile:
    plain = {**document, "effects": _block_effects(document["effects"])}
    if season := document.get("season"):
        counts = tuple(tuple(week) for week in season["counts"])
        plain["season"] = Season(counts=counts, effects=_block_effects(season["effects"]))
    if document["type"] in {"number", "integer"}:
        exact = {"edges": tuple(document["edges"]), "counts": tuple(document["counts"])}
        return NumberProfile(**{**plain, **exact})
    return LevelProfile(**plain)


def _block_effects(document: Mapping[str, Mapping[str, float]]) -> dict[str, BlockEffects]:
    return {name: BlockEffects(**one) for name, one in document.items()}
