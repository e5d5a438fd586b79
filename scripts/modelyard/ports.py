"""The roles of the outside world as Protocols, and `Services`, which holds one of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from modelyard.domain.canary.traffic import RolloutState, Sample
from modelyard.domain.deployments import Deployment
from modelyard.domain.people import Person
from modelyard.domain.problem import Problem
from modelyard.domain.promotion.change import Change
from modelyard.domain.promotion.pulls import MergeAnswer, PullRequest, PullSummary, Status
from modelyard.domain.promotion.world import PastRelease
from modelyard.domain.sites import Site
from modelyard.domain.specs.environment import Environment
from modelyard.domain.specs.model import Model
from modelyard.domain.specs.release import Release
from modelyard.domain.specs.repository import Repository
from modelyard.errors import CannotAnswer


class PullRequests(Protocol):
    """The forge as the tool uses it: pull requests to the main branch, in the tool's own name.

    Every method that changes something raises `Conflict` if the pull request or its branch moved
    in the meantime. It may then be called again.
    """

    def one_listing(self) -> AbstractContextManager[None]:
        """Answer `open` and `closed` from one listing inside, kept current by what is done here.

        A forge that costs a request for each listing is asked once a pass, not once a model.
        """
        ...

    def open(self) -> tuple[PullRequest, ...]:
        """Return the open pull requests by number, with reviews, comments and statuses."""
        ...

    def closed(self) -> tuple[PullSummary, ...]:
        """Return the merged and closed pull requests by number, as the forge lists them."""
        ...

    def pulse(self) -> str:
        """Return what changes when people say something; empty where the forge's refs tell it all.

        It costs one request, which a forge that knows ETags answers for free while nothing changes.
        """
        ...

    def unreadable(self) -> tuple[CannotAnswer, ...]:
        """Return an error for each pull request, or status of an open one, that is left out."""
        ...

    def get(self, number: int) -> PullRequest:
        """Return one pull request.

        Raises:
            CannotAnswer: There is none with this number.
        """
        ...

    def was_allowed(self, pull: PullSummary) -> bool:
        """Whether the tool had allowed the merge of a merged one, by its status of the head."""
        ...

    def version_makers(self, main: str, *, model: str, version: str) -> Mapping[Person, str]:
        """Return what people did for a version, as the history of the commit `main` tells."""
        ...

    def propose(self, change: Change, *, requester: Person | None = None) -> PullRequest:
        """Open a pull request with the change, or update the open one of its branch.

        If the head has the same documents already, it is left as it is, so that approvals survive.

        Args:
            change: Branch, title, body and documents.
            requester: The person who asked for it, if any; their approval does not count.
        """
        ...

    def close(self, number: int, *, reason: str) -> None:
        """Close a pull request without merging, comment the reason and delete the branch."""
        ...

    def merge(self, number: int, *, sha: str, bypass: str | None = None) -> MergeAnswer:
        """Merge a pull request with the head `sha`, or ask for that.

        Args:
            number: The pull request.
            sha: The head commit that was judged.
            bypass: Why it is merged at once, without approvals; a rollback, or an admin's word.

        Raises:
            Refused: A required status or approval is missing, or the merge conflicts.
            Conflict: The head is not `sha` any more.
        """
        ...

    def comment(self, number: int, *, body: str, marker: str | None = None) -> None:
        """Add a comment, or edit the one with the same `marker` if its body differs."""
        ...

    def set_status(self, pull: PullRequest, status: Status) -> None:
        """Set a check's status on the pull request's head; the same status again changes nothing.

        It is about this head, this branch and this base: on another branch, or for another base,
        the same commit has not reported.

        Raises:
            CannotAnswer: The earlier statuses of the commit are unreadable.
        """
        ...

    def show_problems(self, pull: PullRequest, problems: Sequence[Problem]) -> None:
        """Show the problems of a head at their lines, where the forge can; for people alone.

        The same again changes nothing.
        """
        ...

    def show_deployment(self, wanted: Deployment) -> None:
        """Show what an environment has, where the forge has a page for that; for people alone.

        The same again changes nothing.
        """
        ...


class Desk(Protocol):
    """The forge as a person uses it at the command line, in their own name.

    On a hosted forge people act on its pages, with its rights: there, everything that would act in
    a person's name raises `Refused`, and the hint is the page's address.
    """

    def list(self, *, every: bool = False) -> tuple[PullRequest, ...]:
        """Return the open pull requests by number; with `every` also merged and closed ones."""
        ...

    def get(self, number: int) -> PullRequest:
        """Return one pull request; see `PullRequests.get`."""
        ...

    def address(self, number: int) -> str | None:
        """Return where people act on a pull request; None if by commands of the command line."""
        ...

    def files(self, number: int) -> tuple[str, ...]:
        """Return the paths that a pull request changes in the main branch, sorted."""
        ...

    def open_branch(self, branch: str, *, title: str, body: str, author: str) -> PullRequest:
        """Open a pull request for a pushed branch, or reword the open one.

        Raises:
            Refused: There is no such branch, or nothing in it that the main branch does not have.
        """
        ...

    def review(self, number: int, *, sha: str, by: str, approved: bool) -> None:
        """Record a person's review of the head commit.

        Raises:
            Conflict: The head is not `sha` any more.
        """
        ...

    def merge(self, number: int, *, sha: str, by: str) -> str:
        """Merge a pull request with the head `sha`, and return the merge commit."""
        ...

    def close(self, number: int, *, by: str, reason: str) -> None:
        """Close a pull request without merging, comment the reason and delete the branch."""
        ...

    def comment(self, number: int, *, by: str, body: str, marker: str | None = None) -> None:
        """Add a comment, or edit the one with the same `marker` if its body differs."""
        ...


class Phase(StrEnum):
    """The phase of a workflow or of a step."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    ERROR = "Error"

    @property
    def is_over(self) -> bool:
        """Whether the phase is final."""
        return self in {Phase.SUCCEEDED, Phase.FAILED, Phase.ERROR}


@dataclass(frozen=True, kw_only=True)
class WorkflowStatus:
    """The status of one workflow.

    Args:
        name: The workflow's name.
        phase: `Failed` if a step refused, `Error` if the infrastructure failed: the workflow was
            lost, killed, or out of time.
        message: The last output of the step that failed.
        steps: Phase by step name.
        log: Where the log of the step that failed is, if it is a file of this machine.
    """

    name: str
    phase: Phase
    message: str = ""
    steps: Mapping[str, Phase] = field(default_factory=dict)
    # Where to read more is no part of what happened.
    log: str = field(default="", compare=False)


class Orchestrator(Protocol):
    """Runs rendered WorkflowTemplates."""

    def submit(self, name: str, *, template: str, parameters: Mapping[str, str]) -> None:
        """Start the workflow `name`, unless one with that name exists."""
        ...

    def status(self, name: str) -> WorkflowStatus | None:
        """Return the workflow's status, or None if there is no workflow with that name."""
        ...

    def wait(self, name: str, *, progress: Callable[[WorkflowStatus], None]) -> WorkflowStatus:
        """Wait until the workflow is over; call `progress` whenever a step changes."""
        ...

    def pulse(self) -> str:
        """Return a text that changes when a workflow ends, where nothing else tells the watcher.

        It costs next to nothing: a watcher asks every two seconds.
        """
        ...


class Cluster(Protocol):
    """Runs releases and moves traffic between them."""

    def site(self, *, create: bool = False) -> Site | None:
        """Return the place where the servers run; None if it has no identity yet.

        Args:
            create: Give it one if it has none.
        """
        ...

    def sync(
        self,
        release: Release,
        *,
        model: Model,
        environment: Environment,
        origin: PastRelease | None = None,
    ) -> None:
        """Run the servers of a release, with its current share of the traffic.

        Args:
            release: The release.
            model: Its model.
            environment: Its environment.
            origin: The commit that has the release, recorded in the cluster for people.
        """
        ...

    def remove(self, *, model: str, environment: Environment) -> None:
        """Stop everything of a model in an environment."""
        ...

    def observe(self, *, model: str, environment: Environment) -> RolloutState | None:
        """Return the state of a model's rollout in an environment, or None if nothing runs."""
        ...

    def advance(self, release: Release, *, environment: Environment) -> bool:
        """Take the rollout's next step; the last step stops the release before it.

        Returns:
            False if the cluster takes its steps itself.
        """
        ...

    def abort(self, release: Release, *, environment: Environment, reason: str) -> None:
        """Take a release out of traffic, if it is still the one that runs.

        The stable release then answers all requests.
        """
        ...

    def hurry(self, *, model: str, environment: Environment) -> None:
        """Have Git read now by whatever deploys releases; does nothing if `sync` deploys them."""
        ...

    def note(self, release: Release, *, environment: Environment, what: str, is_good: bool) -> None:
        """Record in the cluster, for people, what happened to a release."""
        ...

    def tells_changes(self) -> bool:
        """Whether `changed` is told of every change, and names its model sooner or later."""
        ...

    def changed(self, environments: Iterable[Environment], *, seconds: float) -> frozenset[str]:
        """Wait until something changes, at most `seconds`, and return the models it belongs to.

        An empty answer means that the time is over. It does not mean that nothing changed.
        """
        ...


class Metrics(Protocol):
    """The source of serving counts."""

    def samples(self, model: str, *, since: datetime, keep: bool = True) -> tuple[Sample, ...]:
        """Return the servers' counts since then, oldest first; empty is 'no data', never zero.

        Args:
            model: The model.
            since: The time of the first sample.
            keep: Whether what is seen now is a look of the judge, which later answers have too.
                Prometheus looks on its own.
        """
        ...


class Clock(Protocol):
    """The current time."""

    def now(self) -> datetime:
        """Return the current time in UTC, with a time zone."""
        ...

    def even_since(self) -> datetime | None:
        """Return since when it runs evenly, where it was seen to jump; None if it never was.

        What is longer ago by this clock is longer or shorter ago than that.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Services:
    """The outside world, as one command uses it.

    Args:
        root: The checkout's root folder.
        repository: The settings of `modelyard.yaml`.
        pulls: The forge, as the tool uses it.
        desk: The forge, as a person uses it at the command line.
        orchestrator: Runs workflows.
        cluster: Runs releases.
        metrics: The source of serving counts.
        clock: The current time.
    """

    root: Path
    repository: Repository
    pulls: PullRequests
    desk: Desk
    orchestrator: Orchestrator
    cluster: Cluster
    metrics: Metrics
    clock: Clock
