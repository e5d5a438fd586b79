"""Small charts as SVG text: a heat map, two distributions, and a line of days."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date

from markupsafe import Markup, escape

from modelyard.domain.harmless_text import harmless_line

CELL, ROW, NAMES = 58, 26, 190
WIDTH, HEIGHT = 420, 150
BELOW, NEAR, BEYOND = "#eef2f4", "#f6d9a8", "#d9534f"
"""Colours of an effect: far below its floor, from half of it on, and one that drifted."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One window of one column.

    Args:
        ratio: The largest effect of its checks in units of its floor; None without a comparison.
        drifted: Whether one of its checks drifted.
        detail: What was found, for people.
    """

    ratio: float | None
    drifted: bool = False
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Bars:
    """Shares of the reference and of a window side by side, by bin or level."""

    names: tuple[str, ...]
    before: tuple[float, ...]
    now: tuple[float, ...]


def heat_map(
    columns: Sequence[str], weeks: Sequence[date], cells: Sequence[Sequence[Cell]]
) -> Markup:
    """Columns by weeks; each cell has its number, so nothing is told by its colour alone."""
    width, height = NAMES + CELL * len(weeks), ROW * (len(columns) + 1)
    return _svg(width, height, "\n".join(_heat(columns, weeks, cells)))


def _heat(
    columns: Sequence[str], weeks: Sequence[date], cells: Sequence[Sequence[Cell]]
) -> Iterator[str]:
    for place, week in enumerate(weeks):
        yield _text(NAMES + CELL * (place + 0.5), ROW - 9, f"{week:%d %b}", "middle")
    for line, (column, row) in enumerate(zip(columns, cells, strict=True), start=1):
        yield _text(NAMES - 8, ROW * line + 17, column[:26], "end")
        for place, cell in enumerate(row):
            x, y = NAMES + CELL * place, ROW * line
            yield (
                f'<g><title>{_safe(cell.detail)}</title><rect x="{x}" y="{y}" '
                f'width="{CELL - 2}" height="{ROW - 2}" fill="{_colour(cell)}"/>'
                f"{_text(x + CELL / 2 - 1, y + 16, _ratio(cell), 'middle')}</g>"
            )


def _colour(cell: Cell) -> str:
    if cell.ratio is None:
        return "none"
    if cell.drifted:
        return BEYOND
    return NEAR if cell.ratio >= 0.5 else BELOW  # noqa: PLR2004 - half of the floor


def _ratio(cell: Cell) -> str:
    if cell.ratio is None:
        return "-"
    return f"{cell.ratio:.2g}" if cell.ratio < 100 else ">99"  # noqa: PLR2004 - a cell's width


def bar_chart(bars: Bars) -> Markup:
    """Two bars for each name: the training data in grey, the window in blue."""
    largest = max((*bars.before, *bars.now), default=0.0) or 1.0
    step = WIDTH / max(1, len(bars.names))
    drawn = []
    for place, (before, now) in enumerate(zip(bars.before, bars.now, strict=True)):
        for offset, share, colour in ((0.06, before, "#9aa5ab"), (0.5, now, "#3273b8")):
            tall = (HEIGHT - 24) * share / largest
            drawn.append(
                f'<rect x="{step * (place + offset):.1f}" y="{HEIGHT - 20 - tall:.1f}" '
                f'width="{0.42 * step:.1f}" height="{tall:.1f}" fill="{colour}">'
                f"<title>{_safe(bars.names[place])}: {before:.2%} -> {now:.2%}</title></rect>"
            )
    shown = max(1, -(-len(bars.names) // 6))  # as many names as have room
    drawn += [
        _text(step * (place + 0.5), HEIGHT - 6, bars.names[place][:12], "middle")
        for place in range(0, len(bars.names), shown)
    ]
    return _svg(WIDTH, HEIGHT, "\n".join(drawn))


def line_chart(days: Sequence[date], values: Sequence[float], level: float) -> Markup:
    """A value for each day, and a dashed line at a level."""
    largest = max((*values, level), default=0.0) or 1.0
    step = WIDTH / max(1, len(days) - 1)

    def height(value: float) -> float:
        return HEIGHT - 20 - (HEIGHT - 28) * value / largest

    points = " ".join(f"{step * n:.1f},{height(value):.1f}" for n, value in enumerate(values))
    drawn = [
        f'<line x1="0" x2="{WIDTH}" y1="{height(level):.1f}" y2="{height(level):.1f}" '
        'stroke="#d9534f" stroke-dasharray="5 4"/>',
        f'<polyline points="{points}" fill="none" stroke="#3273b8" stroke-width="1.5"/>',
        _text(2, HEIGHT - 6, str(days[0]) if days else "", "start"),
        _text(WIDTH - 2, HEIGHT - 6, str(days[-1]) if days else "", "end"),
    ]
    return _svg(WIDTH, HEIGHT, "\n".join(drawn))


def _svg(width: float, height: float, body: str) -> Markup:
    return Markup(  # noqa: S704 - of texts that are escaped
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}">\n{body}\n</svg>'
    )


def _text(x: float, y: float, text: str, anchor: str) -> str:
    at = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {at} font-size="11">{_safe(text)}</text>'


def _safe(text: str) -> Markup:
    return escape(harmless_line(text))
