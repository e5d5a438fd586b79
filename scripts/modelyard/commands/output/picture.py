"""Verdicts as one picture: a line for each comparison, in characters or as SVG.

Every line is in units of its own limit, so that different metrics share an axis.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from modelyard.domain.harmless_text import harmless_line
from modelyard.domain.pictures.evidence import (
    NEEDED,
    STABLE,
    evidence_in_words,
    evidence_names,
    is_for_canary,
)
from modelyard.domain.verdict import Outcome

if TYPE_CHECKING:
    from modelyard.domain.drift.column_checks import ColumnCheck
    from modelyard.domain.gate.comparisons import GateAnswer
    from modelyard.domain.verdict import Verdict

COLUMNS, NAMES = 61, 44
"""Characters of the axis, and of a name."""

FURTHEST = 4.0
"""Units beyond which a line is cut off, and ends in an arrow."""

_STEP, _LEFT, _WIDTH = 24, 330, 420


@dataclass(frozen=True, kw_only=True)
class Line:
    """One comparison.

    Args:
        name: What was compared.
        low: The lower end, in units of the limit.
        middle: The value.
        high: The upper end.
        said: What it came to.
    """

    name: str
    low: float
    middle: float
    high: float
    said: str


@dataclass(frozen=True, kw_only=True)
class Picture:
    """Lines on one axis.

    Args:
        lines: The lines.
        mark: Where the limit is.
        axis: What the axis means, in one sentence.
    """

    lines: tuple[Line, ...]
    mark: float
    axis: str

    @property
    def ends(self) -> tuple[float, float]:
        """The ends of the axis."""
        values = [value for line in self.lines for value in (line.low, line.high)]
        low, high = min([self.mark, 0.0, *values]), max([self.mark, 0.0, *values])
        low, high = max(low, -FURTHEST), min(high, FURTHEST)
        room = 0.05 * (high - low or 1.0)
        return low - room, high + room


def gate_picture(answer: GateAnswer) -> Picture:
    """The interval of each comparison; a pass is wholly to the right of the margin."""
    lines = []
    for each in answer.comparisons:
        numbers = each.verdict.numbers
        if not {"lower", "upper", "difference", "margin"} <= set(numbers):
            continue
        # A margin of 0 has no unit; the width of the interval is one.
        unit = numbers["margin"] or numbers["upper"] - numbers["lower"] or 1.0
        shift = 0.0 if numbers["margin"] else -1.0
        low, middle, high = (
            numbers[name] / unit + shift for name in ("lower", "difference", "upper")
        )
        said = f"{each.verdict.outcome}{' *' if each.decides else ''}"
        lines.append(Line(name=each.name, low=low, middle=middle, high=high, said=said))
    axis = (
        "one-sided bounds at alpha around the difference (o), in margins; | is the margin or, "
        "without one, no difference: right of it passes, left of it fails"
    )
    return Picture(lines=tuple(lines), mark=-1.0, axis=axis)


def judge_picture(verdict: Verdict) -> Picture:
    """The evidence of each test beside what is needed, and whether that shows it."""
    numbers = verdict.numbers
    needed = numbers.get(NEEDED, 0.0)
    lines = tuple(
        Line(
            name=evidence_in_words(name),
            low=min(0.0, numbers[name] / needed),
            middle=numbers[name] / needed,
            high=max(0.0, numbers[name] / needed),
            said=f"{numbers[name]:.2f} {_shown(verdict, name)}",
        )
        for name in evidence_names(numbers)
        if needed > 0
    )
    axis = f"log evidence of each test; | is what is needed, {needed:.2f}"
    return Picture(lines=lines, mark=1.0, axis=axis)


def _shown(verdict: Verdict, name: str) -> str:
    if verdict.numbers[name] < verdict.numbers[NEEDED]:
        return "not shown"
    is_harm = not is_for_canary(name) and name != STABLE
    is_excused = is_harm and verdict.outcome is not Outcome.FAIL
    return "shown, but excused" if is_excused else "shown"


def drift_picture(checks: Sequence[ColumnCheck]) -> Picture:
    """The effect of each check of the last window, in units of its floor."""
    lines = tuple(
        Line(
            name=f"{check.column} ({check.reason})",
            low=0.0,
            middle=check.effect / check.floor,
            high=check.effect / check.floor,
            said="drifted" if check.drifted else "",
        )
        for check in checks
    )
    return Picture(lines=lines, mark=1.0, axis="effects of the last window; | is the floor of each")


def print_explained(
    sentence: str, headings: Sequence[str], rows: Sequence[Sequence[object]], picture: Picture
) -> None:
    """Print one sentence, one table and one picture."""
    from modelyard.commands.output.formatting import make_table
    from modelyard.commands.output.terminal import make_console, print_line

    print_line(sentence)
    print_line()
    make_console().print(make_table(None, headings, rows))
    for line in picture_lines(picture):
        print_line(line)


def picture_lines(picture: Picture) -> Iterator[str]:
    """The picture in characters."""
    low, high = picture.ends

    def place(value: float) -> int:
        return round((COLUMNS - 1) * (min(max(value, low), high) - low) / (high - low))

    for line in picture.lines:
        row = [" "] * COLUMNS
        start, end = place(line.low), place(line.high)
        row[start : end + 1] = ["-"] * (end + 1 - start)
        row[place(picture.mark)] = "|"
        row[place(line.middle)] = "o"
        row[0] = "<" if line.low < low else row[0]
        row[-1] = ">" if line.high > high else row[-1]
        name = harmless_line(line.name)
        shown = name if len(name) <= NAMES else f"{name[: NAMES - 3]}..."
        yield f"{shown:<{NAMES}} {''.join(row)} {line.said}".rstrip()
    yield picture.axis


def picture_svg(picture: Picture) -> str:
    """The picture as an SVG document."""
    low, high = picture.ends

    def place(value: float) -> float:
        return _LEFT + _WIDTH * (min(max(value, low), high) - low) / (high - low)

    height = _STEP * (len(picture.lines) + 2)
    mark = place(picture.mark)
    drawn = [
        f'<line x1="{mark:.1f}" x2="{mark:.1f}" y1="4" y2="{height - 2 * _STEP + 4}" '
        'stroke="#b02a26" stroke-dasharray="5 4"/>'
    ]
    for number, line in enumerate(picture.lines):
        y = _STEP * (number + 0.7)
        drawn += [
            _text(_LEFT - 8, y + 4, line.name, "end"),
            f'<line x1="{place(line.low):.1f}" x2="{place(line.high):.1f}" y1="{y:.1f}" '
            f'y2="{y:.1f}" stroke="#3273b8" stroke-width="3"/>',
            f'<circle cx="{place(line.middle):.1f}" cy="{y:.1f}" r="4" fill="#222"/>',
            _text(_LEFT + _WIDTH + 10, y + 4, line.said, "start"),
        ]
    drawn.append(_text(8, height - _STEP / 2, picture.axis, "start"))
    body = "\n".join(drawn)
    width = _LEFT + _WIDTH + 130
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}">\n{body}\n</svg>\n'
    )


def _text(x: float, y: float, text: str, anchor: str) -> str:
    shown = escape(harmless_line(text))
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="12" '
        f'font-family="sans-serif">{shown}</text>'
    )
