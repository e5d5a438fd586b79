"""Which releases must go back, and to what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from modelyard.domain.actions import PlaceHold, RaiseIncident, RollBack
from modelyard.domain.environment import Environment
from modelyard.domain.facts import ReleaseFacts, is_bad
from modelyard.domain.release import Release
from modelyard.domain.world import PastRelease, World


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Why a release must go, and whether its version may ever come back by itself."""

    reason: str
    holds: bool


def rollbacks(world: World) -> Iterator[PlaceHold | RollBack | RaiseIncident]:
    """Hold what was judged bad, and restore the last verified release wherever it is named.

    Never a rollback of a rollback; never stopped by a freeze.
    """
    for environment in world.catalog.environments.values():
        release = world.release(environment.name)
        fault = fault_of(world, environment, release) if release else None
        if release is None or fault is None:
            continue
        if fault.holds and not world.is_held(release.version):
            yield PlaceHold(version=release.version, reason=f"{environment.name}: {fault.reason}")
        yield _way_back(world, environment, release, fault)


def fault_of(world: World, environment: Environment, release: Release) -> Fault | None:
    """What is wrong with the release an environment names, if anything is."""
    facts = world.facts_of(environment.name)
    if is_bad(facts, release):
        said = facts.verdict.reason if facts.verdict and facts.aborted is None else facts.aborted
        return Fault(reason=said or "taken out of traffic", holds=True)
    if hold := world.model_facts.holds.get(release.version):
        return Fault(reason=f"{release.version} is on hold: {hold.reason}", holds=False)
    if _is_overdue(world, environment, facts, release):
        limit = environment.rollout.decide_within_seconds
        return Fault(reason=f"still inconclusive after {limit} s", holds=False)
    return None


def last_verified(world: World, environment: Environment, release: Release) -> PastRelease | None:
    """The newest release named before this one that was verified here and is not on hold."""
    verified = world.facts_of(environment.name).verified
    for past in world.past.get(environment.name, ()):
        candidate = past.release
        if candidate.identity == release.identity or world.is_held(candidate.version):
            continue
        if candidate.identity in verified:
            return past
    return None


def _way_back(
    world: World, environment: Environment, release: Release, fault: Fault
) -> RollBack | RaiseIncident:
    where = f"{environment.name} names {release.version} of {world.model}: {fault.reason}"
    if world.facts_of(environment.name).rolled_back_to == release.identity:
        return RaiseIncident(what=f"{where}; it was restored by a rollback, a person must decide")
    target = last_verified(world, environment, release)
    if target is None:
        return RaiseIncident(what=f"{where}; no verified release to go back to")
    return RollBack(
        environment=environment.name,
        version=release.version,
        target=target,
        reason=fault.reason,
    )


def _is_overdue(
    world: World, environment: Environment, facts: ReleaseFacts, release: Release
) -> bool:
    if not environment.rollout.judged or facts.release != release.identity:
        return False
    if facts.seen_at is None or release.identity in facts.verified:
        return False
    if facts.verdict is not None and facts.verdict.passed:
        return False
    waited = (world.now - facts.seen_at).total_seconds()
    return waited > environment.rollout.decide_within_seconds
