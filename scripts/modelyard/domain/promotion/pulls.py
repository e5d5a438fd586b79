"""Pull requests as the forge reports them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

CHECKS = "modelyard/checks"
"""Required status: validate, render --check and gate --check on the head commit."""

PROMOTE = "modelyard/promote"
"""Required status, set by reconcile alone; a success once nothing is missing."""


class PullState(StrEnum):
    """Whether a pull request is open, and how it ended."""

    OPEN = "open"
    MERGED = "merged"
    CLOSED = "closed"


class StatusState(StrEnum):
    """The state of a status."""

    PENDING = "pending"
    SUCCESS = "success"
    FAILURE = "failure"
    ERROR = "error"


@dataclass(frozen=True, kw_only=True)
class Status:
    """The result of one check of one pull request's head.

    It is kept with the head, the branch and the base it judged. The same commit on another branch
    has statuses of its own.
    """

    context: str
    state: StatusState
    description: str


@dataclass(frozen=True, kw_only=True)
class Review:
    """One person's review of one commit."""

    author: str
    approved: bool
    sha: str
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Comment:
    """A comment. There is one of each `marker`, which is edited in place."""

    author: str
    body: str
    at: datetime
    marker: str | None = None


@dataclass(frozen=True, kw_only=True)
class PullRequest:
    """A pull request.

    Args:
        number: Counts up from 1.
        branch: The head branch.
        title: First line.
        body: Markdown.
        author: Who opened it.
        requester: Who asked the tool to open it, if not the author; may not approve it either.
        contributors: Others with commits on the branch, who may not approve it either.
        version_makers: What people did for the version it releases (`{"Ann": "wrote v2"}`), where
            its environment asks for approvals; they may not approve it either.
        base: Commit of the main branch it was opened on.
        head: The head commit.
        state: open, merged or closed.
        labels: Labels, for people; nothing is decided by them.
        reviews: Reviews, oldest first.
        comments: Comments, oldest first.
        statuses: What was said of this head on this branch and for this base, by context.
        opened_at: When.
        merged_as: The merge commit, once merged.
        closed_at: When it was merged or closed.
        closed_by: Who merged or closed it.
        by_hand: Whether a push brought it to the main branch, past the checks of a merge.
    """

    number: int
    branch: str
    title: str
    body: str
    author: str
    base: str
    head: str
    state: PullState
    opened_at: datetime
    requester: str | None = None
    contributors: tuple[str, ...] = ()
    version_makers: Mapping[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    reviews: tuple[Review, ...] = ()
    comments: tuple[Comment, ...] = ()
    statuses: Mapping[str, Status] = field(default_factory=dict)
    merged_as: str | None = None
    closed_at: datetime | None = None
    closed_by: str | None = None
    by_hand: bool = False
