"""Facts: what somebody who sees the world wrote down, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from modelyard.domain.promotion.incidents import Incident
from modelyard.domain.specs.environment import Environment
from modelyard.domain.specs.release import Release
from modelyard.domain.verdict import Outcome, Verdict


@dataclass(frozen=True, kw_only=True)
class ReleaseFacts:
    """What was seen of one model in one environment.

    Args:
        release: Identity of the release that was seen, or None when nothing was.
        version: Its version.
        artifact: Its artifact's digest.
        seen_at: When this release was first seen being rolled out.
        healthy_since: Since when it is ready without interruption; None is not healthy.
        verdict: The judge's last word on it.
        judged_at: When the judge said so.
        aborted: Why it was taken out of traffic, if it was.
        verified: Identities of releases that were verified here, oldest first.
        tried: Artifacts that were ever released here; automation never brings one back.
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
    verified: tuple[str, ...] = ()
    tried: tuple[str, ...] = ()
    rolled_back_to: str | None = None


@dataclass(frozen=True, kw_only=True)
class Hold:
    """A version that automation must not bring back."""

    reason: str
    by: str
    since: datetime


@dataclass(frozen=True, kw_only=True)
class TrainingFacts:
    """What is known of the tries to train one version.

    Args:
        attempt: The attempt that counts now; `retrain` raises it.
        failed: Why training stopped for good, or None.
    """

    attempt: int = 1
    failed: str | None = None


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What was seen of a model outside any environment.

    Args:
        holds: By version.
        lifted: When a person last lifted a version's hold; earlier refusals no longer count.
        training: By version.
        incidents: Oldest first.
        told: Keys of what people were told already, oldest first; see `notifications`.
    """

    holds: Mapping[str, Hold] = field(default_factory=dict)
    lifted: Mapping[str, datetime] = field(default_factory=dict)
    training: Mapping[str, TrainingFacts] = field(default_factory=dict)
    incidents: tuple[Incident, ...] = ()
    told: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Freeze:
    """A stop of all promotions into an environment, by a person."""

    reason: str
    by: str
    since: datetime


def unverified_reason(
    facts: ReleaseFacts, release: Release, environment: Environment, now: datetime
) -> str | None:
    """Why the release is not verified, or None when it is.

    Verified: this very release was seen, is ready, soaked and judged well. Unknown is not healthy.
    What a rollback restored is not judged a second time: it was verified here before.
    """
    if facts.release != release.identity:
        return "not seen running yet"
    if facts.aborted is not None:
        return f"aborted: {facts.aborted}"
    if facts.healthy_since is None:
        return "not ready"
    if is_bad(facts, release) or (environment.rollout.judged and not _judged_well(facts, release)):
        return "the judge has not passed it"
    soaked = facts.healthy_since + timedelta(seconds=environment.soak_seconds)
    return f"soaking until {soaked.isoformat()}" if now < soaked else None


def _judged_well(facts: ReleaseFacts, release: Release) -> bool:
    if facts.verdict is None:
        return release.identity in facts.verified
    return facts.verdict.passed


def is_bad(facts: ReleaseFacts, release: Release) -> bool:
    """Whether this very release was judged bad or taken out of traffic."""
    if facts.release != release.identity:
        return False
    judged_bad = facts.verdict is not None and facts.verdict.outcome is Outcome.FAIL
    return judged_bad or facts.aborted is not None
