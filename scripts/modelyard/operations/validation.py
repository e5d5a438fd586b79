"""Checks specs: what each says, what they say of each other, and what may not change."""

from __future__ import annotations

from collections.abc import Collection

from modelyard.adapters.git.trees import Tree
from modelyard.adapters.specs.reader import Specs
from modelyard.domain.problem import Problem


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
