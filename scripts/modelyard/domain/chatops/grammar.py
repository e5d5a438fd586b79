"""Parses a line of a comment: the closed grammar of commands, and what was meant by a slip."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from modelyard.domain.chatops.commands import (
    Approve,
    BreakGlass,
    Command,
    Freeze,
    Help,
    Hold,
    Override,
    Plan,
    Promote,
    Retrain,
    Rollback,
    Unapprove,
    Unfreeze,
    Unhold,
    Why,
)
from modelyard.domain.chatops.reading import Misread
from modelyard.domain.chatops.reasons import ReasonCode
from modelyard.domain.specs.names import NAME
from modelyard.domain.specs.times import MOMENT, parse_moment

LONGEST_REASON = 300
"""Characters of a reason; it is shown in tables and commit messages."""

LONGEST_LINE = 500
"""Characters of a line that can be a command: a name, a time and a reason."""

_SHA = r"(?P<sha>[0-9a-f]{40})"
ENVIRONMENT = f"(?P<environment>{NAME.pattern})"
"""The pattern of an environment's name."""

UNTIL = f"until (?P<until>{MOMENT})"
"""The pattern of an end."""

# Free text, which is stored and shown, and never read again. Without `<` and `>`, as two readers
# of Markdown that differ do so over HTML.
REASON = rf"(?P<reason>[^\s<>][^<>]{{2,{LONGEST_REASON - 1}}})"
"""The pattern of a reason."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """How a command is written.

    Args:
        usage: The line, with words in capitals where a person fills in.
        does: What it does, for the help.
        pattern: What follows the name, with a blank before each argument.
        make: Makes the command of the pattern's groups.
    """

    usage: str
    does: str
    pattern: re.Pattern[str]
    make: Callable[..., Command]


def _form(make: Callable[..., Command], usage: str, does: str, arguments: str = "") -> Form:
    return Form(usage=usage, does=does, pattern=re.compile(arguments, re.ASCII), make=make)


FORMS: Mapping[str, Form] = {
    "approve": _form(Approve, "/approve SHA", "approve the head commit, named in full", f" {_SHA}"),
    "unapprove": _form(Unapprove, "/unapprove", "take your approval back"),
    "hold": _form(Hold, "/hold REASON", "put the version on hold, everywhere", f"(?: {REASON})?"),
    "unhold": _form(Unhold, "/unhold", "lift the hold of the version"),
    "promote": _form(
        Promote,
        "/promote ENVIRONMENT",
        "ask for the version in an environment",
        f"(?: {ENVIRONMENT})?",
    ),
    "rollback": _form(
        Rollback,
        "/rollback ENVIRONMENT REASON",
        "go back to the last verified release",
        f"(?: {ENVIRONMENT}(?: {REASON})?)?",
    ),
    "freeze": _form(
        Freeze,
        "/freeze ENVIRONMENT until TIME REASON",
        "no promotions into an environment until then; rollbacks happen all the same",
        f" {ENVIRONMENT} {UNTIL} {REASON}",
    ),
    "unfreeze": _form(Unfreeze, "/unfreeze ENVIRONMENT", "end the freeze", f"(?: {ENVIRONMENT})?"),
    "retrain": _form(Retrain, "/retrain", "train the version again"),
    "override": _form(
        Override,
        "/override until TIME REASON",
        "let the version pass an inconclusive gate until then",
        f" {UNTIL} {REASON}",
    ),
    "break-glass": _form(
        BreakGlass,
        "/break-glass SHA REASON",
        "merge this commit without the approvals that it needs; admins only",
        f" {_SHA} {REASON}",
    ),
    "why": _form(Why, "/why", "why this pull request does not move, and who can move it"),
    "plan": _form(Plan, "/plan", "what the next round would do"),
    "help": _form(Help, "/help", "this list"),
}
"""The grammar: every command by its name."""

EXAMPLE_TIME = "2027-01-04T08:00Z"
"""How a time is written: to the minute, with its offset."""

_WORD = re.compile(r"/(\S+)(.*)", re.DOTALL)


def parse_line(line: str) -> Command | Misread | None:
    """Return the command of a line, a misread line, or None: it was never meant as a command.

    Lines such as `/usr/bin/python` or `/lgtm` are meant for others.
    """
    if len(line) > LONGEST_LINE or not (found := _WORD.match(_with_plain_slash(line))):
        return None
    word, rest = found.groups()
    form = FORMS.get(word)
    if form is None or line[0] != "/":
        return _misspelt(word, line)
    arguments = re.sub(" +", " ", rest.rstrip(" "))
    matched = form.pattern.fullmatch(arguments)
    if matched is None:
        return _misused(word, line, arguments)
    values: dict[str, object] = dict(matched.groupdict())
    if "until" in values:
        try:
            values["until"] = parse_moment(matched["until"])
        except ValueError:
            return _misread(line, f"{matched['until']} is no time", FORMS[word].usage)
    return form.make(**values)


def name_command(command: Command) -> str:
    """Return the name that a command is written with: `/break-glass`."""
    return next(f"/{name}" for name, form in FORMS.items() if form.make is type(command))


def fill_in(usage: str, **known: str | None) -> str:
    """Return a usage line with what is known in it; what is not stays a word in capitals.

    Example:
        `fill_in("/promote ENVIRONMENT", environment="staging")` is `/promote staging`.
    """
    for name, value in known.items():
        if value is not None:
            usage = usage.replace(name.upper(), value)
    return usage


def _with_plain_slash(line: str) -> str:
    # A full-width solidus comes from input methods for Chinese and Japanese.
    return f"/{line[1:]}" if line.startswith("\N{FULLWIDTH SOLIDUS}") else line


def _misspelt(word: str, line: str) -> Misread | None:
    plain = unicodedata.normalize("NFKC", word).casefold().strip(".,:;!?")
    if "/" in plain:  # a path
        return None
    close = get_close_matches(plain, FORMS, n=1, cutoff=0.8)
    if not close:
        return None
    usage = FORMS[close[0]].usage
    what = _strange_character(f"{line[0]}{word}") or f"there is no /{word}"
    why = f"{what}; did you mean /{close[0]}?"
    return Misread(reason=ReasonCode.UNKNOWN_COMMAND, line=line, why=why, paste=usage)


def _misused(word: str, line: str, arguments: str) -> Misread:
    usage = FORMS[word].usage
    first = arguments.strip().partition(" ")[0]
    if "SHA" in usage and 4 <= len(first) < 40 and re.fullmatch("[0-9a-fA-F]+", first):  # noqa: PLR2004
        why = f"{first} has {len(first)} characters; a full SHA has 40, which nobody can forge"
        return Misread(reason=ReasonCode.SHORT_SHA, line=line, why=why, paste=usage)
    if "REASON" not in usage and (strange := _strange_character(arguments)):
        return _misread(line, strange, usage)
    if not FORMS[word].pattern.groups:
        return _misread(line, f"/{word} takes nothing after it", usage)
    return _misread(line, f"/{word} takes {_needed(usage)}, and nothing else", usage)


def _misread(line: str, why: str, usage: str) -> Misread:
    return Misread(reason=ReasonCode.WRONG_USAGE, line=line, why=why, paste=usage)


def _needed(usage: str) -> str:
    words = {
        "SHA": "the full SHA of the head commit",
        "ENVIRONMENT": "the name of an environment",
        "TIME": f"`until` and a time such as {EXAMPLE_TIME}",
        "REASON": f"a reason of 3 to {LONGEST_REASON} characters without < and >",
    }
    return ", ".join(text for name, text in words.items() if name in usage)


def _strange_character(text: str) -> str | None:
    """Return which character of the text only looks like a plain one; None if all are plain."""
    for character in text:
        if not character.isascii():
            name = unicodedata.name(character, f"U+{ord(character):04X}")
            return f"{character} is {name}, not a plain character"
    return None
