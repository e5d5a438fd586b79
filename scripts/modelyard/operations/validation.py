"""Checks specs: each of them, the rules between them, and what must not change."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from modelyard.adapters.git.repository import Git
from modelyard.adapters.git.trees import GitTree, Tree
from modelyard.adapters.specs.reader import Specs
from modelyard.domain.problem import Problem
from modelyard.errors import CannotAnswer


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
