"""Reads a tree of files into the catalog of its specs, and lists everything wrong with it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from modelyard.adapters.garbage import garbage_collector_off
from modelyard.adapters.git.trees import Tree
from modelyard.adapters.specs import schemas
from modelyard.adapters.specs.documents import KINDS, Loaded, build_spec, load_yaml
from modelyard.domain import checks
from modelyard.domain.problem import Problem
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.paths import (
    ENVIRONMENTS,
    MODELS,
    PLATFORM,
    SETTINGS,
    environment_file,
    environment_names,
    holds_only_specs,
    model_folder,
    model_of_spec,
    parse_spec_path,
    release_file,
)
from modelyard.domain.specs.repository import Repository
from modelyard.errors import CannotAnswer, Refused

_MOST_PARTS = 200
"""Models that are listed one by one; for more of them the whole tree is listed."""


@dataclass(frozen=True, kw_only=True)
class Specs:
    """The specs of a tree, and the problems of single files.

    Args:
        catalog: The specs that have their kind's shape; keys are taken from the paths.
        problems: What is wrong with single files, in reading order; lines included.
        repository: The settings, or their defaults where modelyard.yaml cannot be read.
        files: The bytes of every spec that was read, by path.
        stands_in: The files whose specs are as they were before a commit, with that commit; each
            has a problem. See `with_last_readable`.
        is_guess: Whether an environment stands in because nobody could say who took it away. It
            is asked again.
    """

    catalog: Catalog
    problems: tuple[Problem, ...]
    repository: Repository = field(default_factory=Repository)
    files: Mapping[str, bytes] = field(default_factory=dict)
    stands_in: Mapping[str, str] = field(default_factory=dict)
    is_guess: bool = False

    def all_problems(self) -> tuple[Problem, ...]:
        """Every problem in a file and between files, with lines, in reading order.

        A problem that involves an unreadable file is left out: the file may hold what is missed.
        """
        unread = frozenset(problem.file for problem in self.problems)
        found = [p for p in checks.find_problems(self.catalog) if unread.isdisjoint(p.involves)]
        located = [*self.problems, *self.with_lines(found)]
        return tuple(sorted(located, key=lambda problem: problem.sort_key))

    def refusal(self) -> Refused:
        """The error that names the first problem of a file; first of all one with a stand-in."""
        standing = (problem for problem in self.problems if problem.file in self.stands_in)
        first, more = next(standing, self.problems[0]), len(self.problems) - 1
        rest = f" (and {more} more)" if more else ""
        if commit := self.stands_in.get(first.file):
            rest += f"; what goes back goes by the file before commit {commit[:10]}"
        return Refused(
            f"{first.file}:{first.line}: {first.message}{rest}",
            hint="run `modelyard validate` for all problems",
        )

    def with_lines(self, problems: Iterable[Problem]) -> Iterator[Problem]:
        """The same problems with their lines; line 1 where there is no file."""
        loaded: dict[str, Loaded] = {}
        for problem in problems:
            if problem.file not in loaded:
                text = self.files.get(problem.file, b"")
                loaded[problem.file] = load_yaml(text, name=problem.file)
            yield replace(problem, line=loaded[problem.file].line_of(problem.path))


def read_specs(
    tree: Tree, *, models: Collection[str] | None = None, kinds: Collection[str] = KINDS
) -> Specs:
    """Read the specs of a tree; files that are not of their kind's shape become problems.

    Args:
        tree: The checkout, or a commit.
        models: Read these models alone, with every environment; None for all.
        kinds: Read these kinds of specs alone.
    """
    if models is not None and len(models) <= _MOST_PARTS:
        tree = tree.part(list_places(tree, models))
    places = {file: each for file, each in _places(tree, models) if each[0] in kinds}
    files = tree.read_many(places)
    parts: dict[str, dict[Any, Any]] = {kind: {} for kind in KINDS}
    problems: list[Problem] = []
    with garbage_collector_off():
        for file, (kind, key) in places.items():
            spec = build_valid(kind, file, files[file], problems)
            if spec is not None:
                parts[kind][key] = spec
    problems.extend(find_strays(tree) if models is None else ())
    return Specs(
        catalog=_catalog(parts, files, places),
        problems=tuple(sorted(problems, key=lambda problem: problem.sort_key)),
        repository=parts["Repository"].get((), Repository()),
        files=files,
    )


def read_valid_catalog(
    tree: Tree, *, models: Collection[str] | None = None, kinds: Collection[str] = KINDS
) -> Catalog:
    """The catalog of a tree, if every file that is read has its kind's shape; see `read_specs`.

    Raises:
        Refused: A file does not; names the first problem.
    """
    specs = read_specs(tree, models=models, kinds=kinds)
    if specs.problems:
        raise specs.refusal()
    return specs.catalog


# Files that people and Git keep in any folder.
_NO_SPEC = re.compile(r"(.*/)?(README\.md|\.git(keep|ignore|attributes))")


def _places(tree: Tree, models: Collection[str] | None) -> Iterator[tuple[str, tuple[str, Any]]]:
    """Every spec's path with its kind and its key in the catalog."""
    for path in _paths(tree, models):
        kind, key = parse_spec_path(path) or ("", ())
        if kind and (models is None or is_read_for(path, models)):
            yield path, (kind, key if len(key) > 1 else key[0])
    if SETTINGS in tree.paths(SETTINGS):
        yield SETTINGS, ("Repository", ())


def list_places(tree: Tree, models: Collection[str]) -> list[str]:
    """The files and folders with all that is read for these models alone."""
    environments = environment_names(tree.folders(ENVIRONMENTS))
    return [
        SETTINGS,
        *(model_folder(model) for model in models),
        *(environment_file(name) for name in environments),
        *(release_file(name, model) for name in environments for model in models),
    ]


def is_read_for(path: str, models: Collection[str]) -> bool:
    """Whether `read_specs` and `read_valid_catalog` read this file for these models alone."""
    model = model_of_spec(path)
    if model is not None:
        return model in models
    return path == SETTINGS or parse_spec_path(path) is not None


def _paths(tree: Tree, models: Collection[str] | None) -> Iterator[str]:
    if models is None:
        yield from tree.paths(MODELS)
        yield from tree.paths(ENVIRONMENTS)
    else:
        for place in list_places(tree, sorted(models)):
            yield from tree.paths(place)


def build_valid(kind: str, file: str, text: bytes, problems: list[Problem]) -> Any:
    """One file's dataclass, or None and at least one more problem."""
    loaded = load_yaml(text, name=file)
    problems.extend(loaded.problems)
    document = loaded.document
    if document is None and loaded.problems:
        return None
    if not schemas.is_valid(kind, document):
        problems.extend(
            Problem(file=file, path=path, message=words, check="schema", line=loaded.line_of(path))
            for path, words in schemas.spec_errors(kind, document)
        )
        return None
    if loaded.problems:
        return None
    try:
        return build_spec(KINDS[kind], document)
    except CannotAnswer as error:
        problems.append(Problem(file=file, message=error.message, check="schema", line=1))
        return None


def _catalog(
    parts: Mapping[str, dict[Any, Any]],
    files: Mapping[str, bytes],
    places: Mapping[str, tuple[str, Any]],
) -> Catalog:
    return Catalog(
        models=parts["Model"],
        versions=parts["ModelVersion"],
        held_out=parts["HeldOut"],
        records=parts["Record"],
        environments=parts["Environment"],
        releases=parts["Release"],
        digests={
            key: hashlib.sha256(files[file]).hexdigest()
            for file, (kind, key) in places.items()
            if kind == "ModelVersion"
        },
        repository=parts["Repository"].get((), Repository()),
    )


def stray_problems(paths: Iterable[str]) -> Iterator[Problem]:
    """Files in a folder of specs that are none, such as one with a mistyped ending."""
    for path in paths:
        is_spec = parse_spec_path(path) is not None
        if not is_spec and holds_only_specs(path) and not _NO_SPEC.fullmatch(path):
            message = "is not read: specs here are files that end in .yaml, without folders"
            if path.startswith(PLATFORM):
                message = f"is not read: {PLATFORM} is the platform's folder, and no environment"
            yield Problem(file=path, message=message, check="place", line=1)


def find_strays(tree: Tree) -> Iterator[Problem]:
    """Yield what stands in a place of specs and is none, and settings that are missing."""
    yield from stray_problems((*tree.paths(MODELS), *tree.paths(ENVIRONMENTS)))
    if not tree.exists(SETTINGS):
        message = "is missing: it names the adapters, and marks the checkout's root"
        yield Problem(file=SETTINGS, message=message, check="place", line=1)
