"""Names: they match the path of their file, and what they name exists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from modelyard.domain.problem import Problem
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.paths import (
    environment_file,
    held_out_file,
    model_file,
    record_file,
    release_file,
    version_file,
)


def names_match_paths(catalog: Catalog) -> Iterator[Problem]:
    """A spec names itself, its model and its environment as its path does."""
    for name, model in catalog.models.items():
        yield from _named(model_file(name), {"name": (name, model.name)})
    for (name, which), version in catalog.versions.items():
        said = {"model": (name, version.model), "version": (which, version.version)}
        yield from _named(version_file(name, which), said)
    for (name, which), record in catalog.records.items():
        said = {"model": (name, record.model), "version": (which, record.version)}
        yield from _named(record_file(name, which), said)
    for (name, which), held_out in catalog.held_out.items():
        said = {"model": (name, held_out.model), "name": (which, held_out.name)}
        yield from _named(held_out_file(name, which), said)
    for name, environment in catalog.environments.items():
        yield from _named(environment_file(name), {"name": (name, environment.name)})
    for (where, name), release in catalog.releases.items():
        said = {"environment": (where, release.environment), "model": (name, release.model)}
        yield from _named(release_file(where, name), said)


def models_exist(catalog: Catalog) -> Iterator[Problem]:
    """Versions, records, held-out sets and releases belong to a model with a model.yaml."""
    files = [(model, version_file(model, name)) for model, name in catalog.versions]
    files += [(model, record_file(model, name)) for model, name in catalog.records]
    files += [(model, held_out_file(model, name)) for model, name in catalog.held_out]
    files += [(model, release_file(where, model)) for where, model in catalog.releases]
    for model, file in files:
        if model not in catalog.models:
            yield _missing(file, "model", model, model_file(model))


def names_do_not_collide(catalog: Catalog) -> Iterator[Problem]:
    """Nothing a model is called in one place is what another is called there.

    A model that joins an environment is called `<model>-<environment>` beside it, where another
    model may bear that very name; Argo CD calls a release `<environment>-<model>`.
    """
    guests = [name for name, where in catalog.environments.items() if where.joins is not None]
    for environment in guests:
        for model in catalog.models:
            if (other := f"{model}-{environment}") in catalog.models:
                what = f"{other} is what {model} is called in {environment}"
                yield _collision(other, what, model)
    called: dict[str, tuple[str, str]] = {}
    for environment in catalog.environments:
        for model in catalog.models:
            before, other = called.setdefault(f"{environment}-{model}", (environment, model))
            if (before, other) != (environment, model):
                what = f"Argo CD calls {model} in {environment} what it calls {other} in {before}"
                yield _collision(model, what, other)


def versions_of_records_exist(catalog: Catalog) -> Iterator[Problem]:
    """A record stands beside the spec it came from."""
    for model, version in catalog.records:
        if (model, version) not in catalog.versions:
            file = record_file(model, version)
            yield _missing(file, "version", version, version_file(model, version))


def environments_of_releases_exist(catalog: Catalog) -> Iterator[Problem]:
    """A release is in a folder with an environment.yaml."""
    for environment, model in catalog.releases:
        if environment not in catalog.environments:
            file = release_file(environment, model)
            yield _missing(file, "environment", environment, environment_file(environment))


def parents_exist(catalog: Catalog) -> Iterator[Problem]:
    """The version another was derived from is a version of the same model."""
    for (model, name), version in catalog.versions.items():
        if version.parent is not None and (model, version.parent) not in catalog.versions:
            file = version_file(model, name)
            yield _missing(file, "parent", version.parent, version_file(model, version.parent))


def parents_come_first(catalog: Catalog) -> Iterator[Problem]:
    """No version descends from itself."""
    settled: set[tuple[str, str]] = set()
    for start in catalog.versions:
        walked: dict[tuple[str, str], None] = {}
        here: tuple[str, str] | None = start
        while here is not None and here not in settled and here not in walked:
            walked[here] = None
            here = _parent(catalog, here)
        if here is not None and here in walked:
            yield _circle(here, [*walked][[*walked].index(here) :])
        settled.update(walked)


def _parent(catalog: Catalog, version: tuple[str, str]) -> tuple[str, str] | None:
    model, _ = version
    spec = catalog.versions.get(version)
    return None if spec is None or spec.parent is None else (model, spec.parent)


def _circle(start: tuple[str, str], members: list[tuple[str, str]]) -> Problem:
    names = " -> ".join(name for _, name in [*members, start])
    return Problem(
        file=version_file(*start),
        path=("parent",),
        message=f"{start[1]} descends from itself: {names}; name a parent that was there before",
        involves=tuple(version_file(*member) for member in members[1:]),
    )


def _named(file: str, said: Mapping[str, tuple[str, str]]) -> Iterator[Problem]:
    for field, (expected, found) in said.items():
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
