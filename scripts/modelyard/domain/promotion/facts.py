"""Facts: what the watcher and people recorded, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from modelyard.domain.promotion.incidents import Incident
from modelyard.domain.server_fault import Blame, ServerFault
from modelyard.domain.specs.environment import Environment
from modelyard.domain.specs.release import Release
from modelyard.domain.verdict import Outcome, Verdict


@dataclass(frozen=True, kw_only=True)
class ReleaseFacts:
    """What the watcher observed of one model in one environment.

    Args:
        release: Identity of the release that was observed; None if there was none.
        version: Its version.
        artifact: Its artifact's digest.
        seen_at: When this release was first observed.
        healthy_since: When it became ready, without interruption since; None is not ready.
        verdict: The judge's last verdict on it.
        judged_at: When the judge gave it.
        aborted: Why it was taken out of traffic, if it was.
        aborted_at: When that was first observed.
        fault: What keeps its servers from being ready, or took it out of traffic, where a server
            or the cluster said so.
        fault_since: Since when, without a time in between at which it was ready.
        verified: Identities of releases that were verified here, oldest first.
        withdrawn: Identities of those that went bad after they were verified.
        tried: Artifacts that were ever released here; automation never releases one again.
        rolled_back_to: Identity of the release the last rollback restored.
    """

    release: str | None = None
    version: str | None = None
    artifact: str | None = None
    seen_at: datetime | None = None
    healthy_since: datetime | None = None
    verdict: Verdict | None = None
    judged_at: datetime | None = None
    aborted: str | None = None
    aborted_at: datetime | None = None
    fault: ServerFault | None = None
    fault_since: datetime | None = None
    verified: tuple[str, ...] = ()
    withdrawn: tuple[str, ...] = ()
    tried: tuple[str, ...] = ()
    rolled_back_to: str | None = None

    def was_verified(self, release: Release) -> bool:
        """Whether the release was verified here at one time, whatever became of it."""
        return release.identity in {*self.verified, *self.withdrawn}


@dataclass(frozen=True, kw_only=True)
class Hold:
    """A version that automation must not release again."""

    reason: str
    by: str
    since: datetime


LONGEST_OVERRIDE = timedelta(days=30)
"""A longer override would outlive the evidence that it was given for."""


@dataclass(frozen=True, kw_only=True)
class GateOverride:
    """A person's word that a version may be released although its gate is inconclusive.

    Args:
        reason: Why.
        by: Who.
        since: Since when.
        until: When it ends. What was released stays; what is still to come waits again.
        champion: The version that the verdict compares with; None where there was none.
        verdict: The reason of the verdict that was overridden.
    """

    reason: str
    by: str
    since: datetime
    until: datetime
    champion: str | None = None
    verdict: str = ""

    def covers(self, verdict: Verdict, champion: str | None, now: datetime) -> bool:
        """Whether it counts now for this very verdict of a comparison with this champion."""
        is_same = (self.champion, self.verdict) == (champion, verdict.reason)
        return is_same and now < self.until


@dataclass(frozen=True, kw_only=True)
class TrainingFacts:
    """The state of training one version.

    Args:
        attempt: The current attempt; `modelyard retrain` raises it.
        failed: Why training stopped for good, or None.
    """

    attempt: int = 1
    failed: str | None = None


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What was recorded of a model, in no environment.

    Args:
        holds: By version.
        overrides: By version, the last override of its gate.
        lifted: When a person last lifted a version's hold, which forgives what they closed before.
        training: By version.
        incidents: Oldest first.
        told: Keys of the notifications that were sent, oldest first.
    """

    holds: Mapping[str, Hold] = field(default_factory=dict)
    overrides: Mapping[str, GateOverride] = field(default_factory=dict)
    lifted: Mapping[str, datetime] = field(default_factory=dict)
    training: Mapping[str, TrainingFacts] = field(default_factory=dict)
    incidents: tuple[Incident, ...] = ()
    told: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class BuiltImage:
    """The image of a runtime lock, as what built it wrote down.

    Args:
        image: The image with its digest.
        at: When.
    """

    image: str
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Freeze:
    """A person's stop of all promotions into an environment.

    Args:
        reason: Why.
        by: Who.
        since: Since when.
        until: When it ends by itself; None if somebody has to end it.
    """

    reason: str
    by: str
    since: datetime
    until: datetime | None = None

    def is_over(self, now: datetime) -> bool:
        """Whether it ended by itself."""
        return self.until is not None and self.until <= now


@dataclass(frozen=True, kw_only=True)
class Unverified:
    """Why a release is not verified.

    Args:
        reason: Why, for a person.
        is_soaking: Whether it is healthy, and only has to stay so for a while.
    """

    reason: str
    is_soaking: bool = False


def check_verified(
    facts: ReleaseFacts, release: Release, environment: Environment, now: datetime
) -> Unverified | None:
    """Why the release is not verified, or None if it is.

    Verified: the facts are about this release, and it is ready, has soaked and passed its judge.
    """
    # Facts about another release prove nothing about this one.
    if facts.release != release.identity:
        return Unverified(reason="not seen running yet")
    if facts.aborted is not None:
        return Unverified(reason=f"aborted: {facts.aborted}")
    if facts.healthy_since is None:
        return Unverified(reason=_why_not_ready(facts.fault))
    if is_bad(facts, release) or (environment.rollout.judged and not _has_passed(facts, release)):
        return Unverified(reason="the judge has not passed it")
    soaked = facts.healthy_since + timedelta(seconds=environment.soak_seconds)
    if now < soaked:
        return Unverified(reason=f"soaking until {soaked.isoformat()}", is_soaking=True)
    return None


def _why_not_ready(fault: ServerFault | None) -> str:
    if fault is None:
        return "not ready"
    if fault.blame is Blame.VERSION:
        return f"not ready: {fault.why}"
    return f"not ready, by no fault of its own, and tried again: {fault.why}"


def _has_passed(facts: ReleaseFacts, release: Release) -> bool:
    # What a rollback restored was verified here before, and is not judged a second time.
    if facts.verdict is None:
        return release.identity in facts.verified
    return facts.verdict.passed


def is_own_fault(facts: ReleaseFacts) -> bool:
    """Whether a bad release's own behaviour is the reason, which puts its version on hold.

    It is where a judge or a person said so, or a server did. It is not where the cluster gave up.
    """
    if facts.verdict is not None and facts.verdict.outcome is Outcome.FAIL:
        return True
    return facts.fault is None or facts.fault.blame is Blame.VERSION


def is_bad(facts: ReleaseFacts, release: Release) -> bool:
    """Whether the judge failed this release, or it was taken out of traffic."""
    if facts.release != release.identity:
        return False
    # The cluster or a person can abort a rollout without a verdict.
    judged_bad = facts.verdict is not None and facts.verdict.outcome is Outcome.FAIL
    return judged_bad or facts.aborted is not None
