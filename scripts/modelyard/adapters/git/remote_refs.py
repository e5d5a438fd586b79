"""Documents behind refs of a remote: looked at cheaply, changed only by compare-and-swap."""

from __future__ import annotations

import itertools
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeAlias, TypeVar

from modelyard.adapters.git.process import NoAnswer
from modelyard.adapters.git.repository import Git
from modelyard.errors import CannotAnswer, Conflict

T = TypeVar("T")

Seen: TypeAlias = dict[tuple[Path, str], dict[str, str]]
"""What each remote of each checkout was seen to hold."""

TRIES = 25
"""How often a lost race is run again at the least."""

PATIENCE_SECONDS = 15.0
"""For how long it is run again; on a busy machine a writer can lose for many tries in a row."""

_DOCUMENT = "document.json"
_LONGEST_PAUSE = 0.25


_EVERYTHING = ("refs/heads/*", "refs/modelyard/*")
_GLANCE: ContextVar[Seen | None] = ContextVar("_GLANCE", default=None)


@contextmanager
def one_snapshot() -> Iterator[None]:
    """Look at each remote once: what is asked inside is answered from that look.

    Until something is pushed from here, or a race is lost: then it is looked at again. So what is
    decided inside is decided from one moment, and what is written still has to be the first.
    """
    if _GLANCE.get() is not None:
        yield
        return
    token = _GLANCE.set({})
    try:
        yield
    finally:
        _GLANCE.reset(token)


def _look_again() -> None:
    if seen := _GLANCE.get():
        seen.clear()


class Stale(Conflict):
    """What was asked is about a state that is over: trying again by itself cannot help."""


def retry_on_conflict(attempt: Callable[[], T]) -> T:
    """Run an attempt until it does not end in `Conflict`, or raise that when patience is over."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    for tried in itertools.count(1):
        try:
            return attempt()
        except Stale:
            raise
        except Conflict:
            if tried >= TRIES and time.monotonic() > deadline:
                raise
            _look_again()
            # Writers that collided once would collide again without chance.
            longest = min(_LONGEST_PAUSE, 0.01 * 2 ** min(tried, 10))
            time.sleep(longest * secrets.randbelow(1000) / 1000)
    raise AssertionError  # the loop ends by returning or raising


class RemoteRefs:
    """The refs of one remote, and the objects behind them.

    Args:
        git: The checkout.
        remote: Name of the remote.

    Attributes:
        here: Commits known to be here already, to ask git only once about each.
    """

    def __init__(self, git: Git, remote: str) -> None:
        self.git = git
        self.remote = remote
        self.here: set[str] = set()

    def look(self, *patterns: str) -> dict[str, str]:
        """The refs that match, as they are in the remote now."""
        seen = _GLANCE.get()
        if seen is None:
            return self.git.ls_remote(self.remote, patterns)
        place = (self.git.root, self.remote)
        if place not in seen:
            seen[place] = self.git.ls_remote(self.remote, _EVERYTHING)
        return {
            ref: sha
            for ref, sha in seen[place].items()
            if any(fnmatchcase(ref, pattern) for pattern in patterns)
        }

    def push(self, updates: Mapping[str, tuple[str | None, str | None]]) -> None:
        """Move refs of the remote, all or none; see `Git.push`."""
        try:
            self.git.push(self.remote, updates)
        finally:
            _look_again()

    def tip(self, branch: str) -> str:
        """The commit of a branch of the remote, with its objects here; raises `CannotAnswer`."""
        ref = f"refs/heads/{branch}"
        commit = self.look(ref).get(ref)
        if commit is None:
            raise CannotAnswer(f"{self.remote} has no branch {branch}", hint="push it first")
        self.ensure([commit])
        return commit

    def ensure(self, commits: Iterable[str]) -> None:
        """Have these commits here; `Conflict` when nothing in the remote leads to one any more."""
        wanted = set(commits) - self.here
        failed: CannotAnswer | None = None
        for _ in range(3):
            if not wanted or not self.git.missing(wanted):
                self.here |= wanted
                return
            try:
                self._fetch()
            except NoAnswer:
                raise
            except CannotAnswer as error:
                failed = error  # another process of this checkout may be fetching the same refs
        if lost := self.git.missing(wanted):
            if failed:
                raise failed
            raise Conflict(f"{self.remote} moved while it was read: {', '.join(lost)} is gone")

    def documents(self, commits: Sequence[str]) -> list[bytes | None]:
        """The document of each of these commits, in order; None of one that holds none."""
        names = [f"{commit}:{_DOCUMENT}" for commit in commits]
        found = self.git.read_many(names) if names else {}
        if None in found.values():
            self.ensure(commits)
            found = self.git.read_many(names)
        return [found[name] for name in names]

    def write(
        self, document: bytes, *, parents: Sequence[str], message: str, author: str, at: datetime
    ) -> str:
        """Write a commit that holds the document, here only; returns it for a push."""
        tree = self.git.write_file_tree(_DOCUMENT, document)
        return self.git.commit_tree(tree, parents=parents, message=message, author=author, at=at)

    def _fetch(self) -> None:
        here = f"refs/modelyard-mirror/{re.sub(r'[^A-Za-z0-9]+', '-', self.remote)}"
        spaces = ("heads", "modelyard")
        self.git.fetch(self.remote, [f"+refs/{space}/*:{here}/{space}/*" for space in spaces])
