"""Checks specs: what each says, what they say of each other, and what may not change."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from modelyard.adapters.git.repository import Git
from modelyard.adapters.git.trees import GitTree, Tree
from modelyard.adapters.specs.reader import Specs
from modelyard.domain.problem import Problem
from modelyard.errors import CannotAnswer


def problems_in(
    specs: Specs, *, changed: Collection[str] | None = None, base: Tree | None = None
) -> tuple[Problem, ...]:
    """Every problem of the specs, in reading order; lines included.

    Args:
        specs: What was read.
        changed: Only problems that these files are at fault for or involved in; None for all.
        base: What the specs were before. Records of it, and specs with a record in it, must still
            be there byte for byte, and held-out sets that were looked at must hold the same rows.
    """
    from modelyard.adapters.specs.append_only import rewritten

    found = specs.checked()
    if changed is not None:
        concerned = frozenset(changed)
        found = tuple(problem for problem in found if problem.concerns(concerned))
    if base is not None:
        found = (*found, *rewritten(specs, base))
    return tuple(sorted(set(found), key=lambda problem: problem.sort_key))


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
    differing = git.run("diff", "--name-only", "--no-renames", "--no-ext-diff", "-z", start, "--")
    new = git.run("ls-files", "--others", "--exclude-standard", "-z")
    names = filter(None, (differing.stdout + new.stdout).split(b"\0"))
    changed = frozenset(name.decode("utf-8", "surrogateescape") for name in names)
    return changed, GitTree(git, start)
