"""Pull requests as the forge reports them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from operator import attrgetter
from typing import TypeAlias, TypeVar

from modelyard.domain.people import Person, is_same_person
from modelyard.domain.promotion.change import parse_branch

CHECKS = "modelyard/checks"
"""Required status: validate, render --check and gate --check on the head commit."""

PROMOTE = "modelyard/promote"
"""Required status, set by reconcile alone; a success once nothing is missing."""

REQUIRED = (CHECKS, PROMOTE)
"""The statuses that must be success on exactly the commit that is merged."""

STACKED = "it is in a stack: its merge would merge others too; take it out of the stack"
"""Why nothing of a stack is merged."""

STATUS_COMMENT = "modelyard/status"
"""Marks the comment that says why a pull request waits, or why it was closed."""


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

    author: Person
    approved: bool
    sha: str
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Comment:
    """A comment. There is one of each `marker`, which is edited in place."""

    author: Person
    body: str
    at: datetime
    marker: str | None = None


WORD_COUNTS_FOR = timedelta(hours=24)
"""How long an admin's word waives approvals: what was an emergency then may be none later."""


@dataclass(frozen=True, kw_only=True)
class BrokenGlass:
    """An admin's word that one commit is merged without the approvals that it needs.

    Args:
        number: The pull request.
        sha: The commit, which has to be its head.
        login: Who gave it.
        person: Their id on the forge.
        reason: Why.
        at: When it was written, by the forge's clock.
        issue: Number of the issue where people follow it up.
        model: The model that it is about; empty if about none.
    """

    number: int
    sha: str
    login: str
    person: str
    reason: str
    at: datetime
    issue: int
    model: str = ""

    @property
    def until(self) -> datetime:
        """When it stops to count."""
        return self.at + WORD_COUNTS_FOR


@dataclass(frozen=True, kw_only=True)
class PullSummary:
    """A pull request as a forge lists it, which is all that anybody needs of a closed one.

    Args:
        number: Counts up from 1.
        branch: The head branch.
        title: First line.
        body: Markdown.
        author: Who opened it.
        base: Commit of the main branch it was opened on.
        head: The head commit.
        state: open, merged or closed.
        labels: Labels, for people; nothing is decided by them.
        opened_at: When.
        merged_as: The merge commit, once merged.
        closed_at: When it was merged or closed.
        closed_by: Who merged or closed it.
        by_hand: Whether a push brought it to the main branch, past the checks of a merge.
        on_page: Whether a person merged it on the page of a forge, which asked for statuses alone;
            there, others than the tool may set them.
    """

    number: int
    branch: str
    title: str
    body: str
    author: Person
    base: str
    head: str
    state: PullState
    opened_at: datetime
    labels: tuple[str, ...] = ()
    merged_as: str | None = None
    closed_at: datetime | None = None
    closed_by: Person | None = None
    by_hand: bool = False
    on_page: bool = False

    def summary(self) -> PullSummary:
        """The same without what was said of it: nobody takes a closed one for one in full."""
        known = {each.name: getattr(self, each.name) for each in fields(PullSummary)}
        return PullSummary(**known)


@dataclass(frozen=True, kw_only=True)
class PullRequest(PullSummary):
    """A pull request with everything that was said of it.

    Args:
        requester: Who asked the tool to open it, if not the author; may not approve it either.
        contributors: Others with commits on the branch, who may not approve it either.
        version_makers: What people did for the version it releases (Ann "wrote v2"), where its
            environment asks for approvals; they may not approve it either.
        unmapped: The head, if the forge does not know who pushed it; then no approval counts.
        teams: For each team that may approve, who of its approvers is in it; None if the forge does
            not say.
        is_stacked: Whether the forge would merge others with it, which nobody approved with it.
        retargeted_at: When its base branch was last changed; reviews before that do not count.
        reviews: Reviews, oldest first.
        comments: Comments, oldest first.
        statuses: What was said of this head on this branch and for this base, by context.
        glass: The admin's word to merge one commit of it without approvals, if there is one.
    """

    requester: Person | None = None
    contributors: tuple[Person, ...] = ()
    version_makers: Mapping[Person, str] = field(default_factory=dict)
    unmapped: tuple[str, ...] = ()
    teams: Mapping[str, frozenset[Person] | None] = field(default_factory=dict)
    is_stacked: bool = False
    retargeted_at: datetime | None = None
    reviews: tuple[Review, ...] = ()
    comments: tuple[Comment, ...] = ()
    statuses: Mapping[str, Status] = field(default_factory=dict)
    glass: BrokenGlass | None = None


@dataclass(frozen=True, kw_only=True)
class Pulls:
    """The pull requests of a forge at one moment.

    Args:
        open: The open ones, by number.
        closed: The merged and closed ones, by number.
    """

    open: tuple[PullRequest, ...] = ()
    closed: tuple[PullSummary, ...] = ()

    @cached_property
    def every(self) -> tuple[PullSummary, ...]:
        """All of them, by number."""
        return tuple(sorted((*self.open, *self.closed), key=attrgetter("number")))

    def on(self, is_wanted: Callable[[str], bool]) -> Pulls:
        """Those on branches of such a name."""
        return Pulls(
            open=tuple([pull for pull in self.open if is_wanted(pull.branch)]),
            closed=tuple([pull for pull in self.closed if is_wanted(pull.branch)]),
        )


@dataclass(frozen=True, kw_only=True)
class Merged:
    """A pull request is merged as this commit."""

    commit: str


@dataclass(frozen=True, kw_only=True)
class MergeAsked:
    """A forge was asked to merge, and does so later or refuses; asking again gives its answer.

    Args:
        what: What it waits for, in a sentence.
    """

    what: str


MergeAnswer: TypeAlias = Merged | MergeAsked


def is_declined(pull: PullSummary, *, bot: str) -> bool:
    """Whether a person closed it without merging it.

    One whose branch was deleted is closed by nobody, which declines nothing.
    """
    is_by_person = pull.closed_by is not None and not is_same_person(pull.closed_by, bot)
    return pull.state is PullState.CLOSED and is_by_person


AnyPull = TypeVar("AnyPull", bound=PullSummary)


def group_by_model(pulls: Iterable[AnyPull]) -> dict[str, list[AnyPull]]:
    """The pull requests from branches of the tool, by the model that the branch is about."""
    found: dict[str, list[AnyPull]] = defaultdict(list)
    for pull in pulls:
        if branch := parse_branch(pull.branch):
            found[branch.model].append(pull)
    return found
