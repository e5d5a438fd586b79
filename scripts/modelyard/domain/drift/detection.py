"""Whether windows of data have drifted from the profile saved at training, and for good."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from modelyard.domain.drift.column_checks import ColumnCheck, Thresholds, check_column
from modelyard.domain.drift.profile import Profile
from modelyard.domain.specs.column_values import Table
from modelyard.errors import CannotAnswer

ALPHA = 0.01
"""Chance that a window without drift has any column flagged, were its rows independent."""

LEAST_BLOCKS = 8
"""With fewer calendar blocks in the profile, what the calendar alone does is not known."""

_CHECKS = 3  # a column is asked for nulls, for its shape, and for its range or new levels


def check_window(profile: Profile, table: Table, *, least_rows: int) -> tuple[ColumnCheck, ...]:
    """Every check of every column, drifted or not, largest effect in units of its floor first.

    - A check drifts when its effect reaches the floor *and* p < ALPHA / (columns x checks).
    - The floor is the greatest of the fixed one, 1.25 x the largest effect of a calendar block of
      the reference against the rest of it, and these effects' mean + 3 standard deviations.
    - A column with fewer than `least_rows` values in either window is asked for nulls only.

    Args:
        profile: The reference.
        table: The window, one-dimensional arrays by column name.
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
    terms = Thresholds(
        limit=ALPHA / max(1, len(profile.columns) * _CHECKS),
        enough_blocks=profile.blocks >= LEAST_BLOCKS,
        least_rows=least_rows,
    )
    found = [
        check
        for column in profile.columns
        for check in check_column(column, table[column.name], terms)
    ]
    return tuple(sorted(found, key=lambda one: (-one.effect / one.floor, one.column, one.reason)))


def confirm_drift(
    windows: Sequence[tuple[ColumnCheck, ...] | None], *, needed: int, of: int
) -> tuple[ColumnCheck, ...]:
    """The latest window's drift that at least `needed` of the last `of` windows share.

    Two windows share drift of the same column for the same reason. An unusable window (None)
    keeps its place and confirms nothing; warnings are never confirmed.

    Args:
        windows: The checks of each window that drifted, oldest first; None for too few rows.
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
