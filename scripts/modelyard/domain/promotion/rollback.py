"""Which releases are rolled back, and to what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from modelyard.domain.promotion.actions import PlaceHold, RaiseIncident, RollBack
from modelyard.domain.promotion.facts import ReleaseFacts, is_bad, is_own_fault
from modelyard.domain.promotion.incidents import (
    Incident,
    infrastructure_key,
    pushed_rule_key,
    release_in_trouble,
    stuck_key,
    unreviewed_key,
)
from modelyard.domain.promotion.world import PastRelease, World
from modelyard.domain.review.placements import Unreviewed
from modelyard.domain.specs.environment import Environment
from modelyard.domain.specs.release import Release


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Why a release is rolled back, and whether its version is put on hold.

    Args:
        reason: Why.
        holds: Whether its version is put on hold.
        is_shared: Whether an environment that joins this one has the fault, too.
    """

    reason: str
    holds: bool
    is_shared: bool = True


def plan_holds(world: World) -> Iterator[PlaceHold]:
    """Hold each version that the judge failed, or that left traffic by its own fault, anywhere."""
    found: dict[str, str] = {}
    for environment in world.catalog.environments.values():
        release = world.release(environment.name)
        fault = find_fault(world, environment, release) if release else None
        if release is None or fault is None or not fault.holds or _is_lifted(world, release):
            continue
        if not world.is_held(release.version):
            # One hold a version, wherever it failed first: it counts in every environment.
            found.setdefault(release.version, f"{environment.name}: {fault.reason}")
    for version, reason in found.items():
        yield PlaceHold(version=version, reason=reason)


def _is_lifted(world: World, release: Release) -> bool:
    """Whether a person lifted the hold after what went wrong, which holds nothing again."""
    facts = world.facts_of(release.environment)
    lifted = world.model_facts.lifted.get(release.version)
    # Facts of version 0.1 have no time of the abort.
    since = facts.aborted_at or facts.judged_at or facts.seen_at
    return lifted is not None and since is not None and lifted >= since


def plan_rollbacks(world: World) -> Iterator[RollBack | RaiseIncident]:
    """Restore the last verified release in each environment with a faulty one.

    A rollback is never rolled back, and a freeze stops no rollback. People are notified of
    what nobody reviewed before it goes back: afterwards nothing would show it.
    """
    yield from (
        _unreviewed_incident(world, environment)
        for environment in world.catalog.environments.values()
        if find_unreviewed(world, environment)
    )
    for environment in _nearest_to_users_first(world):
        release = world.release(environment.name)
        if release is None:
            yield from _restore_removed(world, environment)
            continue
        fault = find_fault(world, environment, release)
        if fault is not None and not _would_strand(world, environment, release, fault):
            yield from _rollback_or_incident(world, environment, release, fault)


def find_unreviewed(world: World, environment: Environment) -> Unreviewed | None:
    """What in the environment came without a review, or was not verified one environment before.

    With facts that cannot be read nobody knows what was verified, and nothing is decided.
    """
    release, name = world.release(environment.name), environment.name
    if name in world.unknown:
        return None
    if release is None or name in world.unreviewed:
        return world.unreviewed.get(name)
    facts, before = world.facts_of(name), environment.promotes_from
    is_known_here = release.identity in {*facts.verified, facts.rolled_back_to}
    if before is None or before not in world.past or is_known_here or before in world.unknown:
        return None
    earlier = (past.release for past in world.past[before])
    source = world.release(before)
    source_facts = world.facts_of(before)
    if any(
        each and each.artifact == release.artifact and source_facts.was_verified(each)
        for each in (source, *earlier)
    ):
        return None
    newest = next(iter(world.past.get(name, ())), None)
    return Unreviewed(
        what=f"{release.version} was never verified in {before}, which comes before",
        commit=newest.commit if newest else release.identity,
        goes_back=world.unreviewed_goes_back,
    )


def plan_rule_incidents(world: World) -> Iterator[RaiseIncident]:
    """Tell people of each rule that a push changed, with one model if it concerns all of them."""
    for rule in world.pushed_rules:
        if rule.model is not None or world.is_first_model:
            names = ", ".join(sorted(rule.environments))
            waits = f". Promotions to {names} wait" if world.unreviewed_goes_back and names else ""
            yield RaiseIncident(
                what=f"{rule}{waits}. A person must decide: {rule.command}",
                key=pushed_rule_key(rule.file, rule.commit),
            )


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


def is_over(world: World, incident: Incident) -> bool:
    """Whether an incident about a release asks for nothing any more: it is gone, or well."""
    named = release_in_trouble(incident)
    if named is None or named[0] in world.unknown:
        return False
    environment, release = world.catalog.environments.get(named[0]), world.release(named[0])
    if environment is None or release is None:
        return True
    if (release.version, release.attempt) != named[1:]:
        return True
    is_started = world.facts_of(environment.name).fault_since is None
    return is_started and find_fault(world, environment, release) is None


def find_fault(world: World, environment: Environment, release: Release) -> Fault | None:
    """What is wrong with an environment's release; None if nothing is known to be."""
    if environment.name in world.unknown:
        return None
    # Its own fault comes first: that is the one which puts the version on hold.
    own = _own_fault(world, environment, release) or _unreviewed_fault(world, environment)
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
    if fault.holds or not fault.is_shared or world.is_held(release.version):
        return False
    joining = (e.name for e in world.catalog.environments.values() if e.joins == environment.name)
    unread = (world.release(name) for name in world.unknown.intersection(joining))
    return any(each is not None and each.version == release.version for each in unread)


def rollback_target(world: World, environment: Environment, release: Release) -> PastRelease | None:
    """The release that a rollback would restore; None if a person must decide.

    It is the newest other release of the environment that was reviewed, verified here, and is not
    on hold. Where the forge has lost its pull requests, verified is enough: nothing becomes that
    without a review.
    """
    facts, mine = world.facts_of(environment.name), release.identity
    # Also the release itself: a push may have changed its manifests alone.
    if find_unreviewed(world, environment) and (found := _newest_good(world, environment)):
        return found
    if facts.rolled_back_to == mine:
        return None  # a rollback restored this release: another one could go round in circles
    found = _newest_good(world, environment, without=mine)
    return found or _newest_good(world, environment, without=mine, is_reviewed=False)


def _newest_good(
    world: World, environment: Environment, *, without: str | None = None, is_reviewed: bool = True
) -> PastRelease | None:
    verified = world.facts_of(environment.name).verified
    for past in world.past.get(environment.name, ()):
        candidate = past.release
        if candidate.identity == without or world.is_held(candidate.version):
            continue
        if is_reviewed and not past.reviewed:
            continue
        if candidate.identity in verified:
            return past
    return None


def _restore_removed(world: World, environment: Environment) -> Iterator[RollBack]:
    """Restore a release that a push deleted."""
    found = find_unreviewed(world, environment)
    target = _newest_good(world, environment)
    if found and found.goes_back and target:
        yield RollBack(environment=environment.name, version="", target=target, reason=found.what)


def _unreviewed_fault(world: World, environment: Environment) -> Fault | None:
    """The fault of a release that nobody reviewed; None if it stays where it is."""
    found = find_unreviewed(world, environment)
    if found is None or not found.goes_back:
        return None
    if _newest_good(world, environment) is None:
        return None  # its incident says what a person can do
    return Fault(reason=found.what, holds=False, is_shared=False)


def _unreviewed_incident(world: World, environment: Environment) -> RaiseIncident:
    found, release = find_unreviewed(world, environment), world.release(environment.name)
    assert found is not None  # noqa: S101 - the caller asked
    target = _way_back_from(world, environment, found)
    has = f"{release.version} of {world.model}" if release else f"no release of {world.model}"
    if target is not None:
        follows = f"It goes back to {target.release.version}"
    else:
        follows = f"A person must decide: {unreviewed_command(world, environment)}"
    return RaiseIncident(
        what=f"{environment.name} has {has}, unreviewed: {found.what}. {follows}",
        key=unreviewed_key(environment.name, found.commit),
    )


def unreviewed_command(world: World, environment: Environment) -> str:
    """The command that comes next for what nobody reviewed; by most of them a person decides."""
    release, found = world.release(environment.name), find_unreviewed(world, environment)
    if found is not None and _way_back_from(world, environment, found) is not None:
        return f"modelyard reconcile {world.model}"
    version = f" {release.version}" if release else ""
    return f"modelyard promote {environment.name} {world.model}{version}"


def _way_back_from(world: World, environment: Environment, found: Unreviewed) -> PastRelease | None:
    return _newest_good(world, environment) if found.goes_back else None


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
) -> Iterator[RollBack | RaiseIncident]:
    target = rollback_target(world, environment, release)
    if target is not None:
        yield RollBack(
            environment=environment.name,
            version=release.version,
            target=target,
            reason=fault.reason,
        )
        return
    is_restored = world.facts_of(environment.name).rolled_back_to == release.identity
    why = "a rollback restored it" if is_restored else "there is no verified release to restore"
    attempt = f" (attempt {release.attempt})" if release.attempt > 1 else ""
    what = f"{environment.name} has {release.version}{attempt} of {world.model}: {fault.reason}"
    *again, out = stuck_commands(world, environment, release, fault)
    ways = "".join(f"{command} tries it again, " for command in again)
    yield RaiseIncident(
        what=f"{what}. A person must decide: {why}; {ways}{out} takes it out",
        key=stuck_key(release, is_restored=is_restored),
    )


def stuck_commands(
    world: World, environment: Environment, release: Release, fault: Fault
) -> tuple[str, ...]:
    """What a person can run for a faulty release that no rollback replaces by itself.

    The first is what comes next; the last takes the release out.
    """
    name = environment.name
    # A person's rollback holds the version, and may replace what another rollback restored.
    others = (each for each in world.past.get(name, ()) if each.release.version != release.version)
    verified = world.facts_of(name).verified
    goes_back = any(
        each.release.identity in verified and not world.is_held(each.release.version)
        for each in others
    )
    remove = "" if goes_back else " --remove"
    out = f"modelyard rollback {name} {world.model}{remove} --reason ..."
    # Nothing brings a held version back, and one is put on hold for what it did itself.
    if world.is_held(release.version) or (fault.holds and not _is_lifted(world, release)):
        return (out,)
    return f"modelyard promote {name} {world.model} {release.version}", out


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
