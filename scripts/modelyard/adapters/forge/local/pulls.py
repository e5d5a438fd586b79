"""The local forge as the tool uses it: every change is made in the bot's name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from modelyard.adapters.forge.local.forge import LocalForge
from modelyard.adapters.forge.makers import find_version_makers
from modelyard.adapters.git.repository import Git
from modelyard.domain.deployments import Deployment
from modelyard.domain.people import Person
from modelyard.domain.problem import Problem
from modelyard.domain.promotion.change import Change
from modelyard.domain.promotion.pulls import (
    MergeAnswer,
    Merged,
    PullRequest,
    PullSummary,
    Status,
)
from modelyard.errors import CannotAnswer


@dataclass(frozen=True, kw_only=True)
class LocalPulls:
    """`ports.PullRequests` on a bare repository.

    Args:
        git: The checkout.
        forge: The forge.
        bot: The tool's own name.
    """

    git: Git
    forge: LocalForge
    bot: str

    def one_listing(self) -> AbstractContextManager[None]:
        """See `ports.PullRequests`; one listing of refs serves `one_snapshot` already."""
        return nullcontext()

    def open(self) -> tuple[PullRequest, ...]:
        """See `ports.PullRequests`."""
        return self.forge.list()

    def closed(self) -> tuple[PullSummary, ...]:
        """See `ports.PullRequests`."""
        return self.forge.closed()

    def pulse(self) -> str:
        """See `ports.PullRequests`; reviews are refs here."""
        return ""

    def unreadable(self) -> tuple[CannotAnswer, ...]:
        """See `ports.PullRequests`."""
        return self.forge.unreadable()

    def get(self, number: int) -> PullRequest:
        """See `ports.PullRequests`."""
        return self.forge.get(number)

    def was_allowed(self, pull: PullSummary) -> bool:  # noqa: ARG002
        """See `ports.PullRequests`; this forge merges nothing else."""
        return True

    def version_makers(self, main: str, *, model: str, version: str) -> Mapping[Person, str]:
        """See `ports.PullRequests`."""
        return find_version_makers(self.git, main, model, version)

    def propose(self, change: Change, *, requester: Person | None = None) -> PullRequest:
        """See `ports.PullRequests`."""
        asked = None if requester is None else requester.login
        return self.forge.propose(change, author=self.bot, requester=asked)

    def close(self, number: int, *, reason: str) -> None:
        """See `ports.PullRequests`."""
        self.forge.close(number, by=self.bot, reason=reason)

    def merge(self, number: int, *, sha: str, bypass: str | None = None) -> MergeAnswer:  # noqa: ARG002
        """See `ports.PullRequests`; the guard lets a rollback pass, so `bypass` adds nothing."""
        return Merged(commit=self.forge.merge(number, sha=sha, by=self.bot))

    def comment(self, number: int, *, body: str, marker: str | None = None) -> None:
        """See `ports.PullRequests`."""
        self.forge.comment(number, by=self.bot, body=body, marker=marker)

    def set_status(self, pull: PullRequest, status: Status) -> None:
        """See `ports.PullRequests`."""
        self.forge.set_status(pull, status)

    def show_problems(self, pull: PullRequest, problems: Sequence[Problem]) -> None:
        """See `ports.PullRequests`; this forge has no pages."""

    def show_deployment(self, wanted: Deployment) -> None:
        """See `ports.PullRequests`; this forge has no pages."""
