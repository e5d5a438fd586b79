"""Checks specs: each of them, the rules between them, and what must not change."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from modelyard.adapters.git.repository import Git
from modelyard.adapters.git.trees import GitTree, Tree, WorkingTree
from modelyard.adapters.specs.reader import Specs, read_specs, stray_problems
from modelyard.domain.checks.names import find_namesakes
from modelyard.domain.problem import Problem
from modelyard.domain.specs.paths import (
    MODELS,
    SETTINGS,
    held_out_file,
    held_out_folder,
    model_file,
    model_folder,
    parse_spec_path,
    version_file,
    versions_folder,
)
from modelyard.errors import CannotAnswer

_MOST_FILES = 1000
"""Changed files that are looked at one by one; for more of them everything is checked."""

_MOST_MODELS = 200
"""Models that are read one by one; for more of them everything is checked."""


def problems_in(
    specs: Specs,
    *,
    changed: Collection[str] | None = None,
    base: Tree | None = None,
    kept: Iterable[Problem] = (),
) -> tuple[Problem, ...]:
    """Return every problem of the specs, sorted by file and line.

    Args:
        specs: The specs that were read.
        changed: Only problems that involve these files; None for all.
        base: The specs before. Its records, and specs with a record, must still be there byte for
            byte; held-out sets that were used must have the same rows.
        kept: What the repository does not keep of the specs' pins; see `kept_problems`.
    """
    from modelyard.adapters.specs.append_only import rewritten_records

    found = (*specs.all_problems(), *kept)
    if changed is not None:
        concerned = frozenset(changed)
        found = tuple(problem for problem in found if problem.concerns(concerned))
    if base is not None:
        found = (*found, *rewritten_records(specs, base))
    return tuple(sorted(set(found), key=lambda problem: problem.sort_key))


def changed_problems(root: Path, ref: str) -> tuple[tuple[Problem, ...], Specs]:
    """Return every problem that involves a file changed since `ref`, and the specs that were read.

    Only the specs of the models that can be concerned are read.

    Raises:
        CannotAnswer: The ref or the history up to it is not here.
    """
    from modelyard.operations.training.kept_pins import kept_problems

    changed, base = find_changes(root, ref)
    tree, before = WorkingTree(root), base
    models = find_concerned(tree, changed)
    specs = read_specs(tree, models=models)
    strays: Iterable[Problem] = ()
    if models is not None:
        strays = stray_problems(tree.part(changed).paths())
        before = base.part([model_folder(model) for model in models])
    kept = (*kept_problems(root, specs), *strays)
    return problems_in(specs, changed=changed, base=before, kept=kept), specs


def find_concerned(tree: WorkingTree, changed: Collection[str]) -> frozenset[str] | None:
    """Return the models of which a changed file may be a problem; None where that may be any.

    - The settings, an environment and Git's attributes are about every model.
    - A file of a model and its releases are about that model, and a new model about those whose
      names collide with it.
    - Data, and a pin of data, are about all models that pin the same.
    """
    if len(changed) > _MOST_FILES or any(map(_is_about_all, changed)):
        return None
    models = {model for path in changed if (model := _owner(path)) is not None}
    if len(models) > _MOST_MODELS:
        return None
    specs = read_specs(tree, models=models)
    for model in tuple(models):
        if model_file(model) in changed:
            models |= find_namesakes(model, specs.catalog.environments.values())
    uris = {uri for file, uri in _pinned(specs) if file in changed}
    patterns = [_pattern_of(uri) for uri in uris]
    base = posixpath.normpath(specs.repository.data)
    if "://" not in base and not base.startswith(("/", "..")):
        folder = "" if base == "." else f"{base}/"
        data = [path.removeprefix(folder) for path in changed if path.startswith(folder)]
        patterns += [_pattern_of(path) for path in data]
        patterns += _OTHERWISE_WRITTEN if data else ()
    models |= _models_that_pin(tree.root, patterns)
    return frozenset(models) if len(models) <= _MOST_MODELS else None


def _is_about_all(path: str) -> bool:
    kind, _ = parse_spec_path(path) or ("", ())
    return path == SETTINGS or kind == "Environment" or path.endswith(".gitattributes")


def _owner(path: str) -> str | None:
    """The model whose specs a file is beside, or whose release it is."""
    kind, key = parse_spec_path(path) or ("", ())
    if kind == "Release":
        return key[1]
    model, slash, _ = path.removeprefix(MODELS).partition("/")
    return model if slash and path.startswith(MODELS) else None


def _pinned(specs: Specs) -> Iterator[tuple[str, str]]:
    """Every pinned address, and the file of the pin."""
    for key, version in specs.catalog.versions.items():
        yield from ((version_file(*key), pin.uri) for pin in version.data.files)
    for key, held_out in specs.catalog.held_out.items():
        yield from ((held_out_file(*key), pin.uri) for pin in held_out.files)


# `./` and `//` in a path that means the same without them.
_OTHERWISE_WRITTEN = (r"\./", "[^:]//")


def _pattern_of(text: str) -> str:
    """A basic regular expression for a text in YAML, which breaks lines at blanks alone."""
    longest = max(re.split(r"[\s']", text), key=len)
    return re.sub(r"([\\.\[*^$])", r"\\\1", longest)


def _models_that_pin(root: Path, patterns: Collection[str]) -> set[str]:
    """The models with a version or a held-out set in which a pattern is found."""
    if not patterns:
        return set()
    # A spec with a backslash may write any character in another way.
    wanted = "\n".join({*patterns, r"\\"}).encode("utf-8", "surrogateescape")
    words = ("grep", "--no-color", "--untracked", "-l", "-z", "-a", "-G", "-f", "-", "--")
    places = (f":(glob){folder('*')}*.yaml" for folder in (versions_folder, held_out_folder))
    env = {"GIT_LITERAL_PATHSPECS": "0"}
    done = Git(root).run(*words, *places, stdin=wanted, env=env, accept=(0, 1))
    paths = done.stdout.decode("utf-8", "surrogateescape").split("\0")[:-1]
    return {model for path in paths if (model := _owner(path)) is not None}


def find_changes(root: Path, ref: str) -> tuple[frozenset[str], Tree]:
    """Return the files that differ from where this branch left `ref`, and the tree there.

    Raises:
        CannotAnswer: The ref or the history up to it is not here.
    """
    git = Git(root)
    try:
        start = git.merge_base(git.rev_parse(ref), git.rev_parse("HEAD"))
    except CannotAnswer as error:
        raise CannotAnswer(
            f"--changed-since {ref}: {error.message}", hint="fetch it, with enough history"
        ) from error
    # Without renames, a renamed record counts as removed and added. A person's diff tool must not
    # run. New files that are not staged yet count too.
    differing = git.run("diff", "--name-only", "--no-renames", "--no-ext-diff", "-z", start, "--")
    new = git.run("ls-files", "--others", "--exclude-standard", "-z")
    names = filter(None, (differing.stdout + new.stdout).split(b"\0"))
    changed = frozenset(name.decode("utf-8", "surrogateescape") for name in names)
    return changed, GitTree(git, start)
