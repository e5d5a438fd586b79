"""How reports are told: tables, times, spans and changes, with outside text made harmless."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from modelyard.adapters.git.names import paragraphs, readable
from modelyard.commands.options import print_json

if TYPE_CHECKING:
    from rich.table import Table

    from modelyard.domain.promotion.change import Change
    from modelyard.domain.verdict import Verdict

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_KILO = 1000


def table(title: str, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> Table:
    """A table of plain text: no markup, nothing a terminal acts on.

    Args:
        title: Above it.
        columns: Their names.
        rows: Their cells; long ones are folded, never cut, and None is shown as a dash.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    heading = Text(title, style="bold")
    made = Table(title=heading, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*(Text("-" if cell is None else readable(str(cell))) for cell in row))
    return made


def clock_time(at: datetime | None) -> str | None:
    """A time for people: to the second, in UTC."""
    return None if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def span(seconds: float) -> str:
    """How long, in the two largest units that matter."""
    whole = round(seconds)
    if abs(whole) < _MINUTE:
        return f"{seconds:.1f} s"
    if abs(whole) < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    if abs(whole) < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def change_lines(change: Change) -> Iterator[str]:
    """A change for `--dry-run`: its branch, its page, and its files with their sizes."""
    yield f"branch {readable(change.branch)}"
    yield f"title  {readable(change.title)}"
    yield ""
    yield from paragraphs(change.body).strip("\n").split("\n")
    yield ""
    yield "files"
    for path, content in sorted(change.documents.items()):
        yield f"  {_size(content):>8}  {readable(path)}"


def _size(content: bytes | None) -> str:
    if content is None:
        return "deleted"
    return f"{len(content)} B" if len(content) < _KILO else f"{len(content) / _KILO:.1f} kB"


def print_verdict(verdict: Verdict, output: str) -> None:
    """Print a verdict as text, its numbers a line each, or as JSON."""
    from modelyard.adapters.specs.documents import document_of

    if output == "json":
        print_json(document_of(verdict))
        return
    click.echo(f"{verdict.outcome}: {verdict.reason}")
    for name, value in verdict.numbers.items():
        click.echo(f"  {name} {value:.6g}")
