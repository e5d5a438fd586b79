"""Records and releases: specs are as they were trained, and releases run what was recorded."""

from __future__ import annotations

from collections.abc import Iterator

from modelyard.domain.problem import Problem
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.paths import held_out_file, record_file, release_file, version_file


def recorded_versions_never_change(catalog: Catalog) -> Iterator[Problem]:
    """A spec with a record has the bytes that were trained."""
    for (model, name), record in catalog.records.items():
        # The digest is of the file's bytes: a new comment changes the spec too.
        digest = catalog.digests.get((model, name))
        if digest is not None and digest != record.spec:
            yield Problem(
                file=version_file(model, name),
                message=f"{name} has a record, so its spec cannot change: put it back as it was, "
                f"and add a new version",
                involves=(record_file(model, name),),
            )


def recorded_runtimes_are_the_pinned(catalog: Catalog) -> Iterator[Problem]:
    """What a record says that ran is the lock that its version pins."""
    for (model, name), record in catalog.records.items():
        version = catalog.versions.get((model, name))
        if version is None or record.runtime is None:
            continue  # nothing was measured before version 0.2
        if record.runtime.lock != version.runtime.lock:
            yield Problem(
                file=record_file(model, name),
                path=("runtime", "lock"),
                message=f"it ran in lock {record.runtime.lock}, but the version pins "
                f"{version.runtime.lock}",
                involves=(version_file(model, name),),
            )


def recorded_held_out_sets_exist(catalog: Catalog) -> Iterator[Problem]:
    """A held-out set exists as long as a record has a result on it."""
    for (model, name), record in catalog.records.items():
        for index, result in enumerate(record.held_out):
            if (model, result.name) not in catalog.held_out:
                missing = held_out_file(model, result.name)
                yield Problem(
                    file=record_file(model, name),
                    path=("held_out", index, "name"),
                    message=f"held-out set {result.name} is gone: restore {missing}, or retire it",
                    involves=(missing,),
                )


def releases_run_recorded_artifacts(catalog: Catalog) -> Iterator[Problem]:
    """A release runs the artifact in the version's record."""
    for (environment, model), release in catalog.releases.items():
        record = catalog.records.get((model, release.version))
        wanted = record_file(model, release.version)
        if record is None:
            path, message = (
                "version",
                f"version {release.version} has no record: {wanted} is missing",
            )
        elif record.artifact is None:
            path, message = (
                "version",
                f"version {release.version} has no trained model: see {wanted}",
            )
        elif record.artifact.digest != release.artifact:
            path = "artifact"
            message = f"artifact is {release.artifact}, but {wanted} says {record.artifact.digest}"
        elif release.lock != (record.runtime.lock if record.runtime else None):
            path, lock = "lock", record.runtime.lock if record.runtime else "none"
            message = f"lock is {release.lock or 'none'}, but {wanted} says {lock}"
        else:
            continue
        file = release_file(environment, model)
        yield Problem(file=file, path=(path,), message=message, involves=(wanted,))
