"""Which releases must go back, and to what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from modelyard.domain.promotion.actions import PlaceHold, RaiseIncident, RollBack
from modelyard.domain.promotion.facts import ReleaseFacts, is_bad
from modelyard.domain.promotion.incidents import stuck_key
from modelyard.domain.promotion.world import PastRelease, World
from modelyard.domain.specs.environment import Environment
from modelyard.domain.specs.release import Release


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Why a release must go, and whether its version may ever come back by itself."""

    reason: str
    holds: bool


def plan_holds(world: World) -> Iterator[PlaceHold]:
    """A hold for each version that some environment names and that was judged bad there."""
    found: dict[str, str] = {}
    for environment in world.catalog.environments.values():
        release = world.release(environment.name)
        fault = find_fault(world, environment, release) if release else None
        if release and fault and fault.holds and not world.is_held(release.version):
            found.setdefault(release.version, f"{environment.name}: {fault.reason}")
    for version, reason in found.items():
        yield PlaceHold(version=version, reason=reason)


def plan_rollbacks(world: World) -> Iterator[RollBack | RaiseIncident]:
    """Restore the last verified release wherever a faulty one is named, nearest to users first.

    Never a rollback of a rollback; never stopped by a freeze. Whatever joins an environment goes
    back before it, so that a run that dies in between still finds why.
    """
    for environment in _nearest_to_users_first(world):
        release = world.release(environment.name)
        fault = find_fault(world, environment, release) if release else None
        if release is None or fault is None:
            continue
        if not _leaves_a_rest(world, environment, release, fault):
            yield _way_back_or_incident(world, environment, release, fault)


def find_fault(world: World, environment: Environment, release: Release) -> Fault | None:
    """What is wrong with the release an environment names, if anything is known to be."""
    if environment.name in world.unknown:
        return None
    own = _own_fault(world, environment, release)
    host = world.catalog.environments.get(environment.joins or "")
    named = world.release(host.name) if host else None
    if own or host is None or named is None or named.version != release.version:
        return own
    joined = _own_fault(world, host, named)
    if joined is None or rollback_target(world, host, named) is None:
        return None
    return Fault(reason=f"{host.name}: {joined.reason}", holds=False)


def _leaves_a_rest(world: World, environment: Environment, release: Release, fault: Fault) -> bool:
    """Whether the version would stay, with nothing to say why it must go, in what joins this one.

    A hold says why. Without one, this environment waits until it is known what was seen there.
    """
    if fault.holds or world.is_held(release.version):
        return False
    joining = (e.name for e in world.catalog.environments.values() if e.joins == environment.name)
    left = (world.release(name) for name in world.unknown.intersection(joining))
    return any(each is not None and each.version == release.version for each in left)


def rollback_target(world: World, environment: Environment, release: Release) -> PastRelease | None:
    """Where a rollback of this release would go; None where a person must decide.

    The newest release the main branch named here, other than this one, that was verified here and
    is not on hold; nothing for a release that a rollback restored itself.
    """
    facts = world.facts_of(environment.name)
    if facts.rolled_back_to == release.identity:
        return None
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
        said = facts.verdict.reason if facts.verdict and facts.aborted is None else facts.aborted
        return Fault(reason=said or "taken out of traffic", holds=True)
    if hold := world.model_facts.holds.get(release.version):
        return Fault(reason=f"{release.version} is on hold: {hold.reason}", holds=False)
    if _is_overdue(world, environment, facts, release):
        limit = environment.rollout.decide_within_seconds
        return Fault(reason=f"still inconclusive after {limit} s", holds=False)
    return None


def _nearest_to_users_first(world: World) -> list[Environment]:
    path = [environment.name for environment in world.catalog.path_to_production()]
    place = {name: number for number, name in enumerate(path)}
    return sorted(
        world.catalog.environments.values(),
        key=lambda each: (each.joins is None, -place.get(each.name, -1)),
    )


def _way_back_or_incident(
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
    restored = world.facts_of(environment.name).rolled_back_to == release.identity
    why = "a rollback restored it" if restored else "no verified release to go back to"
    attempt = f" (attempt {release.attempt})" if release.attempt > 1 else ""
    where = f"{environment.name} names {release.version}{attempt} of {world.model}, {why}"
    return RaiseIncident(
        what=f"{where}, a person must decide: {fault.reason}",
        key=stuck_key(release, is_restored=restored),
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
