from __future__ import annotations

from html.parser import HTMLParser

import pytest
from cmarkgfm import cmark, markdown_to_html_with_extensions
from hypothesis import given
from hypothesis import strategies as st

from comment_bodies import COMMAND_LINES, make_bodies
from modelyard.adapters.forge.comments import read_comment
from modelyard.adapters.forge.plain_lines import find_plain_lines
from modelyard.domain.chatops.grammar import parse_line

VOID = frozenset(
    {"br", "hr", "img", "input", "area", "base", "col", "embed", "link", "meta", "wbr"}
)
# Without `autolink`: an address in a reason is drawn as a link, and hides nothing.
EXTENSIONS = ["table", "strikethrough", "tasklist"]
OPTIONS = cmark.Options.CMARK_OPT_UNSAFE | cmark.Options.CMARK_OPT_FOOTNOTES


class _PlainLines(HTMLParser):
    """Collects the lines of paragraphs of a drawn comment; None is a line with more than text."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.lines: list[str | None] = [""]

    def parse_marked_section(self, i: int, report: int = 1) -> int:
        # As browsers do: a comment to the next `>`, or to the end.
        end = self.rawdata.find(">", i)
        return len(self.rawdata) if end < 0 else end + 1

    def handle_starttag(self, tag: str, attrs: object):
        if tag == "br" and self.open == ["p"]:
            return
        if tag == "p" and not self.open:
            self.lines.append("")
        elif self.open == ["p"]:
            self.lines[-1] = None
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str):
        if tag in self.open:
            while self.open.pop() != tag:
                pass
        if tag == "p":
            self.lines.append("")

    def handle_data(self, data: str):
        first, *rest = data.split("\n")
        if self.open[:1] != ["p"]:
            return
        for number, line in enumerate((first, *rest)):
            if number:
                self.lines.append("")
            if self.open != ["p"]:
                self.lines[-1] = None
            elif self.lines[-1] is not None:
                self.lines[-1] += line


def drawn_lines(body: str) -> list[str]:
    """The lines that readers see as plain text, as GitHub's own parser draws the comment."""
    page = _PlainLines()
    page.feed(markdown_to_html_with_extensions(body, options=OPTIONS, extensions=EXTENSIONS))
    page.close()
    return [line.strip(" ") for line in page.lines if line]


def unseen_by_readers(body: str) -> list[str]:
    """The commands that only we see."""
    seen = drawn_lines(body)
    text = body.replace("\r\n", "\n").replace("\r", "\n")
    return [line for line in find_plain_lines(text) if parse_line(line) and line not in seen]


def test_the_oracle_itself_sees_plain_lines_alone():
    body = (
        f"text\n{COMMAND_LINES[1]}\n\n> /plan\n\n`/help`\n\n*a\n/retrain\nb*\n\n    /unhold\n\n- /x"
    )

    assert drawn_lines(body) == ["text", "/why"]


@pytest.mark.sample(1)
@pytest.mark.parametrize("seed", range(4))
def test_no_command_is_seen_that_readers_do_not_see(seed: int):
    bodies = list(make_bodies(seed, 500))

    assert [(body, found) for body in bodies if (found := unseen_by_readers(body))] == []
    # Or the bodies would prove nothing.
    assert sum(bool(read_comment(body).found) for body in bodies) > len(bodies) / 10


@pytest.mark.long  # 20,000 bodies through two parsers
def test_no_command_is_seen_that_readers_do_not_see_in_20_000_bodies():
    found = [body for body in make_bodies(2026, 20_000) if unseen_by_readers(body)]

    assert found == []


_PIECES = st.one_of(
    st.sampled_from(COMMAND_LINES),
    st.sampled_from(
        ["\n", "\n\n", "> ", "`", "```\n", "<!--", "-->", "    ", "<b>", "- ", "$", "|"]
    ),
    st.text(max_size=8),
)


@given(st.lists(_PIECES, max_size=12).map("".join))
def test_reading_a_comment_never_raises(body: str):
    found = read_comment(body)

    assert not (found.found and found.refused)


@given(
    st.lists(_PIECES, max_size=8).map("".join),
    st.sampled_from(["> {}", "    {}", "`{}`", "- {}", "# {}", "<!-- {} -->", "<b>{}</b>", "*{}*"]),
    st.sampled_from(COMMAND_LINES),
)
def test_a_command_in_a_quote_code_or_html_is_never_one(before: str, frame: str, line: str):
    # On its own after a blank line, whatever stands before it.
    framed = frame.format(line)
    without = read_comment(f"{before}\n\n{frame.format('text')}")

    found = read_comment(f"{before}\n\n{framed}")

    if found.refused is None:
        assert found.found == without.found
