"""The drift page as HTML: verdict and reasons, a heat map, distributions, quality, and a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from modelyard.adapters.site.templates import render_page
from modelyard.domain.drift.column_checks import ColumnCheck
from modelyard.domain.drift.profile import (
    ColumnProfile,
    NumberProfile,
    count_levels,
    in_season,
    seasonal_columns,
)
from modelyard.domain.drift.quality import ALARM, Quality
from modelyard.domain.specs.column_values import Array, read_column
from modelyard.domain.specs.contract import describe_breach
from modelyard.operations.drift.charts import Bars, Cell, bar_chart, heat_map, line_chart
from modelyard.operations.drift.compare import (
    FeedComparison,
    describe_finding,
    summarize_comparison,
)
from modelyard.operations.drift.window_evidence import WindowComparison

if TYPE_CHECKING:
    from modelyard.adapters.store.evidently_page import ColumnScore
    from modelyard.operations.drift.quality import NotWatched

WORST, BINS, LEVELS = 6, 24, 10
"""Columns whose distributions are drawn, bins of a number, and levels of a category."""


def drift_page(
    result: FeedComparison,
    shown: Sequence[WindowComparison],
    figures: Sequence[tuple[str, Markup]],
    scores: Sequence[ColumnScore],
    *,
    report: str,
    digest: str,
) -> str:
    """The page; what comes from data or specs is escaped by its template.

    Args:
        result: The comparison.
        shown: The windows of the heat map, oldest first; the compared ones are the last.
        figures: The charts of the worst columns; see `draw_distributions`.
        scores: Evidently's scores of the sample.
        report: The address of Evidently's report, relative to the page.
        digest: The digest under which that report is kept.
    """
    columns = _worst_first(result)
    weeks = [window.data.days.since for window in shown]
    cells = [[_cell(window, name) for window in shown] for name in columns]
    values = {
        "title": page_title(result),
        "outcome": result.outcome,
        "summary": summarize_comparison(result),
        "sentences": _sentences(result),
        "compared": len(result.windows),
        "heat_map": heat_map(columns, weeks, cells),
        "seasonal": ", ".join(seasonal_columns(result.profile)),
        "figures": figures,
        "quality": _quality(result.quality),
        "rows": list(_rows(result, columns, {score.column: score for score in scores})),
        "report": report,
        "digest": digest,
    }
    return render_page("drift_page.html.j2", values).decode()


def page_title(result: FeedComparison) -> str:
    """The model, the version and the verdict."""
    word = {"none": "no drift confirmed", "confirmed": "drift confirmed", "breached": "broken data"}
    return f"{result.model.name} {result.parent.version}: {word[result.outcome]}"


def difference_in_words(checks: Sequence[ColumnCheck], score: ColumnScore | None) -> str:
    """Why our answer on a column and Evidently's line differ; empty if they agree."""
    ours = any(check.drifted for check in checks)
    if score is None or score.drifted is ours:
        return ""
    if ours:
        reasons = ", ".join(sorted({check.reason for check in checks if check.drifted}))
        return f"a fixed line at {score.threshold:g} on a sample does not see it ({reasons})"
    moved = [check for check in checks if check.reason == "shape"]
    if any(check.effect >= check.floor for check in moved):
        return "the rows are too few to tell it from chance"
    return "it moved, but no further than the calendar moves it"


def _sentences(result: FeedComparison) -> list[str]:
    """What was found, the worst first."""
    return [
        *(describe_breach(fault) for fault in result.faults),
        *(f"{c.column} ({c.reason}): {c.detail}" for c in result.confirmed),
        *(describe_finding(found) for found in result.second_look),
        *(f"warning: {warning}" for warning in result.warnings),
    ]


def _worst_first(result: FeedComparison) -> list[str]:
    """The columns of the profile, those with the largest effects in the last window first."""
    order = [check.column for check in result.windows[-1].checks or ()]
    return list(dict.fromkeys([*order, *(column.name for column in result.profile.columns)]))


def _cell(window: WindowComparison, column: str) -> Cell:
    checks = [check for check in window.checks or () if check.column == column]
    if not checks:
        return Cell(ratio=None, detail=f"{window.data.days.since}: not compared")
    worst = max(checks, key=lambda check: check.effect / check.floor)
    said = "; ".join(
        f"{c.reason}: {c.measure} {c.effect:.3g}, floor {c.floor:.3g}, {c.detail}" for c in checks
    )
    return Cell(
        ratio=worst.effect / worst.floor,
        drifted=any(check.drifted for check in checks),
        detail=f"{window.data.days.since}: {said}",
    )


def draw_distributions(
    result: FeedComparison, read: Callable[[str], Array]
) -> list[tuple[str, Markup]]:
    """The charts of the worst columns of the last window.

    Args:
        result: The comparison.
        read: Reads a column of the last window.
    """
    last, columns = result.windows[-1].data, _worst_first(result)[:WORST]
    profiles = {column.name: column for column in in_season(result.profile, last.days).columns}
    return [(name, bar_chart(column_bars(profiles[name], read(name)))) for name in columns]


def column_bars(profile: ColumnProfile, values: np.ndarray) -> Bars:
    """The shares of a column's bins or levels in the training data and in a window."""
    if isinstance(profile, NumberProfile):
        return _number_bars(profile, values)
    seen = count_levels(profile.type, values).counts
    names = list(dict.fromkeys([*list(profile.counts)[:LEVELS], *list(seen)[:3]]))
    rows = max(1, sum(seen.values()))
    return Bars(
        names=tuple(names),
        before=tuple(profile.counts.get(name, 0) / max(1, profile.known) for name in names),
        now=tuple(seen.get(name, 0) / rows for name in names),
    )


def _number_bars(profile: NumberProfile, values: np.ndarray) -> Bars:
    known = read_column(profile.type, values).values
    known = known[~np.isnan(known)]
    ends = [*profile.edges[:1], *profile.edges[-1:]]
    ends += np.quantile(known, [0.001, 0.999]).tolist() if len(known) else []
    if not ends or not max(ends) > min(ends):
        return Bars(names=(), before=(), now=())
    edges = np.linspace(min(ends), max(ends), BINS + 1)
    # The profile knows its distribution function at its own edges; between them it is a line.
    reached = np.cumsum(profile.counts)[: len(profile.edges)] / max(1, profile.known)
    before = np.diff(np.interp(edges, profile.edges, reached, left=0.0, right=1.0))
    now = np.histogram(np.clip(known, edges[0], edges[-1]), edges)[0] / max(1, len(known))
    middles = (edges[1:] + edges[:-1]) / 2
    return Bars(
        names=tuple(f"{middle:.4g}" for middle in middles),
        before=tuple(before.tolist()),
        now=tuple(now.tolist()),
    )


def _quality(quality: Quality | NotWatched) -> dict[str, object]:
    if not isinstance(quality, Quality):
        return {"chart": None, "said": quality.why}
    days, means = [each.day for each in quality.losses], [each.mean for each in quality.losses]
    chart = line_chart(days, means, quality.held_out)
    return {"chart": chart, "said": quality.detail, "alarm": f"{ALARM:,.0f}"}


def _rows(
    result: FeedComparison, columns: Sequence[str], scores: Mapping[str, ColumnScore]
) -> Iterator[tuple[str, ...]]:
    """The cells of each check of the last window."""
    by_column: dict[str, list[ColumnCheck]] = {name: [] for name in columns}
    for check in result.windows[-1].checks or ():
        by_column[check.column].append(check)
    for name in columns:
        score = scores.get(name)
        for place, check in enumerate(by_column[name]):
            theirs = f"{score.score:.3g} of {score.threshold:g}" if score else "-"
            yield (
                name,
                check.reason,
                f"{check.measure} {check.effect:.3g}",
                f"{check.floor:.3g}",
                f"{check.p:.1e}",
                "yes" if check.drifted else "no",
                theirs if place == 0 else "",
                difference_in_words(by_column[name], score) if place == 0 else "",
            )
