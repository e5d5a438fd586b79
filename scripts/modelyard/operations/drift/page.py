"""Writes the page of plots that people read beside a verdict on drift."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.operations.drift.compare import Compared
from modelyard.operations.drift.feed import joined, training_rows
from modelyard.operations.training.pins import DataRoot
from modelyard.operations.workspace import Workspace

if TYPE_CHECKING:
    from modelyard.adapters.store.evidently_page import PageSummary


def write_drift_page(workspace: Workspace, look: Compared, path: Path) -> PageSummary:
    """Write Evidently's page of the version's training rows and the windows."""
    import pandas as pd

    from modelyard.adapters.store.evidently_page import write_page

    services = workspace.services
    data = DataRoot(base=services.repository.data, root=services.root)
    watched = {column.name for column in look.profile.columns}
    columns = tuple(c for c in look.model.data.columns if c.name in watched)
    names = [column.name for column in columns]
    now = joined([w.slice.table for w in look.windows if w.slice.rows])
    return write_page(
        training_rows(look.model, look.parent, data, names), pd.DataFrame(now), columns, path
    )
