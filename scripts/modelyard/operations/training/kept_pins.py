"""Checks that the repository keeps what its specs pin: the same bytes in every clone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from modelyard.adapters.git.kept_files import changed_attributes, find_unkept, is_kept
from modelyard.adapters.git.repository import Git
from modelyard.adapters.git.trees import GitTree, Tree, WorkingTree
from modelyard.adapters.specs.reader import Specs
from modelyard.adapters.tables.data_files import sha256_of
from modelyard.domain.problem import Path as Place
from modelyard.domain.problem import Problem
from modelyard.domain.specs.paths import (
    PLATFORM_LOCK,
    held_out_file,
    model_file,
    trainer_lock,
    version_file,
)
from modelyard.domain.specs.repository import Repository
from modelyard.domain.specs.version import DataFile
from modelyard.errors import CannotAnswer, Refused
from modelyard.operations.runtimes.lock import lacking_grpc
from modelyard.operations.training.data_root import DataRoot, data_root

ATTRIBUTES = ".gitattributes"

DATA_RULE = "models/*/data/** -text"
"""The line of `.gitattributes` that keeps every byte of data in the repository."""

SPECS_RULE = "*.yaml text eol=lf"
"""The line that keeps specs as they are in every checkout."""


@dataclass(frozen=True, kw_only=True)
class _Pin:
    """A pinned file, and where the pin is."""

    file: str
    place: Place
    pin: DataFile


def kept_problems(root: Path, specs: Specs, *, commit: str | None = None) -> tuple[Problem, ...]:
    """Return the pins of specs that can still change which the repository does not keep.

    Args:
        root: The checkout's root.
        specs: The specs that were read.
        commit: The commit or tree that they are of; None for the checkout and its index.
    """
    git, pins = Git(root), list(_open_pins(specs))
    found = [*_data_problems(root, specs.repository, pins, commit)]
    found += _trainer_problems(git, specs)
    found += _grpc_problems(WorkingTree(root) if commit is None else GitTree(git, commit), specs)
    if commit is None:  # attributes are those of the checkout
        found += _attribute_problems(git, root, specs.repository, pins)
    return tuple(replace(each, check="pins-are-kept") for each in specs.with_lines(found))


def unguarded_data(root: Path, specs: Specs) -> Iterator[tuple[str, str]]:
    """Yield each pinned file of the repository that Git may change, with the rule against it."""
    git, data = Git(root), data_root(root, specs.repository)
    pins = (data.path_in_repository(each.pin.uri) for each in _open_pins(specs))
    paths = [path for path in dict.fromkeys(pins) if path and is_kept(git, path)]
    for path in changed_attributes(git, paths, text="unset", unspecified=False):
        yield path, DATA_RULE if "/data/" in path else f"{path.rpartition('/')[0]}/** -text"


def _open_pins(specs: Specs) -> Iterator[_Pin]:
    """The pins of versions without a record, and of held-out sets that no version was judged on."""
    catalog = specs.catalog
    for (model, name), version in sorted(catalog.versions.items()):
        if (model, name) not in catalog.records:
            for index, pin in enumerate(version.data.files):
                place = ("data", "files", index)
                yield _Pin(file=version_file(model, name), place=place, pin=pin)
    for (model, name), held_out in sorted(catalog.held_out.items()):
        judged = any(
            result.name == name
            for (of, _), record in catalog.records.items()
            if of == model
            for result in record.held_out
        )
        if not judged and not held_out.retired:
            for index, pin in enumerate(held_out.files):
                yield _Pin(file=held_out_file(model, name), place=("files", index), pin=pin)


def _data_problems(
    root: Path, repository: Repository, pins: list[_Pin], commit: str | None
) -> Iterator[Problem]:
    data = data_root(root, repository, commit=commit)
    known: dict[str, str | None | Refused] = {}
    for each in pins:
        uri = each.pin.uri
        if uri not in known:
            known[uri] = _digest(data, uri)
        found = known[uri]
        if isinstance(found, Refused):
            message = found.message
        elif found is not None and found != each.pin.sha256:
            message = (
                f"{uri} is pinned as {each.pin.sha256[:12]}..., but Git has {found[:12]}...: "
                f"commit the file, and pin it with `modelyard version`"
            )
        else:
            continue
        path = data.path_in_repository(uri) or uri
        yield Problem(file=each.file, path=each.place, message=message, involves=(path,))


def _digest(data: DataRoot, uri: str) -> str | None | Refused:
    """The digest of what Git keeps, None if it keeps nothing, or why it cannot be pinned."""
    try:
        content = data.read_kept(uri)
    except Refused as refusal:
        return refusal
    except CannotAnswer:  # a blob that a partial clone did not fetch
        return None
    return None if content is None else sha256_of(content)


def _trainer_problems(git: Git, specs: Specs) -> Iterator[Problem]:
    known: dict[str, list[str]] = {}
    for (model, name), version in sorted(specs.catalog.versions.items()):
        if (model, name) in specs.catalog.records:
            continue
        tree = version.code.tree
        if tree not in known:
            known[tree] = []
            with suppress(CannotAnswer):  # a tree of another clone: fetch says so when it trains
                known[tree] = list(find_unkept(git, tree))
        for fault in known[tree]:
            message = f"the trainer is not whole: {fault}; commit the file itself, and pin it again"
            yield Problem(file=version_file(model, name), path=("code", "tree"), message=message)


def _grpc_problems(tree: Tree, specs: Specs) -> Iterator[Problem]:
    """Models that are to be served over gRPC, and whose next version could not be."""
    for name, model in sorted(specs.catalog.models.items()):
        if model.server.grpc and (lock := lacking_grpc(tree, name)):
            message = f"it asks for gRPC, and {lock} has no grpcio: modelyard runtime lock {name}"
            where = (trainer_lock(name), PLATFORM_LOCK)
            yield Problem(
                file=model_file(name), path=("server", "grpc"), message=message, involves=where
            )


def _attribute_problems(
    git: Git, root: Path, repository: Repository, pins: list[_Pin]
) -> Iterator[Problem]:
    data = data_root(root, repository)
    paths = {path: each for each in pins if (path := data.path_in_repository(each.pin.uri))}
    for path in changed_attributes(git, paths, text="unset"):
        message = (
            f"Git may change the line endings of {path}: add the line `{DATA_RULE}` to the end of "
            f"{ATTRIBUTES}"
        )
        where = (ATTRIBUTES, path)
        each = paths[path]
        yield Problem(file=each.file, path=each.place, message=message, involves=where)
