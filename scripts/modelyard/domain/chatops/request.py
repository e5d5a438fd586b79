"""A command with all that its decision needs: who wrote it where, and what it is about."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from modelyard.domain.chatops.authority import Authority
from modelyard.domain.chatops.commands import Approve, BreakGlass, Command
from modelyard.domain.people import Person
from modelyard.domain.promotion.pulls import PullState
from modelyard.domain.verdict import Outcome


@dataclass(frozen=True, kw_only=True)
class Comment:
    """A comment as an event or the forge has it.

    Args:
        id: Its id on the forge.
        author: Who wrote it.
        is_bot: Whether a program did.
        body: Markdown.
        created_at: When.
        updated_at: When it was last edited; the same time if never.
    """

    id: str
    author: Person
    is_bot: bool
    body: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What a command is about: the pull request that a comment stands below, or what it names.

    Args:
        number: The pull request's number; 0 if there is none.
        state: open, merged or closed.
        head: The head commit, read right before the decision.
        is_to_main: Whether its base is the main branch.
        retargeted_at: When its base branch was last changed, if ever.
        is_stacked: Whether merging it merges others below it.
        makers: What each person did who cannot approve it; None where the forge does not know.
        has_passed_checks: Whether the checks of the head have passed.
        model: The model; empty if it is about none.
        version: The version that it adds or releases; empty if none.
        environment: The environment that it releases to; empty if none.
        approvers: Who may approve it: logins, and teams as `org/team`; everybody if empty.
        approvers_ahead: The same for each environment that the version still has to go through.
        gate: The gate's outcome for the version; None if it is not known.
    """

    number: int
    state: PullState
    head: str
    is_to_main: bool = True
    retargeted_at: datetime | None = None
    is_stacked: bool = False
    makers: Mapping[Person, str] | None = field(default_factory=dict)
    has_passed_checks: bool = False
    model: str = ""
    version: str = ""
    environment: str = ""
    approvers: tuple[str, ...] = ()
    approvers_ahead: tuple[tuple[str, ...], ...] = ()
    gate: Outcome | None = None


@dataclass(frozen=True, kw_only=True)
class Request:
    """One command to decide about.

    Args:
        command: The command.
        index: Its place among the commands of the comment.
        repository: The repository's id on the forge.
        event: The comment as the event has it, whose body the command is from.
        fetched: The same comment, fetched by its id for the decision; None if it is gone.
        authority: What its author may do.
        subject: The pull request.
        environments: The environments of the main branch.
        done: Keys of the commands that were done.
        now: The time.
    """

    command: Command
    index: int
    repository: str
    event: Comment
    fetched: Comment | None
    authority: Authority
    subject: Subject
    environments: frozenset[str]
    done: frozenset[str] = frozenset()
    now: datetime

    @property
    def key(self) -> str:
        """The key under which the command is done once, however often its event arrives."""
        return command_key(self.command, self.index, self.event.id, repository=self.repository)


def command_key(command: Command, index: int, comment: str, *, repository: str) -> str:
    """Return the key of a command: a comment's id and the place in it name it for good.

    A comment that was edited is refused.
    """
    named = command.sha if isinstance(command, Approve | BreakGlass) else ""
    parts = "\n".join((repository, comment, str(index), named))
    return hashlib.sha256(parts.encode()).hexdigest()


def run_key(run: int, *, repository: str) -> str:
    """Return the key of what a run of a workflow was started with, where that is no command."""
    return hashlib.sha256(f"{repository}\nrun-{run}".encode()).hexdigest()
