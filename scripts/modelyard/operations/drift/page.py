"""Writes the page of plots for people; it does not affect the verdict on drift."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.operations.drift.compare import FeedComparison
from modelyard.operations.drift.feed import training_rows
from modelyard.operations.training.data_root import data_root
from modelyard.operations.workspace import Workspace

if TYPE_CHECKING:
    from modelyard.adapters.store.evidently_page import PageSummary


def write_drift_page(workspace: Workspace, result: FeedComparison, path: Path) -> PageSummary:
    """Write Evidently's page that compares the training rows with the windows."""
    import pandas as pd

    from modelyard.adapters.store.evidently_page import write_page

    services = workspace.services
    data = data_root(services.root, services.repository, commit=result.commit)
    watched = {column.name for column in result.profile.columns}
    columns = tuple(c for c in result.model.data.columns if c.name in watched)
    names = [column.name for column in columns]
    windows = [pd.DataFrame(w.data.table) for w in result.windows if w.data.rows]
    now = pd.concat(windows, ignore_index=True)
    return write_page(training_rows(result.model, result.parent, data, names), now, columns, path)
