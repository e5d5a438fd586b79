"""The one place that prints: whatever is printed is harmless to a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from modelyard.domain.harmless_text import harmless_line, harmless_lines

if TYPE_CHECKING:
    from rich.console import Console

# Control characters, marks that reverse a line, and surrogates, which cannot be encoded. The JSON
# encoder escapes the other control characters itself.
_UNSAFE = re.compile(r"[\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


def print_line(text: object = "", *, err: bool = False) -> None:
    """Print one line, to stderr with `err`; a newline in the text cannot begin another."""
    click.echo(harmless_line(str(text)), err=err)


def print_lines(text: str, *, err: bool = False, is_harmless: bool = False) -> None:
    """Print a document of several lines as it is, but for control characters.

    Args:
        text: The document.
        err: Print it to stderr.
        is_harmless: Whether each part of it was made harmless already.
    """
    click.echo(text if is_harmless else harmless_lines(text, most=None), err=err, nl=False)


def print_json(data: object) -> None:
    """Print one indented JSON document; keys keep their order, terminal codes are escaped."""
    import json

    # Names stay readable, and NaN is no JSON that other programs read.
    text = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False)
    if not text.isascii() or "\x7f" in text:
        text = _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
    click.echo(text)


def make_console() -> Console:
    """Return a console on stdout, coloured as `--color`, `NO_COLOR` and the terminal decide."""
    from rich.console import Console, RenderableType
    from rich.segment import Segment

    class HarmlessConsole(Console):
        """A console on which no text can act, whoever put it into a table or a page."""

        def render(
            self, renderable: RenderableType, *args: Any, **kwargs: Any
        ) -> Iterable[Segment]:
            """Yield the segments; those with text from outside are made harmless."""
            for text, style, control in super().render(renderable, *args, **kwargs):
                shown = text if control else harmless_lines(text, most=None)
                yield Segment(shown, style, control)

    wanted = click.get_current_context().color
    return HarmlessConsole(
        # None lets rich ask the terminal.
        force_terminal=True if wanted else None,
        no_color=None if wanted is None else not wanted,
        # rich would colour numbers and paths inside text from outside, and read markup in it.
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=False,
    )
