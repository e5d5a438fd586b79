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
from modelyard.operations.drift.compare import FeedComparison, opened_again
from modelyard.operations.drift.window_evidence import check_windows
from modelyard.operations.drift.window_rows import open_windows
from modelyard.operations.training.data_root import DataRoot, data_root
from modelyard.operations.workspace import Workspace


def find_regime(workspace: Workspace, result: FeedComparison) -> Regime:
    """The new regime behind confirmed drift; windows before the compared ones are read for it."""
    model, latest = result.model, result.windows[-1].data
    sets = current_sets(result.catalog, model.name)
    cluster = cluster_of(model, result.parent, sets)
    data = data_root(workspace.services.root, workspace.services.repository, commit=result.commit)
    regime = Regime(
        since=latest.days.since,
        until=latest.days.until,
        clusters_a_day=_clusters_of_latest(result, data, cluster),
        days=frozenset(day for file in result.feed.files for day in file.rows),
    )
    longest = regime.until - timedelta(days=longest_regime(model, regime))
    # The parent knows its own days, so no regime that is new to it began before they ended.
    end = max(longest, *(span.until for span in result.parent.data.spans[-1:]))
    windows, gap = [*result.windows], model.drift.of - model.drift.needed
    while True:
        drifted: list[tuple[ColumnCheck, ...] | None] = [window.drifted for window in windows]
        known = drifted_windows(drifted, result.confirmed, gap=gap)
        first = windows[0].data.days.since
        if len(windows) - known > gap or first <= end:
            break
        with open_windows(model, result.feed, data, until=first, of=model.drift.of) as (opened, _):
            earlier = check_windows(opened, result.profile, model.drift.least_rows)
        sound = [window for window in earlier if not window.data.breaches]
        if not any(window.data.rows for window in sound):
            break
        windows = [*sound, *windows]
    since = windows[-known].data.days.since if known else regime.since
    if isinstance(result.quality, Quality) and result.quality.drifted:
        since = min(since, result.quality.since)
    return replace(regime, since=since)


def _clusters_of_latest(result: FeedComparison, data: DataRoot, cluster: str) -> float:
    model, latest = result.model, result.windows[-1].data
    named = {model.data.timestamp, cluster}
    names = [column.name for column in model.data.columns if column.name in named]
    with opened_again(result, data) as opened:
        table = opened[-1].read_whole(names)
    return clusters_a_day(table, latest.rows, cluster, model.data.timestamp)


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
