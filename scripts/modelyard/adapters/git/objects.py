"""Parses git's output about objects, and caches it: an object never changes."""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")

# A full object name, or a path in one.
_LASTING = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?(:.*)?", re.DOTALL)
_FIELDS = ("%H", "%an", "%cn", "%ct", "%s", "%(trailers:only=true,unfold=true)")

_SHA1_DIGITS = 40

LOG_FORMAT = f"--format={'%x00'.join(_FIELDS)}"
"""How `git log -z` is asked for what `log_entries` reads."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One file of a commit: its mode (`100644`), its blob and its path."""

    mode: str
    blob: str
    path: str


@dataclass(frozen=True, kw_only=True)
class LogEntry:
    """One commit; `at` is the committer's time, a repeated trailer has several lines."""

    sha: str
    author: str
    committer: str
    at: datetime
    subject: str
    trailers: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Merged:
    """What merging two commits gives: a tree, and the paths that need a person."""

    tree: str
    conflicts: tuple[str, ...]


def blob_name(content: bytes, *, like: str) -> str:
    """The name that git gives a file of these bytes, in a repository with names like this one."""
    data = b"blob %d\0%s" % (len(content), content)
    kind = "sha1" if len(like) == _SHA1_DIGITS else "sha256"
    return hashlib.new(kind, data, usedforsecurity=False).hexdigest()


class AnswerCache:
    """A cache of answers by question; the least recently used one is dropped first.

    Args:
        most: How many are kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._answers: OrderedDict[tuple[object, ...], Any] = OrderedDict()
        self._lock = threading.Lock()

    def get_or_ask(self, question: tuple[object, ...], ask: Callable[[], T]) -> T:
        """The cached answer, or else the one that `ask` returns now."""
        found: T | None = self.get(question)
        if found is None:
            found = ask()
            self.remember(question, found)
        return found

    def get(self, question: tuple[object, ...]) -> Any:
        """The cached answer, or None."""
        with self._lock:
            if question in self._answers:
                self._answers.move_to_end(question)
            return self._answers.get(question)

    def remember(self, question: tuple[object, ...], answer: object) -> None:
        """Cache an answer; None is not one."""
        if answer is None:
            return
        with self._lock:
            self._answers[question] = answer
            while len(self._answers) > self._most:
                self._answers.popitem(last=False)


def is_permanent(revisions: str) -> bool:
    """Whether a revision, or a range `a..b`, means the same objects for ever.

    True of full object names, and of paths in them; a branch or `HEAD` moves.
    """
    return all(_LASTING.fullmatch(word) for word in revisions.split(".."))


def tree_entries(out: bytes) -> tuple[Entry, ...]:
    """The files in the output of `ls-tree -r -z`; no submodules."""
    entries = []
    for row in out.split(b"\0")[:-1]:
        mode, kind, tail = row.split(b" ", 2)
        blob, _, path = tail.partition(b"\t")
        if kind == b"blob":
            entries.append(Entry(mode=mode.decode(), blob=blob.decode(), path=os.fsdecode(path)))
    return tuple(entries)


def log_entries(out: bytes) -> tuple[LogEntry, ...]:
    """The commits in the output of `log -z` with `LOG_FORMAT`."""
    cells, width = out.decode("utf-8", "replace").split("\0")[:-1], len(_FIELDS)
    return tuple(_log_entry(cells[i : i + width]) for i in range(0, len(cells), width))


def _log_entry(cells: Sequence[str]) -> LogEntry:
    """One commit from the fields asked for."""
    sha, author, committer, seconds, subject, block = cells
    trailers: dict[str, str] = {}
    for key, _, value in (line.partition(":") for line in block.splitlines() if ":" in line):
        trailers[key] = "\n".join(filter(None, (trailers.get(key), value.strip())))
    at = datetime.fromtimestamp(int(seconds), UTC)
    return LogEntry(
        sha=sha, author=author, committer=committer, at=at, subject=subject, trailers=trailers
    )
