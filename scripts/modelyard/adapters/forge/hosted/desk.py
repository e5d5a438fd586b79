"""A forge with an API as a person uses it at the command line: to read, and to be sent there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from modelyard.adapters.forge.hosted.pulls import HostedPulls
from modelyard.domain.promotion.pulls import PullRequest
from modelyard.errors import Refused


@dataclass(frozen=True, kw_only=True)
class HostedDesk:
    """`ports.Desk` on a forge where people act on its pages, with its rights.

    Args:
        pulls: The forge as the tool uses it.
    """

    pulls: HostedPulls

    def list(self, *, every: bool = False) -> tuple[PullRequest, ...]:
        """See `ports.Desk`; closed ones come without what was said of them, and who ended them."""
        still_open = self.pulls.open()
        if not every:
            return still_open
        closed = (
            PullRequest(**{name: getattr(each, name) for name in each.__dataclass_fields__})
            for each in self.pulls.reader.list_closed()
        )
        return tuple(sorted((*closed, *still_open), key=lambda pull: pull.number))

    def get(self, number: int) -> PullRequest:
        """See `ports.Desk`."""
        return self.pulls.get(number)

    def address(self, number: int) -> str | None:
        """See `ports.Desk`."""
        return self.pulls.dialect.page(number)

    def files(self, number: int) -> tuple[str, ...]:
        """See `ports.Desk`."""
        place = self.pulls.reader.place
        rows = self.pulls.api.pages(f"{place}/pulls/{number}/files")
        names = {name for row in rows for name in (row["filename"], row.get("previous_filename"))}
        return tuple(sorted(name for name in names if name))

    def open_branch(self, branch: str, *, title: str, body: str, author: str) -> PullRequest:  # noqa: ARG002
        """See `ports.Desk`."""
        self._send(f"open a pull request for {branch} on", self.pulls.dialect.page(None))

    def review(self, number: int, *, sha: str, by: str, approved: bool) -> None:  # noqa: ARG002
        """See `ports.Desk`."""
        self._send(f"review {sha[:10]} on", self.pulls.dialect.page(number))

    def merge(self, number: int, *, sha: str, by: str) -> str:  # noqa: ARG002
        """See `ports.Desk`."""
        self._send("merge it on", self.pulls.dialect.page(number))

    def close(self, number: int, *, by: str, reason: str) -> None:  # noqa: ARG002
        """See `ports.Desk`."""
        self._send("close it on", self.pulls.dialect.page(number))

    def comment(self, number: int, *, by: str, body: str, marker: str | None = None) -> None:  # noqa: ARG002
        """See `ports.Desk`."""
        self._send("comment on", self.pulls.dialect.page(number))

    def _send(self, what: str, page: str) -> NoReturn:
        why = "this forge is used by people on its own pages, in their own names"
        raise Refused(why, hint=f"{what} {page}")
