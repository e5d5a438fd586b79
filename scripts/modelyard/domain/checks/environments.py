"""Environments: one path to production, and rollouts that can work."""

from __future__ import annotations

from collections.abc import Iterator

from modelyard.domain.problem import Path, Problem
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.environment import Environment
from modelyard.domain.specs.paths import environment_file


def environments_form_one_path(catalog: Catalog) -> Iterator[Problem]:
    """One environment comes first, and each other follows exactly one."""
    found = catalog.environments
    followers: dict[str | None, str] = {}
    for name, environment in sorted(found.items()):
        before = environment.promotes_from
        if before is not None and before not in found:
            yield _missing(name, "promotes_from", before)
        elif before in followers:
            other = followers[before]
            words = f"promote from {before}" if before else "come first (no promotes_from)"
            message = f"{other} and {name} both {words}; the environments are one path"
            yield _problem(name, ("promotes_from",), message, other)
        else:
            followers[before] = name
    yield from _circles(catalog)


def joined_environments_exist(catalog: Catalog) -> Iterator[Problem]:
    """An environment joins another that exists and joins none itself."""
    for name, environment in catalog.environments.items():
        joins = environment.joins
        if joins is None:
            continue
        if joins not in catalog.environments:
            yield _missing(name, "joins", joins)
        elif catalog.environments[joins].joins is not None or joins == name:
            message = f"{joins} itself joins {catalog.environments[joins].joins}: join that one"
            own = f"{name} cannot join itself"
            yield _problem(name, ("joins",), own if joins == name else message, joins)


def joining_environments_share_the_place(catalog: Catalog) -> Iterator[Problem]:
    """Traffic can only be split where both run: in one cluster and one namespace."""
    for name, environment, host in _joined(catalog):
        for field in ("cluster", "namespace"):
            own, theirs = getattr(environment, field), getattr(host, field)
            if own != theirs:
                message = f"{field} is {own}, but {host.name}, which it joins, is in {theirs}"
                yield _problem(name, (field,), message, host.name)


def namespaces_are_not_shared(catalog: Catalog) -> Iterator[Problem]:
    """Environments that do not join each other have a namespace each: their names are the same."""
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
    """A canary gets a share of the traffic: more than nothing and less than all of it."""
    for name, environment, host in _joined(catalog):
        steps = environment.rollout.steps
        if not steps:
            message = f"joins {host.name}, so rollout.steps must say which share it gets"
            yield _problem(name, ("rollout",), message, host.name)
        for index, step in enumerate(steps):
            if step.share >= 1:
                message = f"share {step.share:g} leaves nothing for {host.name}; stay below 1"
                yield _problem(name, ("rollout", "steps", index, "share"), message, host.name)


def routers_lead_to_one_environment(catalog: Catalog) -> Iterator[Problem]:
    """A route has weights for one rollout's pods; pods of a guest would never be asked."""
    for name, environment, host in _joined(catalog):
        if environment.rollout.router is not None:
            message = f"joins {host.name}, whose requests it gets: leave the router out"
            yield _problem(name, ("rollout", "router"), message, host.name)
        if host.rollout.router is not None:
            message = (
                f"{host.name} has a router, whose weights leave nothing to guests: "
                "judge its own steps, and join nothing"
            )
            yield _problem(name, ("joins",), message, host.name)


def rollout_shares_grow(catalog: Catalog) -> Iterator[Problem]:
    """Each step gives a release more of the traffic than the one before."""
    for name, environment in catalog.environments.items():
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
    """Not more approvals are needed than there are people who may give one."""
    for name, environment in catalog.environments.items():
        needed, people = environment.approvals.needed, environment.approvals.approvers
        if people and needed > len(people):
            message = f"{needed} approvals are needed, but only {len(people)} may give one"
            yield _problem(name, ("approvals", "needed"), message)


def _circles(catalog: Catalog) -> Iterator[Problem]:
    """Environments that no start leads to, though each follows one that exists."""
    settled: set[str] = set()
    for start in sorted(catalog.environments):
        walked: list[str] = []
        here: str | None = start
        while here is not None and here not in settled and here not in walked:
            walked.append(here)
            environment = catalog.environments.get(here)
            here = environment.promotes_from if environment is not None else None
        if here is not None and here in walked:
            names = " -> ".join([*walked[walked.index(here) :], here])
            message = f"{here} promotes from itself: {names}; one environment must come first"
            yield _problem(here, ("promotes_from",), message, *walked)
        settled.update(walked)


def _joined(catalog: Catalog) -> Iterator[tuple[str, Environment, Environment]]:
    for name, environment in catalog.environments.items():
        host = catalog.environments.get(environment.joins or "")
        if host is not None and host.name != name:
            yield name, environment, host


def _missing(name: str, field: str, other: str) -> Problem:
    where = environment_file(other)
    return _problem(name, (field,), f"there is no environment {other}: {where} is missing", other)


def _problem(name: str, path: Path, message: str, *others: str) -> Problem:
    involved = tuple(environment_file(other) for other in others if other != name)
    return Problem(file=environment_file(name), path=path, message=message, involves=involved)
