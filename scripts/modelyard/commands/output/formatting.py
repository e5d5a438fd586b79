"""Prints tables, times, changes, verdicts and pages; text from outside is made harmless."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
from itertools import groupby
from typing import TYPE_CHECKING

from modelyard.adapters.git.names import safe_line
from modelyard.commands.output.terminal import make_console, print_json, print_line, print_lines
from modelyard.domain.harmless_text import harmless_line, harmless_lines, unescape_markdown
from modelyard.domain.verdict import LOOKS_MISSING, NOT_ASKED, Outcome

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from modelyard.domain.gate.comparisons import GateAnswer
    from modelyard.domain.promotion.change import Change
    from modelyard.domain.promotion.facts import ReleaseFacts
    from modelyard.domain.verdict import Verdict

_CELL_END = re.compile(r"(?<!\\)\|")
_RULE = re.compile(r"[\s|:-]+")
_HEADING = re.compile(r"#{1,6} ")

_KILO = 1000
_GAP, _SMALL_GAP = 3, 2  # columns of a terminal that rich needs beside a cell
_SHORT = 10  # columns that a cell gets beyond its longest word before sentences share the rest

LONG = 400
"""More rows of a table are printed one a line, whatever the width of the terminal."""

SECONDS_OF_A_LOOK = 5
"""From one of the watcher's samples of a judged release to the next."""


def make_table(
    title: str | None, columns: Iterable[str], rows: Iterable[Iterable[object]]
) -> Table:
    """Return a table of plain text: no markup, nothing a terminal acts on.

    Args:
        title: Printed above it.
        columns: Their names.
        rows: Their cells; long ones are folded, between words where that is enough, never cut.
            None is shown as a dash, and rich's `Text` keeps its colours.
    """
    from rich import get_console
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    def text(cell: object) -> Text:
        return (
            cell
            if isinstance(cell, Text)
            else Text("-" if cell is None else harmless_line(safe_line(str(cell))))
        )

    heading = Text(title, style="bold") if title else None
    table = Table(title=heading, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    columns, cells = list(columns), [list(map(text, row)) for row in rows]
    texts = [[name, *map(str, below)] for name, *below in zip(columns, *cells, strict=True)]
    widths, table.collapse_padding = _choose_widths(texts, get_console().width)
    for name, width in zip(columns, widths, strict=True):
        table.add_column(name, overflow="fold", width=width)
    for row in cells:
        table.add_row(*row)
    return table


def _choose_widths(columns: Sequence[Sequence[str]], width: int) -> tuple[list[int | None], bool]:
    """The width of each column, None where rich may choose, and whether the gaps are small.

    Rich breaks the words of every column once one sentence makes the table too wide.
    """
    lines = [_longest(text.splitlines() for text in texts) for texts in columns]
    words = [_longest(text.split() for text in texts) for texts in columns]
    free: list[int | None] = [None] * len(columns)
    if sum(lines) + _GAP * len(columns) <= width:
        return free, False
    gap = _GAP if sum(words) + _GAP * len(columns) <= width else _SMALL_GAP
    spare = width - gap * len(columns) - sum(words)
    if spare < 0:
        return free, True
    # The least first: a time on one line is worth more than a shorter sentence.
    found = dict(enumerate(words))
    for done, place in enumerate(sorted(found, key=lambda each: lines[each] - words[each])):
        share = max(spare // (len(words) - done), min(spare, _SHORT))
        more = min(lines[place] - words[place], share)
        found[place], spare = words[place] + more, spare - more
    return list(found.values()), gap == _SMALL_GAP


def _longest(pieces: Iterable[Sequence[str]]) -> int:
    from rich.cells import cell_len

    return max((cell_len(piece) for some in pieces for piece in some), default=0)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table, see `make_table`, or a long one, see `print_long_table`."""
    if len(rows) > LONG:
        print_long_table(title, columns, rows)
    else:
        make_console().print(make_table(title, columns, rows))


def print_long_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, gap: str = "   "
) -> None:
    """Print a table of thousands of rows, each on one line of any width.

    `make_table` would lay out every cell, which takes half a minute for 10,000 models.
    """

    @cache  # most cells are one of a few
    def harmless(cell: str) -> str:
        return harmless_line(safe_line(cell))

    def text(cell: object) -> str:
        return "-" if cell is None else harmless(str(cell))

    lines = [tuple(columns), *(tuple(map(text, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    form = gap.join(f"{{:<{width}}}" for width in widths).format
    head, *rest = (form(*line).rstrip() for line in lines)
    rule = "\N{BOX DRAWINGS LIGHT HORIZONTAL}" * (sum(widths) + len(gap) * (len(widths) - 1))
    print_lines("\n".join([title, "", head, rule, *rest, "", ""]), is_harmless=True)


def clock_time(at: datetime | None) -> str | None:
    """Return a time for people: to the second, in UTC."""
    return None if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def print_change(change: Change) -> None:
    """Print a change for `--dry-run`: its branch, its page, and its files with their sizes."""
    print_line(f"branch {change.branch}")
    print_line(f"title  {change.title}")
    print_line()
    print_lines(change.body.strip("\n") + "\n\nfiles\n")
    for path, content in sorted(change.documents.items()):
        print_line(f"  {_size(content):>8}  {path}")


def _size(content: bytes | None) -> str:
    if content is None:
        return "deleted"
    return f"{len(content)} B" if len(content) < _KILO else f"{len(content) / _KILO:.1f} kB"


def print_verdict(verdict: Verdict, output: str) -> None:
    """Print a verdict as text, each number on its line, or as JSON."""
    from modelyard.adapters.specs.documents import document_of

    if output == "json":
        print_json(document_of(verdict))
        return
    print_line(f"{verdict.outcome}: {verdict.reason}")
    for name, value in verdict.numbers.items():
        print_line(f"  {name} {value:.6g}")


def explain_verdict(verdict: Verdict, facts: ReleaseFacts) -> Iterator[str]:
    """Yield what a reader of the judge's verdict cannot know from it."""
    if facts.release in facts.verified:
        when = f", judged at {facts.judged_at:%Y-%m-%d %H:%M:%S} UTC" if facts.judged_at else ""
        yield f"this release is verified already{when}; this verdict decides nothing any more"
    elif verdict.reason == NOT_ASKED:
        yield "send it traffic, such as with modelyard replay, and ask again"
    elif verdict.outcome is Outcome.INCONCLUSIVE and LOOKS_MISSING in verdict.numbers:
        looks = verdict.numbers[LOOKS_MISSING]
        minutes = max(1, math.ceil(looks * SECONDS_OF_A_LOOK / 60))
        yield (
            f"a look is an interval of about {SECONDS_OF_A_LOOK} s with traffic: send it for about "
            f"{minutes} more minute{'s' if minutes > 1 else ''}, not at once; "
            f"canary.least_looks in model.yaml says how many are needed"
        )


def print_gate_answer(answer: GateAnswer, output: str) -> None:
    """Print a gate's verdict and every comparison behind it; a star marks those that decide."""
    from modelyard.adapters.specs.documents import document_of

    if output == "json":
        comparisons = [
            {"name": each.name, "decides": each.decides, **document_of(each.verdict)}
            for each in answer.comparisons
        ]
        print_json({**document_of(answer.verdict), "comparisons": comparisons})
        return
    if not answer.comparisons:
        print_verdict(answer.verdict, output)
        return
    print_line(f"{answer.verdict.outcome}: {answer.verdict.reason}")
    for each in answer.comparisons:
        verdict = each.verdict
        print_line()
        print_line(f"{'*' if each.decides else ' '} {each.name}: {verdict.outcome}")
        print_line(f"    {verdict.reason}")
        for name, value in verdict.numbers.items():
            print_line(f"    {name} {value:.6g}")


def render_markdown(text: str) -> Iterator[RenderableType]:
    """Yield a Markdown page from top to bottom; nothing in it is markup or acts on a terminal."""
    from rich.text import Text

    lines = text.replace("\r\n", "\n").strip("\n").split("\n")
    in_code = False
    for is_table, block in groupby(lines, key=lambda line: line.startswith("|")):
        rows = list(block)
        if is_table:  # made for a browser's width: here each row becomes a column
            yield _transpose(rows)
            continue
        for line in rows:
            in_code ^= line.startswith("```")
            heading = None if in_code else _HEADING.match(line)
            shown = line[heading.end() :] if heading else line
            read = harmless_lines(shown if in_code else unescape_markdown(shown))
            yield Text(read, style="bold" if heading else "")


def _transpose(lines: Sequence[str]) -> Table:
    from rich.table import Table
    from rich.text import Text

    rows = [_cells(line) for line in lines if not _RULE.fullmatch(line)]
    width = max(map(len, rows), default=0)
    table = Table(box=None, show_header=False, padding=(0, 2))
    for _ in rows:
        table.add_column(overflow="fold")
    for number in range(width):
        cells = (row[number] if number < len(row) else "" for row in rows)
        table.add_row(*map(Text, cells))
    return table


def _cells(line: str) -> list[str]:
    inner = line.strip().removeprefix("|").removesuffix("|")
    return [harmless_lines(unescape_markdown(cell.strip())) for cell in _CELL_END.split(inner)]
