"""What commands in comments need of a forge, as a Protocol, and the forge of the settings."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from modelyard.adapters.forge.hosted.runs import WorkflowRuns
from modelyard.domain.chatops.authority import Authority
from modelyard.domain.chatops.request import Comment
from modelyard.domain.people import Person
from modelyard.domain.specs.paths import SETTINGS
from modelyard.errors import CannotAnswer
from modelyard.ports import Services


def conversation_for(services: Services) -> Conversation:
    """Return the comments of the forge that `modelyard.yaml` chooses.

    Raises:
        CannotAnswer: The forge has no comments of people.
    """
    from modelyard.adapters.forge.hosted.conversation import HostedConversation
    from modelyard.adapters.forge.hosted.pulls import HostedPulls

    if isinstance(services.pulls, HostedPulls):
        return HostedConversation(pulls=services.pulls)
    raise CannotAnswer(
        f"{SETTINGS}: forge: {services.repository.forge} has no comments that people command by",
        hint="use the command line: modelyard hold, promote, rollback, freeze",
    )


class Reaction(StrEnum):
    """A reaction to a comment, by the name that forges give it."""

    SEEN = "eyes"
    DONE = "rocket"
    REFUSED = "confused"


class Conversation(Protocol):
    """The comments of a forge, and what it knows of their authors."""

    @property
    def runs(self) -> WorkflowRuns:
        """The runs of its workflows."""
        ...

    def fetch_comment(self, comment: str) -> Comment | None:
        """Return a comment by its id; None if there is none now."""
        ...

    def repository_id(self) -> str:
        """Return the repository's id on the forge, as events have it."""
        ...

    def recent_comments(self, since: datetime) -> Iterable[tuple[int, Comment]]:
        """Yield the comments on pull requests since then, with the pull request's number."""
        ...

    def ask_authority(self, person: Person, *, teams: Collection[str]) -> Authority:
        """Return a person's role, and those of these teams (`org/team`) that they are in."""
        ...

    def react(self, comment: str, reaction: Reaction) -> None:
        """Add the tool's reaction to a comment; the same again changes nothing."""
        ...

    def answer(self, number: int, *, body: str, marker: str) -> None:
        """Comment on a pull request, or edit the tool's own comment with this marker."""
        ...

    def open_issue(self, *, title: str, body: str) -> int:
        """Open an issue that people follow up; returns its number."""
        ...

    def review(self, number: int, *, sha: str, by: Person, approved: bool) -> None:
        """Record that a person approved a commit by a command, or took that back.

        Raises:
            Conflict: The head is not `sha` any more.
        """
        ...
