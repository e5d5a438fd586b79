"""The drift profile: a summary of the training data, small enough to store with the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from modelyard.domain.drift.block_effects import BlockEffects
from modelyard.domain.drift.floors import CAPS, is_capped
from modelyard.domain.drift.season.column_seasons import Season
from modelyard.domain.drift.season.weeks import WEEKS, weeks_near
from modelyard.domain.drift.second_look.habits import Habit
from modelyard.domain.specs.column_values import (
    LevelCounts,
    Values,
    name_truths,
    plain_array,
    read_levels,
)
from modelyard.domain.specs.contract import ColumnType
from modelyard.domain.specs.interval import Interval
from modelyard.errors import CannotAnswer

FORMAT = 1
EDGES = 200
LISTED = 200
"""Levels that are listed by name; rows of further levels are counted together."""

_LEAST_OF_SEASON = 0.5  # of the rows that as many other weeks have


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
        is_clock: Whether the values move from block to block as time does, as those of a day's
            number, a counter or a year do; see `profiling.clocks`. Such a column always moves.
    """

    minimum: float | None
    maximum: float | None
    scale: float
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    is_clock: bool = False

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
        repeated_of_blocks: That share of each block; empty if no block has such rows, and in
            profiles of earlier versions, whose blocks are taken to have the share of all rows.
        habits: What the second look compares; empty in profiles of earlier versions, and without
            times.
        block_days: Length of a block; None in profiles of earlier versions, and without times.
    """

    rows: int
    blocks: int
    columns: tuple[ColumnProfile, ...]
    block_rows: tuple[int, ...] = ()
    repeated: float | None = None
    repeated_of_blocks: tuple[float, ...] = ()
    habits: tuple[Habit, ...] = ()
    block_days: int | None = None

    def to_document(self) -> dict[str, Any]:
        """The profile as data for JSON; `from_document` returns an equal profile."""
        columns = [asdict(column) for column in self.columns]
        for column in columns:
            # Profiles without a season stay the same bytes as before there were any.
            if column["season"] is None:
                del column["season"]
            if not column.get("is_clock", True):
                del column["is_clock"]
            column.update({name: list(v) for name, v in column.items() if isinstance(v, tuple)})
        # Without rows that are there twice, too, and of an earlier version.
        of_blocks = {"repeated_of_blocks": list(self.repeated_of_blocks)}
        return {
            **(of_blocks if self.repeated_of_blocks else {}),
            **({} if self.block_days is None else {"block_days": self.block_days}),
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
                repeated_of_blocks=tuple(document.get("repeated_of_blocks", ())),
                habits=tuple(
                    Habit(**{**h, "columns": tuple(h["columns"]), "usual": tuple(h["usual"])})
                    for h in document.get("habits", ())
                ),
                block_days=document.get("block_days"),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise CannotAnswer(
                f"drift profile: a part is missing or of another shape: {error}",
                hint="train the version again: a profile is written with every training",
            ) from error


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


def count_levels(kind: ColumnType, values: Values) -> LevelCounts:
    """A category or boolean column's rows by level; unreadable values count as null."""
    if kind == "category":
        return read_levels(values)
    return read_levels(name_truths(plain_array(values)))


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
