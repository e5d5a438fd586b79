"""The reason codes of what was done with a command; scripts and the audit log rely on them."""

from __future__ import annotations

from enum import StrEnum


class ReasonCode(StrEnum):
    """Why a command was done or not.

    A code is never renamed and never used for something else; a new case gets a new code.
    """

    # Of the comment.
    BODY_TOO_LONG = "body_too_long"
    HIDDEN_CHARACTERS = "hidden_characters"
    TOO_MANY_COMMANDS = "too_many_commands"
    # Of a line.
    UNKNOWN_COMMAND = "unknown_command"
    WRONG_USAGE = "wrong_usage"
    SHORT_SHA = "short_sha"
