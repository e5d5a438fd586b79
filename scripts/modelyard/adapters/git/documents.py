"""Documents on one branch of a remote: read as one tree, changed by compare-and-swap of each."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate

from modelyard.adapters.git.commit_stream import NewCommit, write_commits
from modelyard.adapters.git.names import safe_line
from modelyard.adapters.git.objects import blob_name
from modelyard.adapters.git.remote_refs import RemoteRefs, pushes_wait, retry_on_conflict
from modelyard.errors import CannotAnswer, Conflict

IN_A_ROW = 8
"""Writes without a rest. A writer that lost a race first has to fetch, so it would lose for ever
against one that never rests."""

REST, LONGEST_REST = 4.0, 1.0
"""How long the rest is: in times of a write, and in seconds. A forge takes seconds for a write."""

PATIENCE_SECONDS = 60.0
"""How long a push is repeated: all writers of all documents share the branch."""

_KINDS = {"120000": "a symbolic link", "160000": "a submodule"}


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What a branch holds at one commit.

    Args:
        commit: The commit; None if there is no such branch.
        files: The object of each file by path.
        others: What stands at other paths, such as `a symbolic link`.
    """

    commit: str | None
    files: Mapping[str, str] = field(default_factory=dict)
    others: Mapping[str, str] = field(default_factory=dict)

    def obstacle(self, path: str) -> str | None:
        """What stands in the way of a document, or None."""
        for there in _prefixes(path):
            kind = self.others.get(there) or ("a file" if there in self.files else None)
            if kind is not None and (there != path or there in self.others):
                return f"{safe_line(there)} is {kind}"
        return f"{safe_line(path)} is a folder" if path in self._folders else None

    @cached_property
    def _folders(self) -> frozenset[str]:
        # A fleet has tens of thousands of files in a few folders.
        parents = {path.rpartition("/")[0] for path in (*self.files, *self.others)} - {""}
        return frozenset(folder for parent in parents for folder in _prefixes(parent))


class BranchDocuments:
    """The documents on a branch that holds nothing else.

    Args:
        refs: The remote.
        branch: Name of the branch.
    """

    def __init__(self, refs: RemoteRefs, branch: str) -> None:
        self.refs = refs
        self.branch = branch
        self.ref = f"refs/heads/{branch}"
        # Only the last one: each write makes a new one, and all of them would fill the memory.
        self._last = Listing(commit=None)
        self._written_at = 0.0
        self._rests_until = 0.0
        self._in_a_row = 0

    def read_tip(self) -> str | None:
        """The commit of the branch now, or in the current snapshot; its objects are here."""
        commit = self.refs.read_refs(self.ref).get(self.ref)
        if commit is not None and commit != self._last.commit:
            self.refs.ensure_commits([commit])
        return commit

    def is_listed(self, commit: str) -> bool:
        """Whether `read` has what this commit holds already."""
        return self._last.commit == commit

    def read(self) -> Listing:
        """What the branch holds now, or in the current snapshot; its objects are here."""
        commit = self.read_tip()
        if commit is None:
            return Listing(commit=None)
        if not self.is_listed(commit):
            self._last = self._list(commit)
        return self._last

    def _list(self, commit: str) -> Listing:
        # Without the cache of `Git.ls_tree`, see `_last`.
        out = self.refs.git.run("ls-tree", "-r", "-z", "--full-tree", commit).stdout
        files: dict[str, str] = {}
        others: dict[str, str] = {}
        for row in os.fsdecode(out).split("\0")[:-1]:
            head, _, path = row.partition("\t")
            mode, _, name = head.split(" ")
            if mode in _KINDS:
                others[path] = _KINDS[mode]
            else:
                files[path] = name
        return Listing(commit=commit, files=files, others=others)

    def write(self, new: NewCommit, *, expected: Mapping[str, str | None]) -> None:
        """Push a commit that changes some documents, on top of whatever else changed meanwhile.

        Args:
            new: The commit.
            expected: The objects of these documents, and of those it depends on, by path; None if
                there is none.

        Raises:
            Conflict: One of the documents is another one by now.
            CannotAnswer: Other writers were faster for too long.
        """

        def attempt() -> bool:
            listing = self.read()
            if any(listing.files.get(path) != name for path, name in expected.items()):
                return False
            began = time.monotonic()
            commit = write_commits(self.refs.git.root, listing.commit, [new])
            self.refs.push_refs({self.ref: (listing.commit, commit)}, may_wait=True)
            self._last = _followed(listing, commit, new.documents)
            self._count(time.monotonic() - began)
            return True

        paths = ", ".join(new.documents)
        if not pushes_wait():  # those are for a rollback, which no other writer waits for
            time.sleep(max(0.0, self._rests_until - time.monotonic()))
        try:
            written = retry_on_conflict(attempt, seconds=PATIENCE_SECONDS)
        except Conflict as error:
            if error.hint is not None:  # it says what is in the way of every attempt
                raise CannotAnswer(error.message, hint=error.hint) from error
            why = f"{self.branch} of {self.refs.remote} moved at every attempt to write {paths}"
            raise CannotAnswer(why, hint="run it again") from error
        if not written:
            raise Conflict(f"another writer changed one of {', '.join(expected)} on {self.branch}")

    def _count(self, seconds: float) -> None:
        """Note a write; after some in a row the next one waits a moment, and nothing else does."""
        if pushes_wait():
            return
        now = time.monotonic()
        is_in_a_row = now - self._written_at < IN_A_ROW * max(seconds, 0.1)
        self._in_a_row = self._in_a_row + 1 if is_in_a_row else 1
        if self._in_a_row % IN_A_ROW == 0:
            self._rests_until = now + min(REST * seconds, LONGEST_REST)
        self._written_at = now


def _followed(
    listing: Listing, commit: str, documents: Mapping[str, bytes | str | None]
) -> Listing:
    """What a commit holds that changed these documents of a listing: git need not list it."""
    # Where a folder was there is a file now, and the other way round.
    below = tuple(f"{path}/" for path in documents)
    above = {
        prefix
        for path, content in documents.items()
        if content is not None
        for prefix in _prefixes(path)
    }
    gone = {*documents, *above}

    def kept(before: Mapping[str, str]) -> dict[str, str]:
        return {
            path: each
            for path, each in before.items()
            if path not in gone and not path.startswith(below)
        }

    new = {
        path: content if isinstance(content, str) else blob_name(content, like=commit)
        for path, content in documents.items()
        if content is not None
    }
    files = {**kept(listing.files), **new}
    return Listing(commit=commit, files=files, others=kept(listing.others))


def _prefixes(path: str) -> list[str]:
    """`a`, `a/b`, `a/b/c` of `a/b/c`."""
    return list(accumulate(path.split("/"), lambda folder, name: f"{folder}/{name}"))


def check_no_branch_in_the_way(refs: RemoteRefs, branch: str) -> None:
    """Raise `CannotAnswer` if another branch's name keeps this one from existing."""
    parts = [f"refs/heads/{each}" for each in _prefixes(branch)[:-1]]
    found = refs.read_refs(*parts, f"refs/heads/{branch}/*")
    for ref in sorted(found):
        name = safe_line(ref.removeprefix("refs/heads/"))
        raise CannotAnswer(
            f"the branch {name} of {refs.remote} stands in the way of {branch}",
            hint=f"modelyard reconcile moves it aside, or: git fetch {refs.remote} && git push "
            f"{refs.remote} {found[ref]}:refs/heads/aside/{name.replace('/', '-')} "
            f":refs/heads/{name}",
        )
