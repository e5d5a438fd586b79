"""Makes room for a ref of the tool's: what occupies its name is moved aside, never lost.

A ref is a file and a part of the path to others is a folder, so a branch `modelyard/rollback` keeps
`modelyard/rollback/production/wine` from being created, and the other way round.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import TypeAlias

Updates: TypeAlias = dict[str, tuple[str | None, str | None]]
"""`(old, new)` by ref, as `Git.push` takes them."""

_BRANCHES = "refs/heads/"
_ASIDE = "aside"
_DIGITS = 12


def make_room(refs: Mapping[str, str], wanted: str, *, twins: bool = False) -> Updates:
    """The moves that let the ref be created; empty if nothing stands in its way.

    Git cannot delete `a` and create `a/b` in one push, so these moves are a push of their own.

    Args:
        refs: The remote's refs.
        wanted: The ref to create.
        twins: Also move what differs only in case: some file systems take it for the same.
    """
    return make_aside(refs, find_blockers(refs, wanted, twins=twins))


def make_aside(refs: Mapping[str, str], blockers: Iterable[str]) -> Updates:
    """The moves that take these refs out of the way; nothing of them is lost."""
    known, updates = dict(refs), Updates()
    for ref in blockers:
        aside = _free_name(known, ref)
        updates |= {aside: (known.get(aside), refs[ref]), ref: (refs[ref], None)}
        known[aside] = refs[ref]
    return updates


def renamed(moves: Updates) -> Mapping[str, str]:
    """The new name of each ref that the moves take away."""
    kept = {new: ref for ref, (_, new) in moves.items() if new is not None}
    return {ref: kept[old] for ref, (old, new) in moves.items() if new is None and old is not None}


def find_blockers(refs: Iterable[str], wanted: str, *, twins: bool = False) -> tuple[str, ...]:
    """The refs that keep this one from being created, sorted."""
    return tuple(sorted(ref for ref in refs if ref != wanted and _blocks(ref, wanted, twins=twins)))


def _blocks(ref: str, wanted: str, *, twins: bool) -> bool:
    one, other = (ref.casefold(), wanted.casefold()) if twins else (ref, wanted)
    return one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")


def _free_name(refs: Mapping[str, str], ref: str) -> str:
    """Where the ref goes: `aside/<name>-<commit>`, or the next name that is free itself."""
    sha, name = refs[ref], ref.removeprefix(_BRANCHES)
    # What is no branch may hold what a branch may not.
    root, name = (_BRANCHES, name) if name != ref else ("refs/", ref.removeprefix("refs/"))
    for number in itertools.count(1):
        first = _ASIDE if number == 1 else f"{_ASIDE}-{number}"
        found = f"{root}{first}/{name}-{sha[:_DIGITS]}"
        if refs.get(found, sha) == sha and not find_blockers(refs, found):
            return found
    raise AssertionError  # the loop ends by returning
