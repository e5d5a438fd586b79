"""The comments of a forge with an API, and what it knows of their authors."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime

from modelyard.adapters.forge.comment_api import CommentApi
from modelyard.adapters.forge.events import parse_comment
from modelyard.adapters.forge.hosted.pulls import HostedPulls
from modelyard.adapters.forge.hosted.runs import WorkflowRuns
from modelyard.adapters.git.remote_refs import Stale
from modelyard.domain.chatops.authority import Authority
from modelyard.domain.chatops.request import Comment
from modelyard.domain.people import Person

_OF_A_PULL = re.compile(r"/pulls?/([0-9]+)#")


@dataclass(frozen=True, kw_only=True)
class HostedConversation:
    """`operations.chatops.conversation.Conversation` on a forge with an API.

    Args:
        pulls: The forge as the tool uses it.
    """

    pulls: HostedPulls

    @property
    def runs(self) -> WorkflowRuns:
        """See `Conversation`."""
        return self.pulls.runs()

    def fetch_comment(self, comment: str) -> Comment | None:
        """See `Conversation`."""
        return self._comments.fetch_comment(comment)

    def repository_id(self) -> str:
        """See `Conversation`."""
        return str(int(self.pulls.api.get(self.pulls.reader.place)["id"]))

    def recent_comments(self, since: datetime) -> Iterator[tuple[int, Comment]]:
        """See `Conversation`."""
        path = f"{self.pulls.reader.place}/issues/comments"
        for row in self.pulls.api.pages(path, since=since.strftime("%Y-%m-%dT%H:%M:%SZ")):
            # Forges name the number in different fields. The address of the page is in all of them.
            found = _OF_A_PULL.search(row.get("html_url") or "")
            # One whose author is gone commands nothing, and keeps no other from its answer.
            if found and row.get("user"):
                yield int(found[1]), parse_comment(row)

    def ask_authority(self, person: Person, *, teams: Collection[str]) -> Authority:
        """See `Conversation`."""
        return self._comments.ask_authority(person, teams=teams)

    def react(self, comment: str, reaction: str) -> None:
        """See `Conversation`."""
        self._comments.react(comment, reaction)

    def answer(self, number: int, *, body: str, marker: str) -> None:
        """See `Conversation`."""
        self.pulls.comment(number, body=body, marker=marker)

    def open_issue(self, *, title: str, body: str) -> int:
        """See `Conversation`."""
        place = f"{self.pulls.reader.place}/issues"
        return int(self.pulls.api.send("POST", place, {"title": title, "body": body})["number"])

    def review(self, number: int, *, sha: str, by: Person, approved: bool) -> None:  # noqa: ARG002
        """See `Conversation`.

        A forge lets nobody review in another's name. The log of commands, which is written next,
        is the record: `HostedPulls` reads approvals from both.
        """
        head = self.pulls.get(number).head
        if head != sha:
            raise Stale(f"pull request {number} moved to {head}, {sha} is not its head any more")

    @property
    def _comments(self) -> CommentApi:
        return CommentApi(
            rest=self.pulls.api,
            repository=self.pulls.reader.repository,
            is_member=self.pulls.dialect.is_in_team,
            may_write_by_team=self.pulls.dialect.may_write_by_team,
        )
