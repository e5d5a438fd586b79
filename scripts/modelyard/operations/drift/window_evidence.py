"""What the windows of a feed show, counted while their rows are read, one window at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from modelyard.domain.drift.causes.find import find_causes, name_causes
from modelyard.domain.drift.column_checks import ColumnCheck, ColumnCounts
from modelyard.domain.drift.detection import WindowTally, check_in_season
from modelyard.domain.drift.feed_faults import RowsAgain, find_duplicates
from modelyard.domain.drift.p_values import is_share_by_chance
from modelyard.domain.drift.profile import Profile, in_season
from modelyard.domain.drift.row_keys import KeyTally, row_keys
from modelyard.domain.drift.second_look.chosen_rows import content_keys, read_chosen
from modelyard.domain.drift.second_look.findings import Finding, look_again
from modelyard.domain.drift.second_look.habits import number_columns
from modelyard.domain.specs.column_values import Array, Columns, plain_array
from modelyard.domain.specs.contract import Breach
from modelyard.domain.specs.model import Model
from modelyard.operations.drift.window_rows import OpenedWindow, Tally, WindowData, read_window


@dataclass(frozen=True, kw_only=True)
class WindowComparison:
    """One window, with its checks if it was compared.

    Args:
        data: What its rows are.
        checks: Every check of every column, the largest effect first; None without a comparison,
            because of too few rows or a broken contract.
        second_look: Habits of the training data that it does not keep.
    """

    data: WindowData
    checks: tuple[ColumnCheck, ...] | None = None
    second_look: tuple[Finding, ...] = ()

    @property
    def drifted(self) -> tuple[ColumnCheck, ...] | None:
        """The checks that drifted; None without a comparison."""
        if self.checks is None:
            return None
        return tuple(check for check in self.checks if check.drifted)


@dataclass(frozen=True, kw_only=True)
class SeenWindows:
    """What the windows of a feed show together.

    Args:
        windows: The windows, oldest first.
        again: Rows of the last window that earlier ones have.
        duplicates: That rows of the last window are there twice.
        causes: What the drift of the last window looks like.
    """

    windows: tuple[WindowComparison, ...]
    again: RowsAgain
    duplicates: tuple[Breach, ...] = ()
    causes: tuple[Breach, ...] = ()


def see_windows(
    model: Model, opened: Sequence[OpenedWindow], profile: Profile | None
) -> SeenWindows:
    """Read the windows, the last one first, and keep what they show and not their rows.

    Args:
        model: The model.
        opened: The windows, oldest first.
        profile: The reference, with columns of the contract alone; None to look at the contract
            alone.
    """
    latest_first = opened[::-1]
    if profile is None:
        alone = [WindowComparison(data=_read_window(model, rows, ())) for rows in latest_first]
        return SeenWindows(windows=tuple(alone[::-1]), again=RowsAgain())
    again = RowsAgain()
    seen = [
        _see_window(model, rows, profile, again, is_last=rows is opened[-1])
        for rows in latest_first
    ]
    # What is said of the last window alone is in what was seen first.
    return replace(seen[0], windows=tuple(w for each in seen[::-1] for w in each.windows))


def check_windows(
    opened: Sequence[OpenedWindow], profile: Profile, least_rows: int
) -> tuple[WindowComparison, ...]:
    """The windows with their checks, where they have enough rows."""
    windows = []
    for rows in opened:
        tally = WindowTally(profile)
        data = read_window(rows, [tally])
        checks = _check(profile, data, tally.counts(), least_rows)
        windows.append(WindowComparison(data=data, checks=checks))
    return tuple(windows)


def _see_window(
    model: Model, rows: OpenedWindow, profile: Profile, again: RowsAgain, *, is_last: bool
) -> SeenWindows:
    timestamp, watched = model.data.timestamp or "", {column.name for column in profile.columns}
    columns = [column for column in model.data.columns if column.name in watched]

    def times(part: Columns) -> Array:
        return plain_array(part[timestamp])

    tally, keys = WindowTally(profile), KeyTally(lambda part: row_keys(part, columns))
    timed = KeyTally(lambda part: row_keys(part, columns, times=times(part)))
    content = KeyTally(lambda part: content_keys(number_columns(part, columns), times(part)))
    tallies: list[Tally] = [tally, keys]
    if profile.habits:
        tallies.append(content)
    if is_last:
        tallies.append(timed)
    data = _read_window(model, rows, tallies)
    checks = _check(profile, data, tally.counts(), model.drift.least_rows)
    if data.breaches:
        # What drifted tells which columns to suspect, and nothing else: such rows are not compared.
        named = name_causes(
            in_season(profile, data.days),
            tally.counts(),
            rows.read,
            [check for check in checks or () if check.drifted],
            broken=data.breaches,
            contract=model.data.columns,
        )
        known = replace(data, breaches=named if is_last else named[: len(data.breaches)])
        return SeenWindows(windows=(WindowComparison(data=known),), again=again)
    again.add(keys.keys())
    found: tuple[Finding, ...] = ()
    if checks is not None and profile.habits:
        chosen = read_chosen(rows.read, columns, timestamp, content.keys())
        usual = float(np.median(profile.block_rows)) if profile.block_rows else 0.0
        found = look_again(profile.habits, chosen, usual_rows=usual)
    window = WindowComparison(data=data, checks=checks, second_look=found)
    if not is_last:
        return SeenWindows(windows=(window,), again=again)
    season = in_season(profile, data.days)
    return SeenWindows(
        windows=(window,),
        again=again,
        duplicates=tuple(find_duplicates(profile, timed.keys())),
        causes=find_causes(season, tally.counts(), rows.read, window.drifted or ()),
    )


def _read_window(model: Model, rows: OpenedWindow, tallies: Sequence[Tally]) -> WindowData:
    """What the rows are; of a window that is too small to compare, without what chance explains.

    Of two rows one without a value is half of them, and no broken source.
    """
    data = read_window(rows, tallies)
    if data.rows >= model.drift.least_rows:
        return data
    limits = {c.name: c.max_null_share for c in model.data.columns if c.nullable}
    kept = tuple(
        each
        for each in data.breaches
        if each.rule != "null"
        or not is_share_by_chance(each.rows, data.rows, limits.get(each.column) or 0.0)
    )
    return replace(data, breaches=kept)


def _check(
    profile: Profile, data: WindowData, counts: Sequence[ColumnCounts], least_rows: int
) -> tuple[ColumnCheck, ...] | None:
    if data.rows < least_rows or not data.is_whole:
        return None
    return check_in_season(profile, counts, data.days, least_rows=least_rows)
