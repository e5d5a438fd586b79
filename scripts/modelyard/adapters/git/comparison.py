"""Compares commits by the objects they hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from modelyard.adapters.git.names import revision_of
from modelyard.adapters.git.objects import AnswerCache, is_permanent
from modelyard.adapters.git.repository import Git

# The names that a look reads ahead, see `operations/reconcile/ahead.py`.
_OBJECTS = AnswerCache(100_000)
_NONE = ""


def read_objects(git: Git, names: Iterable[str]) -> dict[str, str | None]:
    """The objects of these names (`commit:path`), asked of one process; None if there is none.

    The commits must be here: a missing commit looks like a missing path.
    """
    asked = [revision_of(name.rstrip("/")) for name in names]
    known: dict[str, str | None] = {
        name: _OBJECTS.get((git.root.absolute(), name)) for name in asked
    }
    if new := [name for name, found in known.items() if found is None]:
        for name, found in git.find_objects(new).items():
            known[name] = found.name if found else _NONE
            if is_permanent(name):
                _OBJECTS.remember((git.root.absolute(), name), known[name])
    return {name: found or None for name, found in known.items()}


def remember_objects(git: Git, objects: Mapping[str, str | None]) -> None:
    """Remember what `read_objects` would find for names in a commit, which was found otherwise."""
    for name, found in objects.items():
        _OBJECTS.remember((git.root.absolute(), name), found or _NONE)
