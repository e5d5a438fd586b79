"""Finds the lines of Markdown that every reader sees as plain text: no quote, code or HTML."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

# What quoted mail begins with where a mail client does not quote: readers see a letter below.
_END_OF_REPLY = re.compile(
    r"\s*(?:--\s*"  # a signature, RFC 3676
    r"|[-_*]{2,}\s*(?:original|forwarded) (?:message|appointment)\b.*"
    r"|begin forwarded message:.*"
    r"|on\b.{4,200}\bwrote:\s*)",
    re.IGNORECASE,
)
# The headers that Outlook puts above what it quotes.
_SENDER = re.compile(r"\s*[*_]*from:", re.IGNORECASE)
_MAIL_HEADER = re.compile(r"\s*[*_]*(?:sent|date|to|subject):", re.IGNORECASE)
# A footnote, which takes the next line with it; CommonMark has none, forges do.
_FOOTNOTE = re.compile(r" {0,3}\[\^[^\]\n]+\]:")
# What forges draw in a way that CommonMark does not know: maths between dollars or `\[` and `\]`,
# text struck out between single tildes, a table of one column, a list of terms.
_OTHER_MARKUP = re.compile(
    r"\$[^$]*\$|~[^~]*~|\\[\[(]|^[ ]{0,3}(?=[ -]*[|:])[ |:-]+$|^[ ]{0,3}:[ \t]", re.MULTILINE
)
# What may stand right above a paragraph, without a blank line. Below a list, a quote, indented code
# or a reference, parsers do not agree to what the text belongs.
_FIRM = frozenset({"paragraph_open", "heading_open", "hr", "fence"})
_DRAWN_AS_WRITTEN = frozenset({"fence", "code_block", "table_open"})


def find_plain_lines(text: str) -> Iterator[str]:
    """Yield the lines that are text alone in a top-level paragraph.

    Nothing counts below the first HTML, which may hide what follows, or below where quoted mail
    begins. Where parsers of Markdown differ, a line does not count.

    Args:
        text: Markdown; its lines end in line feeds.
    """
    source = text.split("\n")
    tokens = _parser().parse(text)
    blocks = _top_level_blocks(tokens)
    end = _first_unread_line(tokens, source)
    for opening, inline in pairwise(tokens):
        if opening.type != "paragraph_open" or opening.level > 0 or opening.map is None:
            continue
        first, last = opening.map
        if first >= end or not _is_firm(source, blocks, first, last):
            continue
        lines = _split_at_breaks(inline.children or [])
        # With code or a link over several lines, a line of text has no known place in the source.
        if len(lines) != last - first:
            continue
        for written, line in zip(source[first : min(last, end)], lines, strict=False):
            # Compared with the source: the parser strips blanks that other parsers keep.
            if _is_text_alone(line) and line[0].content.strip(" ") == written.strip(" "):
                yield written.strip(" ")


@cache
def _parser() -> MarkdownIt:
    # Imported here: most commands read no comment.
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    # Joined, an entity or an escape would look like the character it stands for.
    return parser.disable(["text_join"])


def _top_level_blocks(tokens: list[Token]) -> dict[int, str]:
    """Return what each line of the source belongs to; a reference belongs to nothing."""
    return {
        line: token.type
        for token in tokens
        if token.level == 0 and token.map
        for line in range(*token.map)
    }


def _is_firm(source: list[str], blocks: dict[int, str], first: int, last: int) -> bool:
    """Return whether all parsers agree that these lines are a paragraph of their own."""
    top = first
    while top > 0 and source[top - 1].strip():
        top -= 1
    if not all(blocks.get(line) in _FIRM for line in range(top, first)):
        return False
    # Others see an underlined heading in the second row of some tables.
    is_above_table = blocks.get(last) == "table_open"
    text = "\n".join(source[line] for line in range(top, last) if blocks.get(line) != "fence")
    return not is_above_table and not _OTHER_MARKUP.search(text)


def _split_at_breaks(children: list[Token]) -> list[list[Token]]:
    lines: list[list[Token]] = [[]]
    for token in children:
        if token.type in {"softbreak", "hardbreak"}:
            lines.append([])
        else:
            lines[-1].append(token)
    return lines


def _is_text_alone(line: list[Token]) -> bool:
    is_text = [(token.type, token.level) for token in line] == [("text", 0)]
    return is_text and "[^" not in line[0].content  # a footnote is a link


def _first_unread_line(tokens: list[Token], source: list[str]) -> int:
    """Return the line from which on nothing counts: HTML, quoted mail or a footnote."""
    drawn: set[int] = set()
    end = len(source)
    lines = range(0)
    for token in tokens:
        # A cell of a table has no place of its own; its row has.
        lines = range(*token.map) if token.map else lines
        if token.type in _DRAWN_AS_WRITTEN:
            drawn.update(lines)
        # Some parsers see HTML in what is the first row of a table for this one.
        is_odd = token.type == "table_open" and "<" in source[lines.start]
        if is_odd or _holds_html(token):
            end = min(end, lines.start)
    for number in range(end):
        if number not in drawn and _ends_comment(source[number : number + 4]):
            return number
    return end


def _holds_html(token: Token) -> bool:
    kinds = {token.type, *(child.type for child in token.children or [])}
    return not kinds.isdisjoint({"html_block", "html_inline"})


def _ends_comment(lines: list[str]) -> bool:
    """Return whether the first of these lines begins quoted mail, a signature or a footnote."""
    first, *rest = lines
    if _SENDER.match(first):
        return any(_MAIL_HEADER.match(line) for line in rest)
    return bool(_END_OF_REPLY.fullmatch(first) or _FOOTNOTE.match(first))
