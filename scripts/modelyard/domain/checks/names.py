"""Names: they match the path of their file, and the specs that they refer to exist."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TypeVar

from modelyard.domain.problem import Problem
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.environment import Environment
from modelyard.domain.specs.paths import (
    environment_file,
    held_out_file,
    model_file,
    record_file,
    release_file,
    version_file,
)

T = TypeVar("T", bound=Hashable)


def names_match_paths(catalog: Catalog) -> Iterator[Problem]:
    """The names in a spec are those in its path."""
    for name, model in catalog.models.items():
        yield from _named(model_file(name), {"name": (name, model.name)})
    for (name, which), version in catalog.versions.items():
        names = {"model": (name, version.model), "version": (which, version.version)}
        yield from _named(version_file(name, which), names)
    for (name, which), record in catalog.records.items():
        names = {"model": (name, record.model), "version": (which, record.version)}
        yield from _named(record_file(name, which), names)
    for (name, which), held_out in catalog.held_out.items():
        names = {"model": (name, held_out.model), "name": (which, held_out.name)}
        yield from _named(held_out_file(name, which), names)
    for name, environment in catalog.environments.items():
        yield from _named(environment_file(name), {"name": (name, environment.name)})
    for (where, name), release in catalog.releases.items():
        names = {"environment": (where, release.environment), "model": (name, release.model)}
        yield from _named(release_file(where, name), names)


def models_exist(catalog: Catalog) -> Iterator[Problem]:
    """Versions, records, held-out sets and releases belong to a model with a model.yaml."""
    files = [(model, version_file(model, name)) for model, name in catalog.versions]
    files += [(model, record_file(model, name)) for model, name in catalog.records]
    files += [(model, held_out_file(model, name)) for model, name in catalog.held_out]
    for model, file in files:
        if model not in catalog.models:
            yield _missing(file, "model", model, model_file(model))
    for where, model in catalog.releases:
        if model not in catalog.models:
            found = _missing(release_file(where, model), "model", model, model_file(model))
            remove = f"modelyard rollback {where} {model} --remove --reason ..."
            yield replace(found, message=f"{found.message}; to retire {model}, first {remove}")


def names_do_not_collide(catalog: Catalog) -> Iterator[Problem]:
    """In a cluster no two models have the same name.

    A model in a joined environment is called `<model>-<environment>`, next to production, where
    another model may have that name. Argo CD calls a release `<environment>-<model>`.
    """
    joined = [name for name, where in catalog.environments.items() if where.joins is not None]
    for environment in joined:
        for model in catalog.models:
            if (other := f"{model}-{environment}") in catalog.models:
                what = f"{other} is also the name of {model} in {environment}"
                yield _collision(other, what, model)
    called: dict[str, tuple[str, str]] = {}
    for environment in catalog.environments:
        for model in catalog.models:
            name = f"{environment}-{model}"
            before, other = called.setdefault(name, (environment, model))
            if (before, other) != (environment, model):
                what = f"in Argo CD {name} is {model} in {environment} and {other} in {before}"
                yield _collision(model, what, other)


def find_namesakes(model: str, environments: Collection[Environment]) -> frozenset[str]:
    """The names that would collide with a model's in a cluster; see `names_do_not_collide`."""
    joined = [each.name for each in environments if each.joins is not None]
    found = {f"{model}-{name}" for name in joined}
    found |= {model.removesuffix(f"-{name}") for name in joined}
    for one in environments:
        called = f"{one.name}-{model}"
        found |= {
            called.removeprefix(f"{other.name}-")
            for other in environments
            if called.startswith(f"{other.name}-")
        }
    return frozenset(found - {model})


def versions_of_records_exist(catalog: Catalog) -> Iterator[Problem]:
    """A record has the spec that it is the result of."""
    for model, version in catalog.records:
        if (model, version) not in catalog.versions:
            file = record_file(model, version)
            yield _missing(file, "version", version, version_file(model, version))


def environments_of_releases_exist(catalog: Catalog) -> Iterator[Problem]:
    """The folder of a release has an environment.yaml."""
    for environment, model in catalog.releases:
        if environment not in catalog.environments:
            file = release_file(environment, model)
            yield _missing(file, "environment", environment, environment_file(environment))


def parents_exist(catalog: Catalog) -> Iterator[Problem]:
    """The parent of a version is a version of the same model."""
    for (model, name), version in catalog.versions.items():
        if version.parent is not None and (model, version.parent) not in catalog.versions:
            file = version_file(model, name)
            yield _missing(file, "parent", version.parent, version_file(model, version.parent))


def parents_come_first(catalog: Catalog) -> Iterator[Problem]:
    """No version descends from itself."""

    def parent(key: tuple[str, str]) -> tuple[str, str] | None:
        spec = catalog.versions.get(key)
        return None if spec is None or spec.parent is None else (key[0], spec.parent)

    for circle in find_circles(catalog.versions, parent):
        chain = " -> ".join(name for _, name in [*circle, circle[0]])
        yield Problem(
            file=version_file(*circle[0]),
            path=("parent",),
            message=f"{circle[0][1]} descends from itself: {chain}; its parent must be older",
            involves=tuple(version_file(*member) for member in circle[1:]),
        )


def find_circles(starts: Iterable[T], before: Callable[[T], T | None]) -> Iterator[list[T]]:
    """Each circle in chains of predecessors, once, from the member where a chain meets it."""
    settled: set[T] = set()
    for start in starts:
        walked: list[T] = []
        here: T | None = start
        while here is not None and here not in settled and here not in walked:
            walked.append(here)
            here = before(here)
        if here is not None and here in walked:
            yield walked[walked.index(here) :]
        # Chains from a settled member have been walked, so each circle is found once.
        settled.update(walked)


def _named(file: str, names: Mapping[str, tuple[str, str]]) -> Iterator[Problem]:
    for field, (expected, found) in names.items():
        if expected != found:
            message = f"{field} is {found}, but the path says {expected}: rename one of them"
            yield Problem(file=file, path=(field,), message=message)


def _collision(model: str, what: str, other: str) -> Problem:
    return Problem(
        file=model_file(model),
        path=("name",),
        message=f"{what}: choose another name",
        involves=(model_file(other),),
    )


def _missing(file: str, field: str, name: str, where: str) -> Problem:
    message = f"there is no {field} {name}: {where} is missing"
    return Problem(file=file, path=(field,), message=message, involves=(where,))
