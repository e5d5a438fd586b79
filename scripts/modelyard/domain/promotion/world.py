"""Everything that the plan for one model depends on, at one instant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from modelyard.domain.people import Person
from modelyard.domain.promotion.change import Branch, Purpose
from modelyard.domain.promotion.facts import (
    Freeze,
    GateOverride,
    Hold,
    ModelFacts,
    ReleaseFacts,
    TrainingFacts,
)
from modelyard.domain.promotion.pulls import PullRequest, Pulls, PullState, PullSummary, is_declined
from modelyard.domain.review.placements import Unreviewed
from modelyard.domain.review.pushed_rules import PushedRule
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.environment import Environment
from modelyard.domain.specs.names import workflow_name
from modelyard.domain.specs.record import Record
from modelyard.domain.specs.release import Release
from modelyard.domain.verdict import Outcome, Verdict


@dataclass(frozen=True, kw_only=True)
class Run:
    """The workflow of a version's current attempt.

    Args:
        is_over: Whether it ended.
        outcome: The record it made, if it made one.
        message: The last line of a failed step.
        crash: The defect of the tool that a step met, if it met one.
        steps: Names of the steps that run now.
    """

    is_over: bool
    outcome: Record | None = None
    message: str = ""
    crash: str | None = None
    steps: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PastRelease:
    """A release of some commit of the main branch.

    Args:
        release: The release.
        commit: The commit.
        pull: The number of the pull request that the forge merged as this commit, if it did.
        reviewed: Whether a merged pull request brought it; only such a release is restored.
    """

    release: Release
    commit: str
    pull: int | None = None
    reviewed: bool = True


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """The documents at the head of one of the tool's pull requests.

    Args:
        record: The record it adds, if it can be read.
        release: The release it pins, if it can be read.
        is_current: Whether the tool would propose the same head, title and page for them now.
    """

    record: Record | None = None
    release: Release | None = None
    is_current: bool = False


@dataclass(frozen=True, kw_only=True)
class World:
    """The world of one model.

    Args:
        model: The model's name.
        catalog: The specs of the main branch.
        now: The time, in UTC.
        bot: The tool's own name on the forge.
        facts: By environment.
        unknown: Environments with facts that cannot be read; nothing is decided there.
        model_facts: Holds, training, incidents.
        freezes: By environment, those that are not over.
        open_pulls: The model's open pull requests, by number.
        closed_pulls: The merged and closed ones, by number.
        proposals: What open and declined pull requests hold that add a record or a release, by
            number.
        runs: The current attempt's workflow, by version without a record.
        past: The main branch's releases by environment, newest first, with the current one.
        aliases: The registry's aliases: version by alias.
        comparisons: The gate's verdicts by (version, champion) that the records do not have.
        version_makers: What people did for versions that are released or proposed, by version;
            they approve none of its releases.
        unreviewed: Environments that hold a release, or none, without a pull request behind it.
        unreviewed_goes_back: Whether such a release is rolled back; otherwise people are told.
        landed: Numbers of pull requests whose changes a push brought to the main branch, and
            that are not recorded as merged.
        pushed_rules: Rules that concern the model, and that a push changed.
        is_first_model: Whether it is the first of all models by name, which tells people of rules
            that concern all of them.
        is_inquired: Whether pull requests and facts did not show that what is there now is
            reviewed, and the history of the main branch was asked.
        unreadable: Which spec cannot be read, and why; the catalog is without it. What it says
            nobody knows, so nothing is planned but holds and rollbacks.
    """

    model: str
    catalog: Catalog
    now: datetime
    bot: str
    facts: Mapping[str, ReleaseFacts] = field(default_factory=dict)
    unknown: frozenset[str] = frozenset()
    model_facts: ModelFacts = field(default_factory=ModelFacts)
    freezes: Mapping[str, Freeze] = field(default_factory=dict)
    open_pulls: tuple[PullRequest, ...] = ()
    closed_pulls: tuple[PullSummary, ...] = ()
    proposals: Mapping[int, Proposal] = field(default_factory=dict)
    runs: Mapping[str, Run] = field(default_factory=dict)
    past: Mapping[str, tuple[PastRelease, ...]] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    comparisons: Mapping[tuple[str, str], Verdict] = field(default_factory=dict)
    version_makers: Mapping[str, Mapping[Person, str]] = field(default_factory=dict)
    unreviewed: Mapping[str, Unreviewed] = field(default_factory=dict)
    unreviewed_goes_back: bool = True
    landed: frozenset[int] = frozenset()
    pushed_rules: tuple[PushedRule, ...] = ()
    is_first_model: bool = False
    is_inquired: bool = False
    unreadable: str | None = None

    def release(self, environment: str) -> Release | None:
        """The model's release in an environment."""
        return self.catalog.releases.get((environment, self.model))

    def record(self, version: str) -> Record | None:
        """The version's record on the main branch."""
        return self.catalog.records.get((self.model, version))

    def current_override(
        self, version: str, verdict: Verdict, champion: str | None
    ) -> GateOverride | None:
        """The override that counts now for this verdict of a comparison with a champion."""
        known = self.model_facts.overrides.get(version)
        counts = known is not None and known.covers(verdict, champion, self.now)
        return known if counts else None

    def workflow_name(self, version: str) -> str:
        """Name of the workflow of the version's current attempt."""
        known = self.model_facts.training.get(version, TrainingFacts())
        digest = self.catalog.digests[self.model, version]
        return workflow_name(self.model, version, spec=digest, attempt=known.attempt)

    def facts_of(self, environment: str) -> ReleaseFacts:
        """The facts of an environment; empty if there are none."""
        return self.facts.get(environment, ReleaseFacts())

    def was_tried(self, environment: str, artifact: str) -> bool:
        """Whether the artifact was ever released there, as the facts or the main branch show."""
        # The main branch has what no watcher saw, and the facts what is too old to be read from it.
        # What nobody reviewed was never tried: a push must not keep a version out.
        past = (each for each in self.past.get(environment, ()) if each.reviewed)
        released = {each.release.artifact for each in past}
        return artifact in released or artifact in self.facts_of(environment).tried

    def is_held(self, version: str) -> bool:
        """Whether the version is on hold."""
        return version in self.model_facts.holds

    @property
    def retired_since(self) -> datetime | None:
        """When the last hold retired the model; None while it runs, or a version may come.

        It was verified somewhere, so that a model on its way to its first release is none.
        """
        runs = any(model == self.model for _, model in self.catalog.releases)
        if runs or self.unknown or self.unreviewed or self.unreadable is not None:
            return None
        versions = [each.version for each in self.catalog.versions_of(self.model)]
        was_verified = any(each.verified for each in self.facts.values())
        if not was_verified or not all(map(self._is_stopped, versions)):
            return None
        return max((hold.since for hold in self.model_facts.holds.values()), default=None)

    def _is_stopped(self, version: str) -> bool:
        record = self.record(version)
        failed = record is not None and record.verdict.outcome is Outcome.FAIL
        return failed or self.is_held(version)

    def open_pull(self, branch: str) -> PullRequest | None:
        """The open pull request of a branch."""
        return next((p for p in self.open_pulls if p.branch == branch), None)

    def proposal_of(self, pull: PullSummary) -> Proposal:
        """What a pull request holds; empty if nothing of it can be read."""
        return self.proposals.get(pull.number, Proposal())

    def requested_promotion(self, environment: Environment) -> PullRequest | None:
        """The open promotion into the environment that a person asked for, if there is one."""
        branch = Branch(purpose=Purpose.PROMOTE, subject=environment.name, model=self.model)
        pull = self.open_pull(str(branch))
        # Its author is the bot, which opens it for them.
        return pull if pull and pull.requester is not None else None

    @property
    def pulls(self) -> tuple[PullSummary, ...]:
        """All pull requests of the model, by number."""
        return Pulls(open=self.open_pulls, closed=self.closed_pulls).every

    @property
    def declined_pulls(self) -> tuple[PullSummary, ...]:
        """The pull requests that a person closed without merging them."""
        closed = (p for p in self.closed_pulls if p.state is PullState.CLOSED)
        return tuple(p for p in closed if is_declined(p, bot=self.bot))

    def with_holds(self, holds: Mapping[str, str]) -> World:
        """The same world with these versions on hold by the tool, for the given reasons."""
        new = {v: Hold(reason=why, by=self.bot, since=self.now) for v, why in holds.items()}
        held = {**new, **self.model_facts.holds}  # a hold that is there keeps its reason
        return replace(self, model_facts=replace(self.model_facts, holds=held))

    def freeze_reason(self, environment: Environment) -> str | None:
        """Why nothing may be promoted into the environment now; None if it is not frozen."""
        if freeze := self.freezes.get(environment.name):
            until = f" until {freeze.until.isoformat()}" if freeze.until else ""
            return f"frozen by {freeze.by}{until}: {freeze.reason}"
        for window in environment.freeze_windows:
            if window.since <= self.now < window.until:
                return f"frozen until {window.until.isoformat()}: {window.reason}"
        return None
