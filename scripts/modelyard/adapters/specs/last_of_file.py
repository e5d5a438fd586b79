"""Finds the spec of a file as it was readable last in the history of the main branch."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

from modelyard.adapters.git.objects import AnswerCache
from modelyard.adapters.git.repository import Git
from modelyard.adapters.specs import schemas
from modelyard.adapters.specs.documents import KINDS, build_spec, load_yaml
from modelyard.adapters.specs.yaml_reader import MAX_BYTES
from modelyard.errors import CannotAnswer

# Nearly always the last commit of a file broke it. To look for more of them at once could lead
# through the whole history of the branch, so that is only done after a row of broken ones.
_ONE_BY_ONE = 8
_MOST_AT_ONCE = 64

# A megabyte takes half a second to parse, and a push of a megabyte can hold a thousand of them: the
# watcher would be restarted before it came to an end. Hardly any spec is longer than a short one.
_MOST_BYTES = 16 << 20
_SHORT_BYTES = 1 << 14

_LAST = AnswerCache(256)


def read_last(
    git: Git, commit: str, kind: str, file: str, *, name: str | None
) -> tuple[Any, str] | None:
    """The spec of a file as it was readable last, and the commit before which it was.

    None if it never was, as far as this clone shows.
    """
    about = (git.root.absolute(), git.read_cut(), kind, file, name)

    def ask() -> tuple[tuple[Any, str] | None]:
        newest = next(iter(git.log(commit, path=file, first_parent=True, limit=1)), None)
        if newest is None:
            return (None,)
        # The same at each commit until the file changes again.
        known = (*about, "changed")
        return _LAST.get_or_ask((*known, newest.sha), lambda: _find_last(git, newest.sha, known))

    # A fleet asks for each of its models, and git walks through the history each time.
    return _LAST.get_or_ask((*about, commit), ask)[0]


def _find_last(git: Git, newest: str, known: tuple[Any, ...]) -> tuple[tuple[Any, str] | None]:
    kind, file, name = known[2:5]
    left = _MOST_BYTES
    for sha in _changes(git, newest, file):
        # Whoever breaks a file again and again lets nobody look through all of it each time.
        found: tuple[tuple[Any, str] | None] | None = _LAST.get((*known, sha))
        if found is not None:
            return found
        before = f"{sha}^:{file}"
        # Each alone: a push of a few kilobytes can hold many files of a hundred megabytes.
        text = git.read_many([before])[before]
        if text is None or len(text) > min(MAX_BYTES, max(left, _SHORT_BYTES)):
            continue
        left -= len(text)
        spec = _build_valid(kind, file, text)
        if spec is not None and (name is None or spec.name == name):
            return ((spec, sha),)
    return (None,)


def _build_valid(kind: str, file: str, text: bytes) -> Any:
    """One file's dataclass, or None; why it is none takes seconds to say of a megabyte of keys."""
    loaded = load_yaml(text, name=file)
    if loaded.problems or not schemas.is_valid(kind, loaded.document):
        return None
    try:
        return build_spec(KINDS[kind], loaded.document)
    except CannotAnswer:
        return None


def _changes(git: Git, commit: str, file: str) -> Iterator[str]:
    """The commits that changed a file, newest first: one by one, and then ever more at once."""
    known, size = list[str](), 1
    for rounds in count(1):
        # It begins with the last known one, which is none of the new ones.
        at, limit = (known[-1], size + 1) if known else (commit, size)
        found = [each.sha for each in git.log(at, path=file, first_parent=True, limit=limit)]
        known = found[1:] if known else found
        if not known:
            return
        yield from known
        size = 1 if rounds < _ONE_BY_ONE else min(2 * size, _MOST_AT_ONCE)
