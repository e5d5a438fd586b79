"""Which releases are rolled back, and to what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from modelyard.domain.promotion.actions import PlaceHold, RaiseIncident, RollBack
from modelyard.domain.promotion.facts import ReleaseFacts, is_bad, is_own_fault
from modelyard.domain.promotion.incidents import infrastructure_key, stuck_key
from modelyard.domain.promotion.world import PastRelease, World
from modelyard.domain.specs.environment import Environment
from modelyard.domain.specs.release import Release


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Why a release is rolled back, and whether its version is put on hold."""

    reason: str
    holds: bool


def plan_holds(world: World) -> Iterator[PlaceHold]:
    """Hold each version that the judge failed, or that left traffic by its own fault, anywhere."""
    found: dict[str, str] = {}
    for environment in world.catalog.environments.values():
        release = world.release(environment.name)
        fault = find_fault(world, environment, release) if release else None
        if release and fault and fault.holds and not world.is_held(release.version):
            # One hold a version, wherever it failed first: it counts in every environment.
            found.setdefault(release.version, f"{environment.name}: {fault.reason}")
    for version, reason in found.items():
        yield PlaceHold(version=version, reason=reason)


def plan_rollbacks(world: World) -> Iterator[RollBack | RaiseIncident]:
    """Restore the last verified release in each environment with a faulty one.

    A rollback is never rolled back, and a freeze stops no rollback.
    """
    for environment in _nearest_to_users_first(world):
        release = world.release(environment.name)
        fault = find_fault(world, environment, release) if release else None
        if release is None or fault is None:
            continue
        if not _would_strand(world, environment, release, fault):
            yield _rollback_or_incident(world, environment, release, fault)


def plan_infrastructure_incidents(world: World) -> Iterator[RaiseIncident]:
    """Tell people of each release whose servers cannot start for longer than they may take.

    No version is blamed: its servers are started again until they are ready.
    """
    for environment in world.catalog.environments.values():
        release = world.release(environment.name)
        if release is None or environment.name in world.unknown:
            continue
        facts = world.facts_of(environment.name)
        if facts.release != release.identity or is_bad(facts, release):
            continue
        since, fault = facts.fault_since, facts.fault
        limit = environment.rollout.ready_within_seconds
        if since and fault and (world.now - since).total_seconds() > limit:
            yield RaiseIncident(
                what=f"{environment.name} cannot start {release.version} of {world.model}, by no"
                f" fault of the version; it is tried again: {fault.why}",
                key=infrastructure_key(release, since),
            )


def find_fault(world: World, environment: Environment, release: Release) -> Fault | None:
    """What is wrong with an environment's release; None if nothing is known to be."""
    if environment.name in world.unknown:
        return None
    # Its own fault comes first: that is the one which puts the version on hold.
    own = _own_fault(world, environment, release)
    production = world.catalog.environments.get(environment.joins or "")
    joined = world.release(production.name) if production else None
    if own or production is None or joined is None or joined.version != release.version:
        return own
    fault = _own_fault(world, production, joined)
    if fault is None or rollback_target(world, production, joined) is None:
        return None
    return Fault(reason=f"{production.name}: {fault.reason}", holds=False)


def _would_strand(world: World, environment: Environment, release: Release, fault: Fault) -> bool:
    """Whether a rollback here would leave the version in an environment that joins this one.

    That environment finds the fault in this one, or in a hold. If its facts cannot be read and
    there is no hold, this one waits: after its rollback, nothing would show the fault.
    """
    if fault.holds or world.is_held(release.version):
        return False
    joining = (e.name for e in world.catalog.environments.values() if e.joins == environment.name)
    unread = (world.release(name) for name in world.unknown.intersection(joining))
    return any(each is not None and each.version == release.version for each in unread)


def rollback_target(world: World, environment: Environment, release: Release) -> PastRelease | None:
    """The release that a rollback would restore; None if a person must decide.

    It is the newest other release of the environment that was verified here and is not on hold.
    """
    facts = world.facts_of(environment.name)
    if facts.rolled_back_to == release.identity:
        return None  # a rollback restored this release: another one could go round in circles
    for past in world.past.get(environment.name, ()):
        candidate = past.release
        if candidate.identity == release.identity or world.is_held(candidate.version):
            continue
        if candidate.identity in facts.verified:
            return past
    return None


def _own_fault(world: World, environment: Environment, release: Release) -> Fault | None:
    facts = world.facts_of(environment.name)
    if is_bad(facts, release):
        why = facts.verdict.reason if facts.verdict and facts.aborted is None else facts.aborted
        return Fault(reason=why or "taken out of traffic", holds=is_own_fault(facts))
    if hold := world.model_facts.holds.get(release.version):
        return Fault(reason=f"{release.version} is on hold: {hold.reason}", holds=False)
    if _is_overdue(world, environment, facts, release):
        limit = environment.rollout.decide_within_seconds
        return Fault(reason=f"still inconclusive after {limit} s", holds=False)
    return None


def _nearest_to_users_first(world: World) -> list[Environment]:
    # What joins an environment comes before it, so that a run that is killed in between still
    # finds the fault that the two share.
    path = [environment.name for environment in world.catalog.path_to_production()]
    place = {name: number for number, name in enumerate(path)}
    return sorted(
        world.catalog.environments.values(),
        key=lambda each: (each.joins is None, -place.get(each.name, -1)),
    )


def _rollback_or_incident(
    world: World, environment: Environment, release: Release, fault: Fault
) -> RollBack | RaiseIncident:
    target = rollback_target(world, environment, release)
    if target is not None:
        return RollBack(
            environment=environment.name,
            version=release.version,
            target=target,
            reason=fault.reason,
        )
    is_restored = world.facts_of(environment.name).rolled_back_to == release.identity
    why = "a rollback restored it" if is_restored else "there is no verified release to restore"
    attempt = f" (attempt {release.attempt})" if release.attempt > 1 else ""
    what = f"{environment.name} has {release.version}{attempt} of {world.model}: {fault.reason}"
    return RaiseIncident(
        what=f"{what}. A person must decide: {why}",
        key=stuck_key(release, is_restored=is_restored),
    )


def _is_overdue(
    world: World, environment: Environment, facts: ReleaseFacts, release: Release
) -> bool:
    if not environment.rollout.judged or facts.release != release.identity:
        return False
    if facts.seen_at is None or release.identity in facts.verified:
        return False
    if facts.verdict is not None and facts.verdict.passed:
        return False  # it still steps through its shares, which has no deadline
    waited = (world.now - facts.seen_at).total_seconds()
    return waited > environment.rollout.decide_within_seconds
