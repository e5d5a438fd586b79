"""Makes text from outside harmless: a terminal, a log and a Markdown page show it as data."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape

LONGEST_LINE = 2_000
"""Characters of a line that are shown; a page of one line would hide what was printed before it."""

# Only where it could begin a mention: an address keeps its @.
_MENTION = re.compile(r"(?<![A-Za-z0-9_])@(?=\w)")
# What a Markdown renderer acts on: no more, since a page is read as plain text too.
_MARKDOWN = re.compile(
    r"^#(?=#{0,5}(?:\s|$))|^[-+](?=\s|$)|^>|(?<=^\d)[.)](?=\s|$)"
    r"|[\\`*|]|(?<!\w)_|_(?!\w)|~(?=~)|&(?=#?\w+;)|(?<=\])[(\[]"
    # An address that forges make a link of by themselves.
    r"|:(?=//)|(?i:(?<=\bwww)\.)"
)
_CODE_OR_ESCAPE = re.compile(
    r"(?P<code>(?P<fence>`+)(?!`).*?(?<!`)(?P=fence)(?!`))"
    r"|\\(?P<plain>[!-/:-@\[-`{-~])|(?P<entity>&#?\w+;)"
)
# Also a password with a slash or a quote, which Git repeats as a port that is none.
_BEFORE_A_HOST = re.compile(
    r"(?P<scheme>\b[a-z][a-z0-9+.-]*)://(?P<who>"
    r"[^\s/'\"]*@|[^\s/:@'\"\[]*:(?!\d*(?:[/?#,'\"]|$))[^\s@]{0,200}@(?:[^\s/@'\"]*@)*)",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s'\"]+", re.IGNORECASE)
# What forges and stores take in place of a password.
_PARAMETER = re.compile(
    r"(?<=[?&;#])(?P<name>[\w.-]*(?:token|password|passwd|secret|api[-_]?key|signature)|sig|pwd)"
    r"=(?P<value>[^&;#]+)",
    re.IGNORECASE,
)
_LINE_BREAKS = frozenset("\n\r\t\v\f\x1c\x1d\x1e\x1f\x85\u2028\u2029")


def harmless_line(text: str) -> str:
    """Text from outside as one line; what a terminal acts on is escaped as Python escapes it.

    Escaped, not dropped: two file names that differ in an invisible character stay different.
    """
    return _cut("".join(map(_visible, text)))


def hide_passwords(text: str) -> str:
    """The text, whose addresses have `***` for whoever signs in there; SSH's user names stay.

    In an address of the web a token may be the user name itself, or a parameter.
    """
    if "://" not in text:
        return text

    def hidden(found: re.Match[str]) -> str:
        is_name = "ssh" in found["scheme"].lower() and ":" not in found["who"]
        return found[0] if is_name else f"{found['scheme']}://***@"

    def without_parameters(found: re.Match[str]) -> str:
        return _PARAMETER.sub(r"\g<name>=***", found[0])

    return _ADDRESS.sub(without_parameters, _BEFORE_A_HOST.sub(hidden, text))


def find_passwords(text: str) -> Iterator[tuple[str, str]]:
    """Who signs in by each address of a text, with the password, if there is one.

    Of a parameter such as `access_token` it is the name and the value.
    """
    for found in _BEFORE_A_HOST.finditer(text):
        name, _, password = found["who"].removesuffix("@").partition(":")
        yield name, password
    for address in _ADDRESS.findall(text):
        for parameter in _PARAMETER.finditer(address):
            yield parameter["name"], parameter["value"]


def remove_passwords(address: str) -> str:
    """The address without who signs in, and without the parameters that are passwords.

    SSH's user name stays: without it SSH would sign in as whoever runs the command.
    """

    def without_password(found: re.Match[str]) -> str:
        name = found["who"].removesuffix("@").partition(":")[0]
        is_kept = "ssh" in found["scheme"].lower() and name
        return f"{found['scheme']}://{name}@" if is_kept else f"{found['scheme']}://"

    address = _BEFORE_A_HOST.sub(without_password, address)
    address, mark, parameters = address.partition("?")
    kept = [each for each in parameters.split("&") if not _PARAMETER.match(f"?{each}", 1)]
    return address + mark * bool(kept) + "&".join(kept)


def last_lines(text: str, lines: int) -> str:
    """The end of what a program printed, as one line that is shown whole.

    What a program ended with comes last, so it is the beginning that is left out.
    """
    kept: list[str] = []
    room = LONGEST_LINE // 2  # the rest is for the message that this is a part of
    for line in reversed(text.strip().splitlines()[-lines:]):
        # Python marks the place in the line above.
        if not line.strip(" ^~"):
            continue
        if len(line) > room:
            if not kept:
                kept.append(f"... {line[-room:]}")
            break
        kept.append(line)
        room -= len(line)
    return " | ".join(reversed(kept))


def harmless_lines(text: str, *, most: int | None = LONGEST_LINE) -> str:
    """Text from outside with its lines and blanks; each control character becomes a `\ufffd`.

    Args:
        text: The text.
        most: The longest line; None for text that must stay whole, such as a document.
    """
    lines = text.replace("\r\n", "\n").replace("\t", "    ").split("\n")
    return "\n".join(_cut("".join(map(_replaced, line)), most) for line in lines)


def has_unsafe_characters(text: str) -> bool:
    """Whether a terminal would act on the text, or show less than it holds."""
    return any(_visible(character) != character for character in text)


def escape_markdown(text: str) -> str:
    """Text from outside as plain text in a line of Markdown: no mention, HTML, link or table cell.

    `unescape_markdown` gives it back for a terminal.
    """
    escaped = _MARKDOWN.sub(r"\\\g<0>", harmless_line(text))
    # An entity, as some readers of Markdown take HTML even behind a backslash.
    return neutralize_mentions(escaped.replace("<", "&lt;"))


def markdown_code(text: str) -> str:
    """Text from outside as code in a line of Markdown, where nothing is escaped."""
    return f"`{harmless_line(text).replace('`', chr(39)) or ' '}`"


def unescape_markdown(line: str) -> str:
    """A line of Markdown as people read it: without the escapes of `escape_markdown`."""
    return _CODE_OR_ESCAPE.sub(_as_read, line).replace("@\u200b", "@")


def neutralize_mentions(text: str) -> str:
    """The text with names that chats and forges do not take as mentions."""
    return _MENTION.sub("@\u200b", text)


def _as_read(found: re.Match[str]) -> str:
    return found["code"] or found["plain"] or unescape(found["entity"])


def _visible(character: str) -> str:
    if character.isprintable():
        return character
    # Blanks of other widths are not printable to Python, and harmless.
    if character.isspace() and character not in _LINE_BREAKS:
        return " "
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def _replaced(character: str) -> str:
    seen = _visible(character)
    return seen if len(seen) == 1 else "\N{REPLACEMENT CHARACTER}"


def _cut(line: str, most: int | None = LONGEST_LINE) -> str:
    if most is None or len(line) <= most:
        return line
    return f"{line[:most]} ... ({len(line) - most:,} more characters)"
