"""Whether rows of some levels are lost, or all rows have one."""

from __future__ import annotations

import math
import re
import statistics
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from modelyard.domain.drift.effect_sizes import total_variation_distance
from modelyard.domain.drift.profile import LevelProfile

_STUCK = 0.9  # share of a level in training that nobody calls stuck
_LEAST_LEVEL = 0.02  # share of a level whose rows can be missing as a shard
_SAME_MIX = 0.03  # total variation of the other levels
_NEARER = 0.5  # of the distance of a window, at most, once its levels are written as before
_CODE = re.compile(r"0*(\d+)(?:\.0+)?")  # 7 and 07 and 7.0


def find_level_cause(
    column: LevelProfile, seen: Mapping[str, int], block_rows: Sequence[int]
) -> str | None:
    """That levels are written in another way, one is stuck, or one has no rows and others have."""
    if recoded := _recoded(column, seen):
        return recoded
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


def _recoded(column: LevelProfile, seen: Mapping[str, int]) -> str | None:
    """That most rows of new levels have levels of training in another case or with blanks.

    Written as before, the rows must be far nearer the training data: in a change of other levels a
    few rows in another case, as people type them, are no cause.
    """
    known = {_plain_level(level): level for level in column.counts}
    new = {level: rows for level, rows in seen.items() if level not in column.counts}
    alike = {level: rows for level, rows in new.items() if _plain_level(level) in known}
    if not alike or 2 * sum(alike.values()) <= sum(new.values()):
        return None
    written = Counter[str]()
    for each, rows in seen.items():
        written[known[_plain_level(each)] if each in alike else each] += rows
    if _distance(column, written) > _NEARER * _distance(column, seen):
        return None
    # Ties by name, so that the order of rows changes nothing.
    level = min(alike, key=lambda each: (-alike[each], each))
    return (
        f"{level!r} stands for {known[_plain_level(level)]!r}: looks as if levels are written anew"
    )


def _distance(column: LevelProfile, seen: Mapping[str, int]) -> float:
    levels = list(dict.fromkeys([*column.counts, *seen]))
    reference, window = (
        np.array([rows.get(level, 0) for level in levels]) for rows in (column.counts, seen)
    )
    return total_variation_distance(reference, window)


def _plain_level(level: str) -> str:
    """A level without what a change of encoding changes: its case, blanks, width and zeros."""
    plain = " ".join(unicodedata.normalize("NFKC", level).casefold().split())
    code = _CODE.fullmatch(plain)
    return code[1] if code else plain


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
