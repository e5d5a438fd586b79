"""Writes the drift page for people, and Evidently's report beside it; neither decides anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.domain.specs.column_values import plain_array
from modelyard.operations.drift.compare import FeedComparison, opened_again
from modelyard.operations.drift.feed import training_rows
from modelyard.operations.drift.page_content import draw_distributions, drift_page, page_title
from modelyard.operations.drift.window_evidence import WindowComparison, check_windows
from modelyard.operations.drift.window_rows import OpenedWindow, open_windows
from modelyard.operations.training.data_root import DataRoot, data_root
from modelyard.operations.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

    from modelyard.adapters.store.evidently_page import PageSummary

WEEKS = 12
"""Windows of the heat map, the compared ones among them."""


@dataclass(frozen=True, kw_only=True)
class DriftPage:
    """The page that was written.

    Args:
        path: The page.
        report: Evidently's report of a sample.
        digest: The digest under which the report is kept.
        summary: What the report shows and leaves out.
    """

    path: Path
    report: Path
    digest: str
    summary: PageSummary


def write_drift_page(workspace: Workspace, result: FeedComparison, path: Path) -> DriftPage:
    """Write the page, and Evidently's report beside it as `NAME.evidently.html`."""
    from modelyard.adapters.store.evidently_page import write_page

    services = workspace.services
    data = data_root(services.root, services.repository, commit=result.commit)
    watched = {column.name for column in result.profile.columns}
    columns = tuple(c for c in result.model.data.columns if c.name in watched)
    names = [column.name for column in columns]
    report = path.with_name(f"{path.stem}.evidently.html")
    reference = training_rows(result.model, result.parent, data, names)
    with opened_again(result, data) as opened:
        rows = sum(window.data.rows for window in result.windows)
        now = some_rows(opened, rows=rows, names=names)
        summary = write_page(reference, now, columns, report)
        figures = draw_distributions(result, lambda name: opened[-1].read_whole([name])[name])
    report.write_text(_titled(report.read_text("utf-8"), page_title(result)), "utf-8")
    digest = workspace.store.put_evidence(report.read_bytes())
    shown = (*_earlier(result, data), *result.windows)
    page = drift_page(result, shown, figures, summary.scores, report=report.name, digest=digest)
    path.write_text(page, "utf-8")
    return DriftPage(path=path, report=report, digest=digest, summary=summary)


def some_rows(opened: Sequence[OpenedWindow], *, rows: int, names: Sequence[str]) -> pd.DataFrame:
    """The rows of all windows that the report shows.

    Args:
        opened: The windows.
        rows: The rows of all of them.
        names: The columns.
    """
    import numpy as np
    import pandas as pd

    from modelyard.adapters.store.evidently_page import sample_places

    places = sample_places(rows)
    wanted, done, parts = np.sort(places), 0, []
    for window in opened:
        for part in window.read(names):
            size = len(part[names[0]])
            own = wanted[slice(*np.searchsorted(wanted, [done, done + size]))] - done
            parts.append(pd.DataFrame({name: plain_array(part[name])[own] for name in names}))
            done += size
    order = np.searchsorted(wanted, places)
    return pd.concat(parts, ignore_index=True).take(order)


def _earlier(result: FeedComparison, data: DataRoot) -> tuple[WindowComparison, ...]:
    """The windows before the compared ones, as far as the feed reaches back and can be compared."""
    policy = result.model.drift
    wanted = max(0, WEEKS - len(result.windows))
    until = result.windows[0].data.days.since
    if not wanted or not any(day < until for file in result.feed.files for day in file.rows):
        return ()
    with open_windows(result.model, result.feed, data, until=until, of=wanted) as (opened, _):
        found = check_windows(opened, result.profile, policy.least_rows)
    return tuple(window for window in found if window.data.is_whole)


def _titled(report: str, title: str) -> str:
    """Evidently's report with the model, the version and our verdict in its title and on top."""
    said = escape(f"Evidently's report of {title}")
    titled = f"<head><title>{said}</title>"
    banner = f'<body><p style="font: bold 16px sans-serif; margin: 12px">{said} (modelyard)</p>'
    return report.replace("<head>", titled, 1).replace("<body>", banner, 1)
