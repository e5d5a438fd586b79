"""Writes the drift page for people, and Evidently's report beside it; neither decides anything."""

from __future__ import annotations

from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.operations.drift.compare import FeedComparison, WindowComparison, check_windows
from modelyard.operations.drift.feed import read_windows, training_rows
from modelyard.operations.drift.page_content import drift_page, page_title
from modelyard.operations.training.data_root import DataRoot, data_root
from modelyard.operations.workspace import Workspace

if TYPE_CHECKING:
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
    import pandas as pd

    from modelyard.adapters.store.evidently_page import write_page

    services = workspace.services
    data = data_root(services.root, services.repository, commit=result.commit)
    watched = {column.name for column in result.profile.columns}
    columns = tuple(c for c in result.model.data.columns if c.name in watched)
    names = [column.name for column in columns]
    windows = [pd.DataFrame(w.data.table) for w in result.windows if w.data.rows]
    now = pd.concat(windows, ignore_index=True)
    report = path.with_name(f"{path.stem}.evidently.html")
    reference = training_rows(result.model, result.parent, data, names)
    summary = write_page(reference, now, columns, report)
    report.write_text(_titled(report.read_text("utf-8"), page_title(result)), "utf-8")
    digest = workspace.store.put_evidence(report.read_bytes())
    shown = (*_earlier(result, data), *result.windows)
    page = drift_page(result, shown, summary.scores, report=report.name, digest=digest)
    path.write_text(page, "utf-8")
    return DriftPage(path=path, report=report, digest=digest, summary=summary)


def _earlier(result: FeedComparison, data: DataRoot) -> tuple[WindowComparison, ...]:
    """The windows before the compared ones, as far as the feed reaches back and can be compared."""
    policy = result.model.drift
    wanted = max(0, WEEKS - len(result.windows))
    model = replace(result.model, drift=replace(policy, of=max(1, wanted)))
    until = result.windows[0].data.days.since
    if not wanted or not any(day < until for file in result.feed.files for day in file.rows):
        return ()
    found, _ = read_windows(model, result.feed, data, until=until)
    whole = tuple(WindowComparison(data=each) for each in found if each.rows and each.table)
    return check_windows(result.profile, whole, policy.least_rows)


def _titled(report: str, title: str) -> str:
    """Evidently's report with the model, the version and our verdict in its title and on top."""
    said = escape(f"Evidently's report of {title}")
    titled = f"<head><title>{said}</title>"
    banner = f'<body><p style="font: bold 16px sans-serif; margin: 12px">{said} (modelyard)</p>'
    return report.replace("<head>", titled, 1).replace("<body>", banner, 1)
