"""Whether windows of data have drifted from the profile saved at training, and for good."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from modelyard.domain.drift.columns import FLOORS, ColumnDrift, Reason, Terms, check_column
from modelyard.domain.drift.profile import Profile
from modelyard.domain.specs.table import Table, rows_of
from modelyard.errors import CannotAnswer

__all__ = ["ALPHA", "FLOORS", "LEAST_BLOCKS", "LEAST_ROWS", "ColumnDrift", "Reason", "checks"]
__all__ += ["confirm", "drifted_columns"]

ALPHA = 0.01
"""Chance that a window without drift has any column flagged, were its rows independent."""

LEAST_ROWS = 500
"""A window with fewer rows says nothing."""

LEAST_BLOCKS = 8
"""With fewer calendar blocks in the profile, what the calendar alone does is not known."""

_CHECKS = 3  # a column is asked for nulls, for its shape, and for its range or new levels


def drifted_columns(
    profile: Profile, table: Table, *, alpha: float = ALPHA, least_rows: int = LEAST_ROWS
) -> tuple[ColumnDrift, ...] | None:
    """What has drifted, largest effect in units of its floor first; None for too few rows.

    Args:
        profile: The reference.
        table: The window, one-dimensional arrays by column name.
        alpha: Chance that any column of a window without drift is flagged.
        least_rows: Rows a window, and values a column, must have to be judged.

    Raises:
        CannotAnswer: The table lacks a column of the profile.
    """
    checked = checks(profile, table, alpha=alpha, least_rows=least_rows)
    if rows_of(table) < least_rows:
        return None
    return tuple(check for check in checked if check.drifted)


def checks(
    profile: Profile, table: Table, *, alpha: float = ALPHA, least_rows: int = LEAST_ROWS
) -> tuple[ColumnDrift, ...]:
    """Every check of every column, drifted or not, largest effect in units of its floor first.

    - A check drifts when its effect reaches the floor *and* p < alpha / (columns x checks).
    - The floor is the greatest of the fixed one, 1.25 x the largest effect of a calendar block of
      the reference against the rest of it, and these effects' mean + 3 standard deviations.
    - A column with fewer than `least_rows` values in either window is asked for nulls only.

    Args:
        profile: The reference.
        table: The window, one-dimensional arrays by column name.
        alpha: Chance that any column of a window without drift is flagged.
        least_rows: Values a column must have to be asked for more than nulls.

    Raises:
        CannotAnswer: The table lacks a column of the profile.
    """
    absent = [column.name for column in profile.columns if column.name not in table]
    if absent:
        raise CannotAnswer(
            f"drift: the window lacks {', '.join(absent)}, which the profile has",
            hint="check the data against the contract first: a missing column is an incident",
        )
    terms = Terms(
        limit=alpha / max(1, len(profile.columns) * _CHECKS),
        enough_blocks=profile.blocks >= LEAST_BLOCKS,
        least_rows=least_rows,
    )
    found = [
        check
        for column in profile.columns
        for check in check_column(column, table[column.name], terms)
    ]
    return tuple(sorted(found, key=lambda one: (-one.effect / one.floor, one.column, one.reason)))


def confirm(
    windows: Sequence[tuple[ColumnDrift, ...] | None], *, needed: int = 3, of: int = 4
) -> tuple[ColumnDrift, ...]:
    """The latest window's drift that at least `needed` of the last `of` windows share.

    Two windows share drift of the same column for the same reason. An unusable window (None)
    keeps its place and confirms nothing; warnings are never confirmed.

    Args:
        windows: What `drifted_columns` said of each window, oldest first.
        needed: Windows that must agree, the latest among them.
        of: Windows looked at.
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
