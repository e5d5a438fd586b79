"""What drift will not see in the windows of a version, known as soon as its profile is."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from modelyard.domain.drift.detection import LEAST_BLOCKS
from modelyard.domain.drift.profile import ColumnProfile, NumberProfile, Profile, hardly_watched
from modelyard.domain.specs.contract import ALL_ROWS, Column
from modelyard.domain.specs.model import DriftPolicy
from modelyard.domain.specs.record import UnwatchedMeasure


def find_not_watched(
    profile: Profile, columns: Sequence[Column], policy: DriftPolicy, *, has_days: bool = True
) -> tuple[UnwatchedMeasure, ...]:
    """The columns, with the measures, that drift does not watch, and why.

    - Times always move, so their drift would mean nothing; so do numbers that
      count days or rows, or are the year.
    - Without enough calendar blocks nothing is confirmed; with too few rows nothing is compared.
    - A column with too few values in a usual window is watched for its nulls alone.
    - Where the calendar alone moves a column nearly as far as a measure can show, only the extreme
      is seen.

    Args:
        profile: The profile.
        columns: The columns that a request carries and the version reads.
        policy: The model's.
        has_days: Whether the rows have a timestamp.
    """
    if not has_days:
        why = "rows have no day, so no window can be compared (data.timestamp)"
        return (UnwatchedMeasure(column=ALL_ROWS, measure="all", why=why),)
    return tuple(_not_watched(profile, columns, policy))


def _not_watched(
    profile: Profile, columns: Sequence[Column], policy: DriftPolicy
) -> Iterator[UnwatchedMeasure]:
    usual = statistics.median(profile.block_rows) if profile.block_rows else None
    days = profile.block_days or policy.window_days
    if profile.blocks < LEAST_BLOCKS:
        blocks = f"{profile.blocks} blocks of {days} days"
        why = f"training has {blocks}, {LEAST_BLOCKS} are needed to know what the calendar does"
        yield UnwatchedMeasure(column=ALL_ROWS, measure="all", why=why)
    if usual is not None and usual < policy.least_rows:
        why = f"a window has about {usual:,.0f} rows, {policy.least_rows:,} are needed"
        yield UnwatchedMeasure(column=ALL_ROWS, measure="all", why=f"{why} (drift.least_rows)")
    for column in columns:
        if column.type == "timestamp":
            why = "times always move, so their drift means nothing"
            yield UnwatchedMeasure(column=column.name, measure="all", why=why)
    for each in profile.columns:
        if usual is not None and _values(each, usual) < policy.least_rows <= usual:
            values = f"{_values(each, usual):,.0f} values"
            why = f"a window has about {values}, {policy.least_rows:,} are needed"
            yield UnwatchedMeasure(column=each.name, measure="all but nulls", why=why)
    clocks = {
        each.name for each in profile.columns if isinstance(each, NumberProfile) and each.is_clock
    }
    for name in sorted(clocks):
        why = "it moves from block to block as time does, so its drift means nothing"
        yield UnwatchedMeasure(column=name, measure="all but nulls", why=why)
    for name, measure in hardly_watched(profile):
        if name in clocks:
            continue
        why = f"blocks of {days} days of the training data differ nearly as much as it can show"
        yield UnwatchedMeasure(column=name, measure=measure, why=why)


def _values(column: ColumnProfile, rows: float) -> float:
    """The values of a column in a window of so many rows."""
    return rows * column.known / max(1, column.rows)
