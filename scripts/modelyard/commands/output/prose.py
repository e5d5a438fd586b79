"""Shows a Markdown page in a terminal: headings, tables turned upright, and plain text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from modelyard.adapters.git.names import paragraphs

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

_CELL_END = re.compile(r"(?<!\\)\|")
_RULE = re.compile(r"[\s|:-]+")
_HEADING = re.compile(r"#{1,6} ")


def prose(text: str) -> Iterator[RenderableType]:
    """The page from top to bottom; nothing in it is markup or acts on a terminal.

    A Markdown table is as wide as a browser's window; here each of its rows becomes a column, and
    its headings stand at the left.
    """
    from rich.text import Text

    lines = paragraphs(text).strip("\n").split("\n")
    for is_table, block in groupby(lines, key=lambda line: line.startswith("|")):
        rows = list(block)
        if is_table:
            yield _upright(rows)
            continue
        for line in rows:
            heading = _HEADING.match(line)
            yield Text(line[heading.end() :], style="bold") if heading else Text(line)


def _upright(lines: Sequence[str]) -> Table:
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
    return [cell.strip().replace("\\|", "|") for cell in _CELL_END.split(inner)]
