"""Environments: they form one path to production, and their rollouts can work."""

from __future__ import annotations

from collections.abc import Iterator

from modelyard.domain.checks.names import find_circles
from modelyard.domain.problem import Path, Problem
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.environment import Environment
from modelyard.domain.specs.paths import environment_file


def environments_form_one_path(catalog: Catalog) -> Iterator[Problem]:
    """One environment comes first, and each other one follows exactly one."""
    found = catalog.environments
    followers: dict[str | None, str] = {}
    for name, environment in sorted(found.items()):
        before = environment.promotes_from
        if before is not None and before not in found:
            yield _missing(name, "promotes_from", before)
        elif before in followers:
            other = followers[before]
            both = f"promote from {before}" if before else "come first (no promotes_from)"
            message = f"{other} and {name} both {both}; environments must form one path"
            yield _problem(name, ("promotes_from",), message, other)
        else:
            followers[before] = name
    # In a circle each environment follows exactly one, so the loop above does not find it.
    yield from _circles(catalog)


def joined_environments_exist(catalog: Catalog) -> Iterator[Problem]:
    """An environment joins another that exists and joins none itself."""
    for name, environment in catalog.environments.items():
        joins = environment.joins
        if joins is None:
            continue
        if joins not in catalog.environments:
            yield _missing(name, "joins", joins)
        # Not in a chain: one environment must own the Service that splits the traffic.
        elif catalog.environments[joins].joins is not None or joins == name:
            message = f"{joins} itself joins {catalog.environments[joins].joins}: join that one"
            own = f"{name} cannot join itself"
            yield _problem(name, ("joins",), own if joins == name else message, joins)


def joining_environments_share_the_place(catalog: Catalog) -> Iterator[Problem]:
    """Traffic can be split only within one cluster and one namespace."""
    for name, joined, production in _joined(catalog):
        for field in ("cluster", "namespace"):
            own, theirs = getattr(joined, field), getattr(production, field)
            if own != theirs:
                message = f"{field} is {own}, but {production.name}, which it joins, is in {theirs}"
                yield _problem(name, (field,), message, production.name)


def namespaces_are_not_shared(catalog: Catalog) -> Iterator[Problem]:
    """Environments that do not join each other have a namespace each."""
    # In all of them a model's objects have the same names.
    places: dict[tuple[str, str], str] = {}
    for name, environment in sorted(catalog.environments.items()):
        if environment.joins is not None:
            continue
        place = (environment.cluster, environment.namespace)
        other = places.setdefault(place, name)
        if other != name:
            message = f"namespace {environment.namespace} is {other}'s: choose another, or join it"
            yield _problem(name, ("namespace",), message, other)


def joining_rollouts_leave_traffic_to_stable(catalog: Catalog) -> Iterator[Problem]:
    """A joined environment gets a share of the traffic: more than none and less than all."""
    for name, joined, production in _joined(catalog):
        steps = joined.rollout.steps
        if not steps:
            message = f"joins {production.name}, so rollout.steps must give its share"
            yield _problem(name, ("rollout",), message, production.name)
        for index, step in enumerate(steps):
            if step.share >= 1:
                message = f"share {step.share:g} leaves nothing for {production.name}; stay below 1"
                place: Path = ("rollout", "steps", index, "share")
                yield _problem(name, place, message, production.name)


def routers_lead_to_one_environment(catalog: Catalog) -> Iterator[Problem]:
    """A router gives weights to the pods of one rollout; joined pods would get no requests."""
    for name, joined, production in _joined(catalog):
        if joined.rollout.router is not None:
            message = f"joins {production.name} and gets its requests: leave the router out"
            yield _problem(name, ("rollout", "router"), message, production.name)
        if production.rollout.router is not None:
            message = (
                f"{production.name} has a router, which sends no requests to a joined environment: "
                f"judge the steps of {production.name} itself, and leave joins out"
            )
            yield _problem(name, ("joins",), message, production.name)


def rollout_shares_grow(catalog: Catalog) -> Iterator[Problem]:
    """Each step gives a release more traffic than the step before."""
    for name, environment in catalog.environments.items():
        # A falling share would take traffic back from a release that the judge just passed.
        steps = environment.rollout.steps
        for index in range(1, len(steps)):
            before, share = steps[index - 1].share, steps[index].share
            if share <= before:
                message = f"share {share:g} does not grow from {before:g}, the step before"
                yield _problem(name, ("rollout", "steps", index, "share"), message)


def freeze_windows_are_in_order(catalog: Catalog) -> Iterator[Problem]:
    """A freeze ends after it starts."""
    for name, environment in catalog.environments.items():
        for index, window in enumerate(environment.freeze_windows):
            if window.since >= window.until:
                message = f"ends at {window.until.isoformat()}, not after its start"
                yield _problem(name, ("freeze_windows", index, "until"), message)


def approvals_can_be_given(catalog: Catalog) -> Iterator[Problem]:
    """There are at least as many people who may approve as approvals are needed."""
    for name, environment in catalog.environments.items():
        needed, people = environment.approvals.needed, environment.approvals.approvers
        if people and needed > len(people):
            message = f"{needed} approvals are needed, but only {len(people)} may give one"
            yield _problem(name, ("approvals", "needed"), message)


def _circles(catalog: Catalog) -> Iterator[Problem]:
    def before(name: str) -> str | None:
        environment = catalog.environments.get(name)
        return None if environment is None else environment.promotes_from

    for circle in find_circles(sorted(catalog.environments), before):
        names = " -> ".join([*circle, circle[0]])
        message = f"{circle[0]} promotes from itself: {names}; one environment must come first"
        yield _problem(circle[0], ("promotes_from",), message, *circle)


def _joined(catalog: Catalog) -> Iterator[tuple[str, Environment, Environment]]:
    """The environments that join another one, by name, and the ones that they join."""
    for name, environment in catalog.environments.items():
        production = catalog.environments.get(environment.joins or "")
        if production is not None and production.name != name:
            yield name, environment, production


def _missing(name: str, field: str, other: str) -> Problem:
    where = environment_file(other)
    return _problem(name, (field,), f"there is no environment {other}: {where} is missing", other)


def _problem(name: str, path: Path, message: str, *others: str) -> Problem:
    involved = tuple(environment_file(other) for other in others if other != name)
    return Problem(file=environment_file(name), path=path, message=message, involves=involved)
