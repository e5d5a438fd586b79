"""What a forge's page of environments shows: which release an environment has, and how it does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from modelyard.domain.promotion.facts import is_bad
from modelyard.domain.promotion.promote import why_unverified
from modelyard.domain.promotion.world import PastRelease, World


class DeploymentState(StrEnum):
    """How a release does in an environment, in the words of forges."""

    IN_PROGRESS = "in_progress"
    SUCCESS = "success"
    FAILURE = "failure"
    INACTIVE = "inactive"


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """A release that the main branch pins, as the forge is to show it.

    Args:
        model: The model.
        environment: The environment.
        version: The version.
        release: The identity of the release.
        commit: The commit of the main branch that brought it.
        pull: Its pull request, if it had one.
        state: How it does.
        why: One sentence.
        is_production: Whether it is the last environment of the path.
        bad: Versions on hold: an earlier release of one failed, others are only replaced.
    """

    model: str
    environment: str
    version: str
    release: str
    commit: str
    pull: int | None
    state: DeploymentState
    why: str
    is_production: bool
    bad: frozenset[str] = field(default=frozenset())


def find_deployments(world: World, environments: Iterable[str]) -> tuple[Deployment, ...]:
    """Return what the forge is to show for a model; nothing where facts are unknown.

    A release that no merged pull request brought is no deployment: it is rolled back. Where a
    release was taken out, the last one is inactive.
    """
    found = (_deployment(world, name) for name in environments if name not in world.unknown)
    return tuple(each for each in found if each is not None)


def _deployment(world: World, environment: str) -> Deployment | None:
    release, past = world.release(environment), world.past.get(environment, ())
    if release is None and past and environment not in world.unreviewed:
        return _ended(world, past[0])
    origin = _origin(past)
    if release is None or origin is None or origin.release.identity != release.identity:
        return None
    why, facts = why_unverified(world, release), world.facts_of(environment)
    if is_bad(facts, release) or world.is_held(release.version):
        state = DeploymentState.FAILURE
    else:
        state = DeploymentState.IN_PROGRESS if why else DeploymentState.SUCCESS
    production = world.catalog.production
    return Deployment(
        model=world.model,
        environment=environment,
        version=release.version,
        release=release.identity,
        commit=origin.commit,
        pull=origin.pull,
        state=state,
        why=f"{release.version}: {why.reason if why else 'verified'}",
        is_production=production is not None and production.name == environment,
        bad=frozenset(world.model_facts.holds),
    )


def _ended(world: World, last: PastRelease) -> Deployment:
    """What a retired model has, and one whose release was bad with nothing to go back to."""
    release, production = last.release, world.catalog.production
    return Deployment(
        model=world.model,
        environment=release.environment,
        version=release.version,
        release=release.identity,
        commit=last.commit,
        pull=last.pull,
        state=DeploymentState.INACTIVE,
        why=f"{release.version} was taken out",
        is_production=production is not None and production.name == release.environment,
        bad=frozenset(world.model_facts.holds),
    )


def _origin(past: tuple[PastRelease, ...]) -> PastRelease | None:
    """The commit that brought the current release: a later one may only render it again."""
    if not past or not past[0].reviewed:
        return None
    first = past[0]
    for each in past:
        if each.release.identity != first.release.identity:
            break
        first = each
    return first
