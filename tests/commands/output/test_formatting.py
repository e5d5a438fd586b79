from __future__ import annotations

import io

import pytest
from rich.console import Console

from modelyard.commands.output.formatting import make_table, render_markdown

PAGE = """\
**canary** runs [bold]nothing[/bold].

### Gate: pass

| held-out set | rows | verdict |
|---|---:|---|
| first | 60 | pass |
| odd \\| and \x1b[31mred | 7 |
- a line
"""


def shown(text, width=40):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    for part in render_markdown(text):
        console.print(part)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_a_table_stands_upright_and_nothing_in_it_is_markup():
    assert shown(PAGE) == [
        "**canary** runs [bold]nothing[/bold].",
        "",
        "Gate: pass",
        "",
        "  held-out set    first    odd | and",
        "                           \N{REPLACEMENT CHARACTER}[31mred",
        "  rows            60       7",
        "  verdict         pass",
        "- a line",
    ]


def test_a_page_without_markdown_is_shown_as_it_is():
    assert shown("one\n\n  #two\n") == ["one", "", "  #two"]


def test_a_table_of_nothing_but_a_rule_is_shown_as_nothing():
    assert shown("|---|\n") == [""]


@pytest.mark.parametrize("width", [66, 80])
def test_a_sentence_that_is_too_wide_breaks_no_word_of_other_columns(
    width: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("rich._console", Console(width=width))
    columns = ("environment", "artifact", "since", "next")
    row = ("production", "360d66d09980", "2026-12-01 04:42:03", "modelyard judge production wine")
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(make_table("Releases", columns, [row]))
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    assert set(" ".join((*columns, *row)).split()) <= set(text.split())
