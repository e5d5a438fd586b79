"""Documents behind refs of a remote: cheap to read, changed only by compare-and-swap."""

from __future__ import annotations

import itertools
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeAlias, TypeVar

from modelyard.adapters.git.commit_stream import NewCommit, write_commits
from modelyard.adapters.git.process import NoAnswer, Rejected
from modelyard.adapters.git.repository import Git
from modelyard.errors import CannotAnswer, Conflict

T = TypeVar("T")

Updates: TypeAlias = Mapping[str, tuple[str | None, str | None]]
"""What each ref is moved from and to; None is "does not exist"."""

Place: TypeAlias = tuple[Path, str]
"""A checkout and the name of one of its remotes."""

Seen: TypeAlias = "dict[Place, KnownRefs]"
"""The refs of each remote of each checkout, as they were read."""

TRIES = 25
"""How often an attempt that lost a race is repeated at least."""

PATIENCE_SECONDS = 15.0
"""How long it is repeated; on a busy machine a writer can lose many times in a row."""

_DOCUMENT = "document.json"
_SPACES = ("heads", "modelyard")
# Where forges keep the heads of pull requests: of forks, and of branches that are gone.
_MORE_SPACES = (*_SPACES, "pull")
_LONGEST_PAUSE = 0.25
_MAGIC = re.compile(r"[*?\[]")


EVERYTHING = ("refs/heads/*", "refs/modelyard/*")
"""Two patterns, so that a snapshot costs one `ls-remote` whatever is asked of it."""


@dataclass(kw_only=True)
class _Snapshot:
    """What was read of the remotes, and when.

    Args:
        lasts: For so many seconds it is as good as new, see `renew_snapshot`.
        seen: What was read.
        at: When that began.
    """

    lasts: float
    seen: Seen = field(default_factory=dict)
    at: float = 0.0


_SNAPSHOT: ContextVar[_Snapshot | None] = ContextVar("_SNAPSHOT", default=None)
_WAITING: ContextVar[Waiting | None] = ContextVar("_WAITING", default=None)


@contextmanager
def one_snapshot(*, lasts: float = 0.0) -> Iterator[None]:
    """Read the refs of each remote once: all reads inside are answered from that snapshot.

    A push from here moves its refs in it, and a lost race drops it. So decisions inside are based
    on one moment and what was done since, and each write is still a compare-and-swap.

    Args:
        lasts: For so many seconds `renew_snapshot` keeps it; only the outermost one counts.
    """
    if _SNAPSHOT.get() is not None:
        yield
        return
    token = _SNAPSHOT.set(_Snapshot(lasts=lasts))
    try:
        yield
    finally:
        _SNAPSHOT.reset(token)


@dataclass
class Waiting:
    """The pushes that wait for the next one, by remote; see `joined_pushes`.

    Attributes:
        was_lost: Whether something that waited is not written, also if that was met.
    """

    updates: dict[Place, dict[str, tuple[str | None, str | None]]] = field(default_factory=dict)
    remotes: dict[Place, RemoteRefs] = field(default_factory=dict)
    was_lost: bool = False

    def add(self, remote: RemoteRefs, updates: Updates) -> None:
        """Let these wait, too; a ref that waits already moves on from where it would be."""
        self.remotes[remote.place] = remote
        before = self.updates.get(remote.place, {})
        self.updates[remote.place] = _followed(before, updates)

    def seen(self, place: Place, refs: Mapping[str, str]) -> dict[str, str]:
        """The refs as they will be."""
        return _moved(refs, self.updates.get(place, {}))

    def push(self, git: Git, remote: str, updates: Updates) -> None:
        """Push what waits together with these.

        Raises:
            Overtaken: Others wrote first. Nothing that waited is written, nor are these.
            WaitedInVain: The same, as the remote does not answer or would not have it.
        """
        carried = self.updates.pop((git.root, remote), {})
        if not carried:
            git.push(remote, updates)
            return
        try:
            git.push(remote, _followed(carried, updates))
        except (Conflict, CannotAnswer) as error:
            is_apart = isinstance(error, Conflict | Rejected) and updates
            if not is_apart:
                raise self._lose(error) from error
        else:
            return
        # One of the two is in the way of the other: apart, each fails for itself.
        try:
            git.push(remote, carried)
        except (Conflict, CannotAnswer) as error:
            raise self._lose(error) from error
        git.push(remote, updates)

    def _lose(self, error: Conflict | CannotAnswer) -> Overtaken | WaitedInVain:
        self.was_lost = True
        kind = Overtaken if isinstance(error, Conflict) else WaitedInVain
        return kind(error.message, hint=error.hint)


@contextmanager
def joined_pushes() -> Iterator[Waiting]:
    """Let each push of facts inside wait for the next push of something else, or for the end.

    They are one push then, all or none: each costs a forge a second and more. Reads inside see what
    waits as written. If the process dies first, none of it was done.

    Raises:
        Overtaken: Others wrote first, so nothing that waited is written.
        WaitedInVain: The same, as the remote does not answer or would not have it.
    """
    with one_snapshot():
        # One inside another is its own end, too: whatever waits until then is pushed.
        waiting = _WAITING.get() or Waiting()
        token = _WAITING.set(waiting)
        try:
            yield waiting
        finally:
            try:
                push_waiting()
            finally:
                _WAITING.reset(token)


@contextmanager
def pushed_at_once() -> Iterator[None]:
    """Let no push inside wait."""
    token = _WAITING.set(None)
    try:
        yield
    finally:
        _WAITING.reset(token)


def pushes_wait() -> bool:
    """Whether a push of facts waits now for another one."""
    return _WAITING.get() is not None


def push_waiting() -> None:
    """Push what waits; before anything is done that depends on it."""
    if (waiting := _WAITING.get()) is None:
        return
    for place in tuple(waiting.updates):
        waiting.remotes[place].push_refs({})


def _followed(first: Updates, then: Updates) -> dict[str, tuple[str | None, str | None]]:
    """What both do, one after the other."""
    both = {ref: (first[ref][0] if ref in first else old, new) for ref, (old, new) in then.items()}
    return {**first, **both}


def _moved(refs: Mapping[str, str], updates: Updates) -> dict[str, str]:
    after = {**refs, **{ref: new for ref, (_, new) in updates.items()}}
    return {ref: sha for ref, sha in after.items() if sha is not None}


def _find_matching(refs: Mapping[str, str], patterns: Sequence[str]) -> dict[str, str]:
    """The refs that match one of the patterns."""
    begins = tuple(pattern.partition("*")[0] for pattern in patterns)
    # A fleet has tens of thousands, and a pattern that ends with its star is only a beginning.
    found = {ref: sha for ref, sha in refs.items() if ref.startswith(begins)}
    if all(pattern.endswith("*") and _MAGIC.search(pattern[:-1]) is None for pattern in patterns):
        return found
    return {r: sha for r, sha in found.items() if any(fnmatchcase(r, each) for each in patterns)}


def forget_snapshot() -> None:
    """Read the refs again, as something else than a push from here has moved one."""
    if (snapshot := _SNAPSHOT.get()) is not None:
        snapshot.seen.clear()


def renew_snapshot() -> bool:
    """Read the refs again if they are too old; whether what is read next is of now."""
    snapshot = _SNAPSHOT.get()
    if snapshot is not None and snapshot.seen and time.monotonic() < snapshot.at + snapshot.lasts:
        return False
    forget_snapshot()
    return True


class Stale(Conflict):
    """The request is about a state that is over: repeating it cannot help."""


class Overtaken(Stale):
    """Facts that waited for a push are about a state that is over: decide again."""


class WaitedInVain(CannotAnswer):
    """Facts that waited for a push cannot be written, whatever is decided."""


def retry_on_conflict(attempt: Callable[[], T], *, seconds: float | None = None) -> T:
    """Run an attempt again after each `Conflict`, for that many seconds or 15; then raise it."""
    deadline = time.monotonic() + (PATIENCE_SECONDS if seconds is None else seconds)
    for tried in itertools.count(1):
        try:
            return attempt()
        except Stale:
            raise
        except Conflict:
            if tried >= TRIES and time.monotonic() > deadline:
                raise
            forget_snapshot()
            # Without a random pause, writers that collided once would collide again.
            longest = min(_LONGEST_PAUSE, 0.01 * 2 ** min(tried, 10))
            time.sleep(longest * secrets.randbelow(1000) / 1000)
    raise AssertionError  # the loop ends by returning or raising


class KnownRefs:
    """All refs of a remote at one moment; the same question has the very same answer.

    Args:
        refs: Their objects by name.
    """

    def __init__(self, refs: Mapping[str, str]) -> None:
        self.refs = refs
        self._found: dict[tuple[str, ...], Mapping[str, str]] = {}

    def matching(self, patterns: tuple[str, ...]) -> Mapping[str, str]:
        """The refs that match."""
        if patterns not in self._found:
            exact = {ref: self.refs[ref] for ref in patterns if ref in self.refs}
            wild = [pattern for pattern in patterns if "*" in pattern]
            self._found[patterns] = {**exact, **_find_matching(self.refs, wild)}
        return self._found[patterns]


class RemoteRefs:
    """The refs of one remote, and the objects behind them.

    Args:
        git: The checkout.
        remote: Name of the remote.

    Attributes:
        here: Commits that are known to be in the checkout, so that git is asked only once.
    """

    def __init__(self, git: Git, remote: str) -> None:
        self.git = git
        self.remote = remote
        self.here: set[str] = set()
        self._last: KnownRefs | None = None

    @property
    def place(self) -> Place:
        """What names it in this process."""
        return self.git.root, self.remote

    def read_refs(self, *patterns: str) -> Mapping[str, str]:
        """The refs that match, as the remote or the current snapshot has them."""
        snapshot = _SNAPSHOT.get()
        if snapshot is None:
            return self.git.ls_remote(self.remote, patterns)
        place, seen = self.place, snapshot.seen
        if place not in seen:
            snapshot.at = time.monotonic() if not seen else snapshot.at
            refs = self.git.ls_remote(self.remote, EVERYTHING)
            if waiting := _WAITING.get():
                refs = waiting.seen(place, refs)
            # Where nothing moved since the last snapshot, what was derived from it still holds.
            if self._last is None or (self._last.refs is not refs and self._last.refs != refs):
                self._last = KnownRefs(refs)
            seen[place] = self._last
        return seen[place].matching(patterns)

    def push_refs(self, updates: Updates, *, may_wait: bool = False) -> None:
        """Move refs of the remote, all or none; see `Git.push`.

        Args:
            updates: What each ref is moved from and to.
            may_wait: Whether this may go with a later push, where `joined_pushes` allows that.
        """
        place, waiting, snapshot = self.place, _WAITING.get(), _SNAPSHOT.get()
        seen = None if snapshot is None else snapshot.seen
        known = None if seen is None else seen.get(place)
        if seen is not None and known is not None and waiting is not None and may_wait:
            waiting.add(self, updates)
            seen[place] = KnownRefs(_moved(known.refs, updates))
            return
        # Dropped first: whatever ends the push, and other checkouts may share the remote.
        forget_snapshot()
        (waiting or Waiting()).push(self.git, self.remote, updates)
        if seen is not None and known is not None:
            seen[place] = KnownRefs(_moved(known.refs, updates))

    def branch_tip(self, branch: str) -> str:
        """The commit of a branch of the remote, its objects fetched; raises `CannotAnswer`."""
        ref = f"refs/heads/{branch}"
        commit = self.read_refs(ref).get(ref)
        if commit is None:
            raise CannotAnswer(f"{self.remote} has no branch {branch}", hint="push it first")
        self.ensure_commits([commit])
        return commit

    def ensure_commits(self, commits: Iterable[str]) -> None:
        """Fetch missing commits; `Conflict` when no ref of the remote reaches one any more."""
        wanted = set(commits) - self.here
        failed: CannotAnswer | None = None
        for tried in range(3):
            if not wanted or not self.git.missing_objects(wanted):
                self.here |= wanted
                return
            try:
                self._fetch(_SPACES if tried == 0 else _MORE_SPACES)
            except NoAnswer:
                raise
            except CannotAnswer as error:
                failed = error  # another process of this checkout may be fetching the same refs
        if lost := self.git.missing_objects(wanted):
            if failed:
                raise failed
            raise Conflict(f"{self.remote} moved while it was read: {', '.join(lost)} is gone")

    def read_documents(self, commits: Sequence[str]) -> list[bytes | None]:
        """The document of each of these commits, in order; None where there is none."""
        names = [f"{commit}:{_DOCUMENT}" for commit in commits]
        found = self.git.read_many(names) if names else {}
        if None in found.values():
            self.ensure_commits(commits)
            found = self.git.read_many(names)
        return [found[name] for name in names]

    def write_document(
        self, document: bytes, *, parents: Sequence[str], message: str, author: str, at: datetime
    ) -> str:
        """Write a commit that holds the document, in the checkout only; returns it for a push."""
        first = parents[0] if parents else None
        commit = NewCommit(
            documents={_DOCUMENT: document},
            message=message,
            author=author,
            at=at,
            merged=parents[1:],
            alone=True,
        )
        return write_commits(self.git.root, first, [commit])

    def _fetch(self, spaces: Sequence[str]) -> None:
        here = f"refs/modelyard-mirror/{re.sub(r'[^A-Za-z0-9]+', '-', self.remote)}"
        self.git.fetch(self.remote, [f"+refs/{space}/*:{here}/{space}/*" for space in spaces])
