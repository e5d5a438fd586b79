"""The roles the outside world plays, and the one object it travels in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from modelyard.domain.canary.traffic import RolloutState, Sample
from modelyard.domain.promotion.change import Change
from modelyard.domain.promotion.pulls import PullRequest, Status
from modelyard.domain.promotion.world import PastRelease
from modelyard.domain.specs.environment import Environment
from modelyard.domain.specs.model import Model
from modelyard.domain.specs.release import Release
from modelyard.domain.specs.repository import Repository
from modelyard.errors import CannotAnswer


class PullRequests(Protocol):
    """The forge: proposes, reviews and merges changes of the main branch.

    Every call that changes something raises `Conflict` when the pull request or the branch moved
    under it, and may be repeated.
    """

    def list(self, *, every: bool = False) -> tuple[PullRequest, ...]:
        """Open pull requests by number; `every` adds merged and closed ones."""
        ...

    def unreadable(self) -> tuple[CannotAnswer, ...]:
        """What `list` leaves out: pull requests, and statuses of open ones, and why."""
        ...

    def get(self, number: int) -> PullRequest:
        """One pull request; `CannotAnswer` when there is none."""
        ...

    def files(self, number: int) -> tuple[str, ...]:
        """The paths it changes of the main branch, sorted."""
        ...

    def propose(self, change: Change, *, author: str, requester: str | None = None) -> PullRequest:
        """Open the change's pull request, or update the open one of its branch.

        A head whose documents already are the change's is left as it is, so approvals survive.
        """
        ...

    def close(self, number: int, *, by: str, reason: str) -> None:
        """Close without merging, with a comment; the branch goes away."""
        ...

    def merge(self, number: int, *, sha: str, by: str) -> str:
        """Merge if the head still is `sha`; returns the merge commit.

        Raises:
            Refused: A required status or approval is missing, or the merge conflicts.
            Conflict: The head is not `sha` any more.
        """
        ...

    def review(self, number: int, *, sha: str, by: str, approved: bool) -> None:
        """Record a review of the head commit; `Conflict` when the head is not `sha`."""
        ...

    def comment(self, number: int, *, by: str, body: str, marker: str | None = None) -> None:
        """Add a comment, or edit the one with the same marker if its body differs."""
        ...

    def set_status(self, sha: str, status: Status) -> None:
        """Say a check's word on a commit; the same word again changes nothing.

        Raises:
            CannotAnswer: What was said of the commit before cannot be read.
        """
        ...


class Phase(StrEnum):
    """Where a workflow is."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    ERROR = "Error"

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen."""
        return self in {Phase.SUCCEEDED, Phase.FAILED, Phase.ERROR}


@dataclass(frozen=True, kw_only=True)
class WorkflowStatus:
    """What the orchestrator says of one workflow.

    Args:
        name: The workflow's name.
        phase: `Error` is infrastructure: lost, killed, out of time; `Failed` is a step's own no.
        message: What the failing step said last.
        steps: Phase by step name.
    """

    name: str
    phase: Phase
    message: str = ""
    steps: Mapping[str, Phase] = field(default_factory=dict)


class Orchestrator(Protocol):
    """Runs rendered WorkflowTemplates."""

    def submit(self, name: str, *, template: str, parameters: Mapping[str, str]) -> None:
        """Start the workflow `name`, unless one of that name exists already."""
        ...

    def status(self, name: str) -> WorkflowStatus | None:
        """The workflow's status, or None when there is none of that name."""
        ...

    def wait(self, name: str, *, progress: Callable[[WorkflowStatus], None]) -> WorkflowStatus:
        """Follow until it is over, telling every change of a step."""
        ...


class Cluster(Protocol):
    """Where releases run."""

    def sync(
        self,
        release: Release,
        *,
        model: Model,
        environment: Environment,
        origin: PastRelease | None = None,
    ) -> None:
        """Make the servers of this release run, with the share its environment gives it now.

        `origin` is the commit that named it, written beside it where people look.
        """
        ...

    def remove(self, *, model: str, environment: Environment) -> None:
        """Stop what runs of this model in this environment."""
        ...

    def observe(self, *, model: str, environment: Environment) -> RolloutState | None:
        """What runs, or None when nothing does."""
        ...

    def advance(self, release: Release, *, environment: Environment) -> bool:
        """Take the rollout's next step, the last of which retires the release before it.

        False where the cluster takes its steps by itself.
        """
        ...

    def abort(self, release: Release, *, environment: Environment, reason: str) -> None:
        """Take the release out of traffic, if it still is the one that runs.

        The stable one answers everything again.
        """
        ...

    def hurry(self, *, model: str, environment: Environment) -> None:
        """Have whatever brings releases look at Git now; nothing where `sync` does all of it."""
        ...

    def note(self, release: Release, *, environment: Environment, what: str, well: bool) -> None:
        """Tell whoever looks at the servers what became of the release."""
        ...

    def changed(self, environments: Iterable[Environment], *, seconds: float) -> frozenset[str]:
        """Wait until something of a model moves, for so long at most; returns the models' names.

        Empty when the time is over; that nothing moved is not known then.
        """
        ...


class Metrics(Protocol):
    """Where serving counts come from."""

    def samples(self, model: str, *, since: datetime) -> tuple[Sample, ...]:
        """What the servers said since then, oldest first; empty is 'no data', never zero."""
        ...


class Clock(Protocol):
    """What time it is."""

    def now(self) -> datetime:
        """Now, in UTC, with a time zone."""
        ...


@dataclass(frozen=True, kw_only=True)
class Services:
    """The outside world, as one command sees it.

    Args:
        root: The checkout's root folder.
        repository: The settings of `modelyard.yaml`.
        pulls: The forge.
        orchestrator: What runs workflows.
        cluster: Where releases run.
        metrics: Where serving counts come from.
        clock: What time it is.
    """

    root: Path
    repository: Repository
    pulls: PullRequests
    orchestrator: Orchestrator
    cluster: Cluster
    metrics: Metrics
    clock: Clock
