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
    # Of who wrote it.
    COMMENT_GONE = "comment_gone"
    COMMENT_EDITED = "comment_edited"
    BOT_AUTHOR = "bot_author"
    RUN_UNKNOWN = "run_unknown"
    LIMIT_REACHED = "limit_reached"
    ROLE_UNKNOWN = "role_unknown"
    ROLE_TOO_LOW = "role_too_low"
    TEAMS_UNKNOWN = "teams_unknown"
    NOT_AN_APPROVER = "not_an_approver"
    MAKERS_UNKNOWN = "makers_unknown"
    OWN_PULL_REQUEST = "own_pull_request"
    # Of what it is about.
    PULL_MERGED = "pull_merged"
    PULL_CLOSED = "pull_closed"
    OTHER_BASE = "other_base"
    STACKED = "stacked"
    BASE_CHANGED = "base_changed"
    HEAD_MOVED = "head_moved"
    CHECKS_MISSING = "checks_missing"
    NO_MODEL = "no_model"
    NO_VERSION = "no_version"
    NO_ENVIRONMENT = "no_environment"
    UNKNOWN_ENVIRONMENT = "unknown_environment"
    GATE_NOT_INCONCLUSIVE = "gate_not_inconclusive"
    TIME_PASSED = "time_passed"
    TIME_TOO_FAR = "time_too_far"
    # Of what became of it.
    ALREADY_DONE = "already_done"
    ACCEPTED = "accepted"
    DONE = "done"
    REFUSED_BY_RULES = "refused_by_rules"
    COULD_NOT = "could_not"
