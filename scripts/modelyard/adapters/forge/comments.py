"""Reads the commands of a comment."""

from __future__ import annotations

import unicodedata

from modelyard.adapters.forge.plain_lines import find_plain_lines
from modelyard.domain.chatops.grammar import parse_line
from modelyard.domain.chatops.reading import CommentReading, Refusal
from modelyard.domain.chatops.reasons import ReasonCode

LONGEST_BODY = 65_536
"""Characters of a comment, as on GitHub."""

MOST_COMMANDS = 5
"""Commands of one comment; each is a call or more to the forge."""

MARKER = "<!-- modelyard:"
"""How hidden marks in the tool's own comments begin."""

# Control and format characters (zero-width, direction, byte order mark), surrogates, private use,
# and the line and paragraph separators: a reader does not see what a parser sees.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})


def read_comment(body: str) -> CommentReading:
    """Return the commands of a comment; never raises, whatever the body is.

    A command is a line that every reader sees as plain text. A comment with a character that
    nobody sees is refused whole.
    """
    text = body.replace("\r\n", "\n").replace("\r", "\n")
    if MARKER in text or not _may_hold_commands(text):
        return CommentReading()
    if len(text) > LONGEST_BODY:
        why = f"the comment has {len(text):,} characters; the most is {LONGEST_BODY:,}"
        return _refused(ReasonCode.BODY_TOO_LONG, why)
    if (hidden := _hidden_character(text)) is not None:
        why = f"the comment holds a character that nobody sees: {hidden}"
        return _refused(ReasonCode.HIDDEN_CHARACTERS, why)
    found = tuple(each for line in find_plain_lines(text) if (each := parse_line(line)) is not None)
    if len(found) > MOST_COMMANDS:
        why = f"the comment holds {len(found)} commands; the most is {MOST_COMMANDS}"
        return _refused(ReasonCode.TOO_MANY_COMMANDS, why)
    return CommentReading(found=found)


def _may_hold_commands(text: str) -> bool:
    """Return whether any line would be a command once all that is invisible is gone."""
    if "/" not in text and "\N{FULLWIDTH SOLIDUS}" not in text:
        return False
    seen = "".join(c for c in text[: 4 * LONGEST_BODY] if c == "\n" or not _is_hidden(c))
    return any(parse_line(line.strip()) is not None for line in seen.split("\n"))


def _hidden_character(text: str) -> str | None:
    for number, line in enumerate(text.split("\n"), start=1):
        for character in line:
            if character != "\t" and _is_hidden(character):
                name = unicodedata.name(character, "a control character")
                return f"U+{ord(character):04X} ({name}) in line {number}"
    return None


def _is_hidden(character: str) -> bool:
    return unicodedata.category(character) in _HIDDEN


def _refused(reason: ReasonCode, why: str) -> CommentReading:
    return CommentReading(refused=Refusal(reason=reason, why=why))
