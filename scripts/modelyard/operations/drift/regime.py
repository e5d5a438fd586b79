"""Finds the new regime in a feed: since when it has drifted, and how many clusters a day it has."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np

from modelyard.domain.drift.column_checks import ColumnCheck
from modelyard.domain.drift.quality import Quality
from modelyard.domain.drift.regime import Regime, drifted_windows, longest_regime
from modelyard.domain.drift.retraining import cluster_of, current_sets
from modelyard.domain.specs.column_values import Table
from modelyard.operations.drift.compare import FeedComparison, WindowComparison, check_windows
from modelyard.operations.drift.feed import read_windows
from modelyard.operations.training.data_root import data_root
from modelyard.operations.workspace import Workspace


def find_regime(workspace: Workspace, result: FeedComparison) -> Regime:
    """The new regime behind confirmed drift; windows before the compared ones are read for it."""
    model, latest = result.model, result.windows[-1].data
    sets = current_sets(result.catalog, model.name)
    cluster = cluster_of(model, result.parent, sets)
    regime = Regime(
        since=latest.days.since,
        until=latest.days.until,
        clusters_a_day=clusters_a_day(latest.table, latest.rows, cluster, model.data.timestamp),
        days=frozenset(day for file in result.feed.files for day in file.rows),
    )
    longest = regime.until - timedelta(days=longest_regime(model, regime))
    # The parent knows its own days, so no regime that is new to it began before they ended.
    end = max(longest, *(span.until for span in result.parent.data.spans[-1:]))
    data = data_root(workspace.services.root, workspace.services.repository, commit=result.commit)
    windows, gap = [*result.windows], model.drift.of - model.drift.needed
    while True:
        drifted: list[tuple[ColumnCheck, ...] | None] = [window.drifted for window in windows]
        known = drifted_windows(drifted, result.confirmed, gap=gap)
        first = windows[0].data.days.since
        if len(windows) - known > gap or first <= end:
            break
        earlier, _ = read_windows(model, result.feed, data, until=first)
        sound = tuple(WindowComparison(data=each) for each in earlier if not each.breaches)
        if not any(window.data.rows for window in sound):
            break
        windows = [*check_windows(result.profile, sound, model.drift.least_rows), *windows]
    since = windows[-known].data.days.since if known else regime.since
    if isinstance(result.quality, Quality) and result.quality.drifted:
        since = min(since, result.quality.since)
    return replace(regime, since=since)


def clusters_a_day(table: Table, rows: int, cluster: str, timestamp: str | None) -> float:
    """The clusters that a day with rows adds to a held-out set, on average over the window."""
    if timestamp is None or timestamp not in table or not rows:
        return 1.0
    days = np.unique(table[timestamp].astype("datetime64[D]"), return_inverse=True)
    count = max(1, len(days[0]))
    if cluster == "row" or cluster not in table:
        return rows / count
    _, codes = np.unique(table[cluster].astype(str), return_inverse=True)
    return len(np.unique(codes.astype(np.int64) * count + days[1])) / count
