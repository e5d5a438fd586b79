"""What a comment holds: commands, lines that were meant as commands, or a reason to refuse it."""

from __future__ import annotations

from dataclasses import dataclass

from modelyard.domain.chatops.commands import Command
from modelyard.domain.chatops.reasons import ReasonCode


@dataclass(frozen=True, kw_only=True)
class Misread:
    """A line that was meant as a command and is none.

    Args:
        reason: What kind of fault it is.
        line: The line as it was written.
        why: What is wrong with it, for the person who wrote it.
        paste: The line that would be right, with words in capitals where a person fills in.
    """

    reason: ReasonCode
    line: str
    why: str
    paste: str


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why a whole comment counts for nothing."""

    reason: ReasonCode
    why: str


@dataclass(frozen=True, kw_only=True)
class CommentReading:
    """What a comment holds.

    Args:
        found: Commands and misread lines in their order; the place of one is its index.
        refused: Why the whole comment counts for nothing; `found` is empty then.
    """

    found: tuple[Command | Misread, ...] = ()
    refused: Refusal | None = None
