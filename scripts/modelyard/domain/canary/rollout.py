"""What the state of a rollout means: the facts after it, and whether it is judged or advances."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from modelyard.domain.canary.traffic import RolloutState
from modelyard.domain.machines.durations import LARGEST_STEP, is_measurable
from modelyard.domain.promotion.facts import ReleaseFacts, check_verified, is_bad
from modelyard.domain.server_fault import Blame
from modelyard.domain.specs.environment import Environment
from modelyard.domain.specs.release import Release
from modelyard.domain.verdict import Outcome

_BLAMED = {
    Blame.VERSION: "by its own fault",
    Blame.INFRASTRUCTURE: "by no fault of its own, and is tried again",
}


@dataclass(frozen=True, kw_only=True)
class ReleaseEvent:
    """Something that happened to a release.

    Args:
        what: The end of a sentence about the release, such as `is ready`.
        is_good: Whether it is good news.
    """

    what: str
    is_good: bool


def observed_facts(
    facts: ReleaseFacts, release: Release, state: RolloutState | None, now: datetime
) -> ReleaseFacts:
    """The facts after the servers were observed; those of another release are not kept."""
    if facts.release != release.identity:
        tried = facts.tried
        facts = ReleaseFacts(
            release=release.identity,
            version=release.version,
            artifact=release.artifact,
            seen_at=now,
            verified=facts.verified,
            withdrawn=facts.withdrawn,
            tried=tried if release.artifact in tried else (*tried, release.artifact),
            rolled_back_to=facts.rolled_back_to,
        )
    # Servers of the release before may still run: they say nothing about this one.
    mine = state if state is not None and state.release == release.identity else None
    ready = mine is not None and mine.ready
    return replace(
        _with_fault(facts, mine, now),
        healthy_since=(facts.healthy_since or now) if ready else None,
        aborted=facts.aborted or (mine.aborted if mine else None),
    )


def begin_again(facts: ReleaseFacts, *, now: datetime, even_since: datetime | None) -> ReleaseFacts:
    """The facts of a release of which nobody can tell how long it is observed.

    The clock jumped, or the machine slept. A release that is not decided yet begins anew: it soaks
    and is judged for as long as its environment asks, and it has its whole time until it must be
    decided. What was decided stays; only a soak that ends far in the future is begun again.
    """
    if facts.seen_at is None or facts.aborted is not None:
        return facts
    if facts.release in facts.verified:
        is_past = facts.healthy_since is None or facts.healthy_since <= now + LARGEST_STEP
        return facts if is_past else replace(facts, healthy_since=now)
    if facts.verdict is not None and facts.verdict.outcome is Outcome.FAIL:
        return facts
    moments = filter(None, (facts.seen_at, facts.healthy_since, facts.fault_since))
    if all(is_measurable(each, now=now, even_since=even_since) for each in moments):
        return facts
    return replace(
        facts,
        seen_at=now,
        healthy_since=None if facts.healthy_since is None else now,
        fault_since=None if facts.fault_since is None else now,
    )


def _with_fault(facts: ReleaseFacts, state: RolloutState | None, now: datetime) -> ReleaseFacts:
    """The facts with what keeps the release from being ready.

    What a version did stays its fault; so does what it was taken out of traffic for. But one that
    was verified here has shown that it can start. A message that differs only in numbers is no
    news.
    """
    known = facts.fault
    if facts.aborted is not None or (known and known.blame is Blame.VERSION):
        return facts
    if state is None or state.ready:
        return replace(facts, fault=None, fault_since=None)
    if state.fault is None:
        # Between two starts nothing is known; an abort by a judge or a person has no fault.
        return facts if state.aborted is None else replace(facts, fault=None, fault_since=None)
    fault = state.fault
    if facts.release in facts.verified:
        fault = replace(fault, blame=Blame.INFRASTRUCTURE)
    if known is not None and known.is_like(fault):
        fault = known
    return replace(facts, fault=fault, fault_since=facts.fault_since or now)


def with_verification(
    facts: ReleaseFacts,
    release: Release,
    environment: Environment,
    state: RolloutState | None,
    now: datetime,
) -> ReleaseFacts:
    """The facts with this release added to the verified ones, or removed once it is bad."""
    others = tuple(identity for identity in facts.verified if identity != release.identity)
    if is_bad(facts, release) and release.identity in facts.verified:
        lost = dict.fromkeys((*facts.withdrawn, release.identity))
        return replace(facts, verified=others, withdrawn=tuple(lost))
    if is_bad(facts, release):
        return facts
    if release.identity in facts.verified or check_verified(facts, release, environment, now):
        return facts
    full = state is not None and (environment.joins is not None or state.share >= 1)
    return replace(facts, verified=(*others, release.identity)) if full else facts


def is_judged_now(
    environment: Environment,
    release: Release,
    before: ReleaseFacts,
    facts: ReleaseFacts,
    state: RolloutState,
) -> bool:
    """Whether this pass asks the judge.

    - Not in the first pass that sees the release: there was no traffic before it.
    - Once more about a release found out of traffic: a killed pass may not have judged it.
    - Not after a `fail`, nor after a `pass` once there is no stable release left to compare with.
    """
    if not environment.rollout.judged or before.release != release.identity:
        return False
    if before.aborted is not None or release.identity in facts.verified:
        return False
    known = facts.verdict
    if known and (known.outcome is Outcome.FAIL or (known.passed and state.share >= 1)):
        return False
    return facts.healthy_since is not None or facts.aborted is not None


def may_advance(
    environment: Environment,
    release: Release,
    facts: ReleaseFacts,
    state: RolloutState | None,
    now: datetime,
) -> bool:
    """Whether the release may take the next step of its rollout.

    One that was verified here came back by a rollback: nobody judges it again, and each pause would
    leave requests to the one that has to go.
    """
    if environment.joins is not None or state is None or not state.ready or state.share >= 1:
        return False
    if state.release != release.identity or is_bad(facts, release):
        return False
    if release.identity in facts.verified:
        return True
    if _is_pausing(environment, facts, state, now):
        return False
    return not environment.rollout.judged or bool(facts.verdict and facts.verdict.passed)


def _is_pausing(
    environment: Environment, facts: ReleaseFacts, state: RolloutState, now: datetime
) -> bool:
    """Whether the steps taken so far ask for more time; lost health restarts the pauses."""
    if facts.healthy_since is None:
        return True
    pauses = [step.pause_seconds for step in environment.rollout.steps if step.share <= state.share]
    return (now - facts.healthy_since).total_seconds() < sum(pauses)


def release_events(
    release: Release, before: ReleaseFacts, after: ReleaseFacts
) -> Iterator[ReleaseEvent]:
    """What happened to the release between two observations."""
    if after.healthy_since and not (before.healthy_since and before.release == after.release):
        yield ReleaseEvent(what="is ready", is_good=True)
    if after.verdict and after.verdict != before.verdict:
        outcome, reason = after.verdict.outcome, after.verdict.reason
        yield ReleaseEvent(what=f"judged {outcome}: {reason}", is_good=outcome is not Outcome.FAIL)
    if after.fault is not None and not after.aborted and not after.fault.is_like(before.fault):
        what = f"cannot start, {_BLAMED[after.fault.blame]}: {after.fault.why}"
        yield ReleaseEvent(what=what, is_good=False)
    if after.aborted and not before.aborted:
        yield ReleaseEvent(what=f"is out of traffic: {after.aborted}", is_good=False)
    if after.verified != before.verified and release.identity in after.verified:
        yield ReleaseEvent(what="is verified", is_good=True)
