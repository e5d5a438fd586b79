"""Splits the work of a profile into shards, and joins what they made to the same profile.

A shard has some columns and reads all rows of them. So quantiles stay exact, and what it makes is a
part of the profile itself: nothing is added up, and the number of shards changes no byte.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from modelyard.domain.drift.profile import Profile
from modelyard.domain.specs.contract import Column
from modelyard.errors import CannotAnswer, Refused

MOST_SHARDS = 64

_NAME = re.compile(r"([1-9][0-9]?)-of-([1-9][0-9]?)")

# CPU for each column it reads, with that of a column's own profile as 1; measured on 20 columns.
_REPEATED, _HABITS = 0.1, 0.3
_NUMBERS = frozenset({"number", "integer"})


@dataclass(frozen=True, kw_only=True)
class ProfileShard:
    """A part of the work of a profile.

    Args:
        columns: The columns that it profiles.
        has_repeated: Whether it looks for rows that are there twice, by all columns.
        has_habits: Whether it measures the habits of the second look, by all numbers.
    """

    columns: frozenset[str] = frozenset()
    has_repeated: bool = False
    has_habits: bool = False


def watched_columns(columns: Sequence[Column]) -> list[Column]:
    """The columns that a profile has."""
    # Timestamps always move, so their drift would mean nothing.
    return [column for column in columns if column.type != "timestamp"]


def split_profile(
    columns: Sequence[Column], count: int, *, has_times: bool
) -> tuple[ProfileShard, ...]:
    """At most `count` shards of about equal work, fewer if there is not so much to do.

    The same columns are split in the same way wherever that is done.
    """
    watched = watched_columns(columns)
    numbers = sum(column.type in _NUMBERS for column in watched)
    work = [(1.0, ProfileShard(columns=frozenset({column.name}))) for column in watched]
    if has_times:
        work.append((_REPEATED * len(watched), ProfileShard(has_repeated=True)))
        work.append((_HABITS * numbers, ProfileShard(has_habits=True)))
    count = max(1, min(count, len(work)))
    loads, shards = [0.0] * count, [ProfileShard()] * count
    # The longest first, each to the shard that has least: Graham's rule.
    for cost, part in sorted(work, key=lambda each: -each[0]):
        place = loads.index(min(loads))
        loads[place] += cost
        shards[place] = _both(shards[place], part)
    return tuple(shards)


def _both(one: ProfileShard, other: ProfileShard) -> ProfileShard:
    return ProfileShard(
        columns=one.columns | other.columns,
        has_repeated=one.has_repeated or other.has_repeated,
        has_habits=one.has_habits or other.has_habits,
    )


def shard_names(count: int) -> tuple[str, ...]:
    """`1-of-3`, `2-of-3`, `3-of-3`."""
    return tuple(f"{number}-of-{count}" for number in range(1, count + 1))


def read_shard_name(name: str, *, count: int) -> int:
    """The place of a shard, counted from 0.

    Raises:
        Refused: It is none of that many shards.
    """
    match = _NAME.fullmatch(name)
    if match is None or int(match[2]) != count or int(match[1]) > count:
        raise Refused(
            f"{name!r} is no shard of this profile: it has 1-of-{count} to {count}-of-{count}"
        )
    return int(match[1]) - 1


def join_profiles(columns: Sequence[Column], parts: Sequence[Profile]) -> Profile:
    """The whole profile, of what each shard made of the same rows.

    Raises:
        CannotAnswer: A column is missing or there twice, or the shards saw other rows.
    """
    found = {each.name: each for part in parts for each in part.columns}
    wanted = [column.name for column in watched_columns(columns)]
    names = [each.name for part in parts for each in part.columns]
    if sorted(names) != sorted(wanted):
        raise CannotAnswer(
            f"drift profile: its shards have the columns {', '.join(sorted(names)) or 'none'}, "
            f"expected {', '.join(sorted(wanted)) or 'none'}"
        )
    if len({(part.rows, part.blocks, part.block_rows) for part in parts}) != 1:
        raise CannotAnswer("drift profile: its shards were made of different rows")
    return replace(
        parts[0],
        columns=tuple(found[name] for name in wanted),
        repeated_of_blocks=next((p.repeated_of_blocks for p in parts if p.repeated_of_blocks), ()),
        repeated=next((p.repeated for p in parts if p.repeated is not None), None),
        habits=next((part.habits for part in parts if part.habits), ()),
    )
