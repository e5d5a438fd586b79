"""Finds the spec of a file as it was readable last in the history of the main branch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from typing import Any, TypeAlias

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

_Found: TypeAlias = tuple[tuple[Any, str] | None]


def read_last(
    git: Git, commit: str, kind: str, file: str, *, name: str | None
) -> tuple[Any, str] | None:
    """The spec of a file as it was readable last, and the commit before which it was.

    None if it never was, as far as this clone shows.
    """
    search = _Search(git=git, kind=kind, file=file, name=name)
    # A fleet asks for each of its models, and git walks through the history each time.
    return _LAST.get_or_ask((*search.question, "at", commit), lambda: search.find_at(commit))[0]


@dataclass(frozen=True, kw_only=True)
class _Search:
    """A search for one file; what it finds is in a tuple, as the cache keeps no None.

    Args:
        git: The repository.
        kind: The kind of the spec.
        file: Its path.
        name: The name that it must have; None for a spec without one.
    """

    git: Git
    kind: str
    file: str
    name: str | None

    @cached_property
    def question(self) -> tuple[object, ...]:
        """What identifies the search, but for where it begins."""
        return (self.git.root.absolute(), self.git.read_cut(), self.kind, self.file, self.name)

    def find_at(self, commit: str) -> _Found:
        """What was readable last at a commit: the same at each until the file changes again."""
        log = self.git.log(commit, path=self.file, first_parent=True, limit=1)
        return self._find_before(log[0].sha) if log else (None,)

    def _find_before(self, newest: str) -> _Found:
        return _LAST.get_or_ask(self._change(newest), lambda: self._look_through(newest))

    def _change(self, sha: str) -> tuple[object, ...]:
        return (*self.question, "changed by", sha)

    def _look_through(self, newest: str) -> _Found:
        left = _MOST_BYTES
        for sha in _changes(self.git, newest, self.file):
            # Whoever breaks a file again and again lets nobody look through all of it each time.
            known: _Found | None = _LAST.get(self._change(sha))
            if known is not None:
                return known
            before = f"{sha}^:{self.file}"
            # Each alone: a push of a few kilobytes can hold many files of a hundred megabytes.
            text = self.git.read_many([before])[before]
            if text is None or len(text) > min(MAX_BYTES, max(left, _SHORT_BYTES)):
                continue
            left -= len(text)
            spec = _build_valid(self.kind, self.file, text)
            if spec is not None and (self.name is None or spec.name == self.name):
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
