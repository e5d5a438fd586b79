"""Pull requests as the forge tells them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

CHECKS = "modelyard/checks"
"""Required status: validate, render --check and gate --check on the head commit."""

PROMOTE = "modelyard/promote"
"""Required status, set by reconcile alone; pending until nothing that is asked for is missing."""


class PullState(StrEnum):
    """Where a pull request is in its life."""

    OPEN = "open"
    MERGED = "merged"
    CLOSED = "closed"


class StatusState(StrEnum):
    """What a check says of one commit."""

    PENDING = "pending"
    SUCCESS = "success"
    FAILURE = "failure"
    ERROR = "error"


@dataclass(frozen=True, kw_only=True)
class Status:
    """One check's word on one commit."""

    context: str
    state: StatusState
    description: str


@dataclass(frozen=True, kw_only=True)
class Review:
    """One person's word on one commit."""

    author: str
    approved: bool
    sha: str
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Comment:
    """A comment; `marker` makes it the one of its kind, edited in place."""

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
        requester: Who asked the tool to open it, if not the author; may not approve either.
        contributors: Others whose commits are on the branch; may not approve either.
        base: Commit of the main branch it was opened on.
        head: The head commit.
        state: open, merged or closed.
        labels: Labels.
        reviews: Reviews, oldest first.
        comments: Comments, oldest first.
        statuses: The head commit's statuses by context.
        opened_at: When.
        merged_as: The merge commit, once merged.
        closed_at: When it was merged or closed.
        closed_by: Who merged or closed it.
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
    labels: tuple[str, ...] = ()
    reviews: tuple[Review, ...] = ()
    comments: tuple[Comment, ...] = ()
    statuses: Mapping[str, Status] = field(default_factory=dict)
    merged_as: str | None = None
    closed_at: datetime | None = None
    closed_by: str | None = None

    def approvers(self) -> frozenset[str]:
        """Those whose last review of this very head commit approves it, its makers left out."""
        last = {review.author: review for review in self.reviews if review.sha == self.head}
        yes = {author for author, review in last.items() if review.approved}
        return frozenset(yes - self.makers())

    def makers(self) -> frozenset[str]:
        """Everybody who had a hand in it, and so cannot approve it."""
        asked = {self.requester} if self.requester else set()
        return frozenset({self.author, *self.contributors} | asked)
