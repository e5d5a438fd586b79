"""Detects drift: checks a window of data against a profile, and confirms it over windows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Sequence

from modelyard.domain.drift.column_checks import (
    ColumnCheck,
    ColumnCounts,
    ColumnTally,
    check_column,
)
from modelyard.domain.drift.profile import Profile, in_season, seasonal_columns
from modelyard.domain.drift.season.weeks import SLIP_DAYS
from modelyard.domain.specs.column_values import Columns, Table
from modelyard.domain.specs.interval import Interval
from modelyard.errors import CannotAnswer

ALPHA = 0.01
"""Probability that any column of a window without drift is flagged, if rows are independent."""

LEAST_BLOCKS = 8
"""With fewer calendar blocks in the profile, the effect of the calendar alone is not known."""

_CHECKS = 3  # of a column: nulls, shape, and either range or new levels


def check_window(profile: Profile, table: Table, *, least_rows: int) -> tuple[ColumnCheck, ...]:
    """Every check of every column, drifted or not; the largest effect in units of its floor first.

    - A check drifts if its effect reaches the floor *and* p < ALPHA / (columns x checks).
    - The floor is the largest of: the fixed floor, 1.25 x the largest effect of a calendar block of
      the reference against the other blocks, and the mean of these effects + 3 standard deviations.
    - A column with fewer than `least_rows` values in either window is checked for nulls only.

    Args:
        profile: The reference.
        table: The window, one-dimensional arrays by column name.
        least_rows: Values that a column must have to be checked for more than nulls.

    Raises:
        CannotAnswer: The table lacks a column of the profile.
    """
    return check_counts(profile, count_window(profile, table), least_rows=least_rows)


def check_in_season(
    profile: Profile, counts: Sequence[ColumnCounts], days: Interval, *, least_rows: int
) -> tuple[ColumnCheck, ...]:
    """As `check_window`, where columns that follow a known year are compared with their season.

    A season may be early or late by `SLIP_DAYS`: of the three comparisons the least effect counts.

    Args:
        profile: The reference.
        counts: The counts of the window; see `WindowTally`.
        days: The window's days.
        least_rows: Values that a column must have to be checked for more than nulls.
    """
    slips = (0, -SLIP_DAYS, SLIP_DAYS) if seasonal_columns(profile) else (0,)
    least: dict[tuple[str, str], ColumnCheck] = {}
    for later in slips:
        season = in_season(profile, days, later=later)
        for check in check_counts(season, counts, least_rows=least_rows):
            known = least.setdefault((check.column, check.reason), check)
            if check.effect / check.floor < known.effect / known.floor:
                least[check.column, check.reason] = check
    return _largest_first(least.values())


class WindowTally:
    """Counts a window from parts of its rows: any parts in any order, the same counts.

    Args:
        profile: The reference.
    """

    def __init__(self, profile: Profile) -> None:
        self._columns = [ColumnTally(column) for column in profile.columns]

    def add(self, part: Columns) -> None:
        """Take the next rows, with every column of the profile."""
        for column in self._columns:
            column.add(part[column.profile.name])

    def counts(self) -> tuple[ColumnCounts, ...]:
        """The counts of the rows so far, by column of the profile."""
        return tuple(column.counts() for column in self._columns)


def count_window(profile: Profile, table: Columns) -> tuple[ColumnCounts, ...]:
    """The counts of a window that is in memory.

    Raises:
        CannotAnswer: The table lacks a column of the profile.
    """
    refuse_absent(profile, table)
    tally = WindowTally(profile)
    tally.add(table)
    return tally.counts()


def refuse_absent(profile: Profile, names: Container[str]) -> None:
    """Refuse a window without a column of the profile.

    Raises:
        CannotAnswer: There is one.
    """
    # The contract is checked first, so a missing column here is one that the contract has lost.
    if absent := absent_columns(profile, names):
        raise CannotAnswer(
            f"drift: the window lacks {', '.join(absent)}, which the profile has",
            hint="check the data against the contract first: a missing column is an incident",
        )


def absent_columns(profile: Profile, names: Container[str]) -> list[str]:
    """The columns of the profile that a window with these columns lacks."""
    return [column.name for column in profile.columns if column.name not in names]


def check_counts(
    profile: Profile, counts: Sequence[ColumnCounts], *, least_rows: int
) -> tuple[ColumnCheck, ...]:
    """As `check_window`, from the window's counts."""
    # Bonferroni: ALPHA is shared by all checks of the window.
    limit = ALPHA / max(1, len(profile.columns) * _CHECKS)
    enough = profile.blocks >= LEAST_BLOCKS
    found = [
        check
        for column, counted in zip(profile.columns, counts, strict=True)
        for check in check_column(
            column,
            counted,
            limit=limit,
            enough_blocks=enough,
            least_rows=least_rows,
        )
    ]
    return _largest_first(found)


def confirm_drift(
    windows: Sequence[tuple[ColumnCheck, ...] | None], *, needed: int, of: int
) -> tuple[ColumnCheck, ...]:
    """The drift of the latest window that at least `needed` of the last `of` windows share.

    Two windows share drift if the same column drifted for the same reason. A window that could not
    be checked (None) keeps its place and confirms nothing. Warnings are never confirmed.

    Args:
        windows: For each window the checks that drifted, oldest first; None for too few rows.
        needed: Windows that must agree, the latest among them.
        of: The number of last windows that count.
    """
    latest = windows[-1] if windows else None
    if latest is None:
        return ()
    seen = Counter(
        key
        for window in windows[-of:]
        for key in {(one.column, one.reason) for one in window or () if one.enough_blocks}
    )
    return tuple(
        one for one in latest if one.enough_blocks and seen[one.column, one.reason] >= needed
    )


def _largest_first(checks: Iterable[ColumnCheck]) -> tuple[ColumnCheck, ...]:
    return tuple(sorted(checks, key=lambda one: (-one.effect / one.floor, one.column, one.reason)))
