"""Reads the event of a command, as GitHub and Gitea write it to a file for a workflow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from modelyard.domain.chatops.request import Comment
from modelyard.domain.people import Person
from modelyard.errors import CannotAnswer

LARGEST_EVENT = 4_000_000
"""Bytes of an event; a comment has 65,536 characters, and the rest is what forges add."""

HINT = "the event of a workflow is in the file that GITHUB_EVENT_PATH names"


@dataclass(frozen=True, kw_only=True)
class CommentEvent:
    """A new comment on a pull request.

    Args:
        repository: The repository's id.
        number: The pull request.
        comment: The comment.
    """

    repository: str
    number: int
    comment: Comment


@dataclass(frozen=True, kw_only=True)
class StartEvent:
    """A command that somebody gave the workflow when they started it themselves.

    Args:
        repository: The repository's id.
        author: Who started it.
        is_bot: Whether a program did.
        line: The command.
    """

    repository: str
    author: Person
    is_bot: bool
    line: str


def read_event(path: Path) -> CommentEvent | StartEvent | None:
    """Return the event of a command; None for any other event.

    Raises:
        CannotAnswer: See `read_comment_event`.
    """
    event = _read_object(path)
    if "comment" in event or "inputs" not in event:
        return read_comment_event(path)
    try:
        author, is_bot = _parse_user(event["sender"])
        line = str(event["inputs"]["command"])
        repository = str(int(event["repository"]["id"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        why = f"{path} starts no command: {type(error).__name__} at {error}"
        raise CannotAnswer(why, hint=HINT) from error
    return StartEvent(repository=repository, author=author, is_bot=is_bot, line=line.strip())


def read_comment_event(path: Path) -> CommentEvent | None:
    """Return the event of a new comment on a pull request; None for any other event.

    Fields that it does not know are left alone: forges add some every month.

    Raises:
        CannotAnswer: The file cannot be read, is too large, or lacks what an event has.
    """
    event = _read_object(path)
    if event.get("action") != "created" or "comment" not in event:
        return None
    try:
        issue = event["issue"]
        # GitHub has an object here, Gitea a flag besides.
        if issue.get("pull_request") is None and not event.get("is_pull"):
            return None
        return CommentEvent(
            repository=str(int(event["repository"]["id"])),
            number=int(issue["number"]),
            comment=parse_comment(event["comment"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        why = f"{path} is no event of a comment: {type(error).__name__} at {error}"
        raise CannotAnswer(why, hint=HINT) from error


def parse_comment(row: Mapping[str, Any]) -> Comment:
    """Return a comment of a forge's JSON.

    Raises:
        KeyError: It lacks a field; `TypeError` and `ValueError` for one of another type.
    """
    author, is_bot = _parse_user(row["user"])
    body = row["body"]
    if not isinstance(body, str):
        raise TypeError("body")
    return Comment(
        id=str(int(row["id"])),
        author=author,
        is_bot=is_bot,
        body=body,
        created_at=datetime.fromisoformat(row["created_at"]),
        updated_at=datetime.fromisoformat(row["updated_at"]),
    )


def _parse_user(user: Mapping[str, Any]) -> tuple[Person, bool]:
    """Return a user of a forge's JSON, and whether it is a program."""
    login, number = str(user["login"]), int(user["id"])
    # Programs of Gitea have ids below 1, those of GitHub a type.
    is_bot = str(user.get("type", "User")) != "User" or login.endswith("[bot]") or number < 1
    return Person(login=login, id=str(number)), is_bot


def _read_object(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_EVENT + 1)
    except OSError as error:
        raise CannotAnswer(f"cannot read {path}: {error.strerror}", hint=HINT) from error
    if len(content) > LARGEST_EVENT:
        raise CannotAnswer(f"{path} has more than {LARGEST_EVENT:,} bytes", hint=HINT)
    try:
        event = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise CannotAnswer(f"{path} is not JSON: {error}", hint=HINT) from error
    if not isinstance(event, dict):
        raise CannotAnswer(f"{path} holds no JSON object", hint=HINT)
    return event
