"""Reads the main branch's own history: the commits that a merge or a push left it at, in turn."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from modelyard.adapters.garbage import garbage_collector_off
from modelyard.adapters.git.names import revision_of
from modelyard.adapters.git.objects import AnswerCache
from modelyard.adapters.git.repository import Git
from modelyard.adapters.kept_file import write_kept_bytes
from modelyard.domain.specs.paths import place_of

# Each holds every commit of main, so a watcher of weeks keeps the newest few alone.
_HISTORIES = AnswerCache(2)
_LATEST = AnswerCache(2)

_KEPT = "main-history-3"
"""The file's name. Another form has another name, and then all is read anew."""

_SEAL = 65
"""Bytes of its last line, the digest of all others."""

_WORTH_WRITING = 50
"""So many new commits make a new file: to read a few again is cheaper than to write all."""

_AT_ONCE = 2000
"""Commits that one git compares with their first parents, within its time limit."""

# With what a .gitmodules asks to leave out: it comes with a push, too.
_WHOLE = ("--no-renames", "--ignore-submodules=none")
_ON_FIRST_PARENT = ("--diff-merges=first-parent", *_WHOLE)

# Commits after the branch began that touch what it changes; there are seldom any.
_MOST_COMMITS = 50


@dataclass(frozen=True, kw_only=True)
class ChangedFiles:
    """What one commit changed on its first parent: `mode object` by path, None for nothing."""

    commit: str
    author: str
    files: Mapping[str, tuple[str | None, str | None]]


class Changes(Mapping[str, tuple[str, ...]]):
    """The commits that changed something in each place, the oldest first.

    A fleet has tens of thousands of places, and most questions are about one model: what the file
    has of a place is only read when it is asked for.

    Args:
        found: The commits by place.
        rows: Of other places, the numbers of the commits as the file has them.
        commits: The commits by number.
    """

    def __init__(
        self,
        found: Mapping[str, tuple[str, ...]] | None = None,
        rows: Mapping[str, str] | None = None,
        commits: Sequence[str] = (),
    ) -> None:
        self._found = found or {}
        self._rows = rows or {}
        self._commits = commits

    def __getitem__(self, place: str) -> tuple[str, ...]:
        """The commits of a place."""
        found = self._found.get(place)
        if found is not None:
            return found
        return tuple(self._commits[int(number)] for number in self._rows[place].split(" "))

    def __iter__(self) -> Iterator[str]:
        """Every place."""
        return iter({**self._rows, **self._found})

    def __len__(self) -> int:
        """How many places there are."""
        return len(self._rows.keys() | self._found.keys())

    def followed_by(self, newest: Mapping[str, Iterable[str]]) -> Changes:
        """The same with further commits of some places."""
        added = {each: (*self.get(each, ()), *commits) for each, commits in newest.items()}
        return Changes({**self._found, **added}, self._rows, self._commits)


@dataclass(frozen=True, kw_only=True)
class MainHistory:
    """The main branch's own history up to one commit, and what each commit changed.

    Args:
        order: The place of each commit, the oldest first.
        changes: The commits that changed something in a place (see `place_of`), the oldest first.
    """

    order: dict[str, int] = field(default_factory=dict)
    changes: Changes = field(default_factory=Changes)

    def followed_by(self, commits: Mapping[str, Iterable[str]]) -> MainHistory:
        """The same with further commits, each with the places that it changed."""
        order, added = dict(self.order), dict[str, list[str]]()
        for commit, places in commits.items():
            order[commit] = len(order)
            for place in places:
                added.setdefault(place, []).append(commit)
        return MainHistory(order=order, changes=self.changes.followed_by(added))

    def until(self, commit: str) -> MainHistory:
        """The part of it that ends with one of its commits."""
        last = self.order[commit]
        order = {each: place for each, place in self.order.items() if place <= last}
        kept = {each: tuple(c for c in found if c in order) for each, found in self.changes.items()}
        return MainHistory(order=order, changes=Changes(kept))


def read_order(git: Git, main: str) -> Mapping[str, int]:
    """The place of each commit in the main branch's own history, the oldest first."""
    return read_main_history(git, main).order


def read_main_history(git: Git, main: str) -> MainHistory:
    """The main branch's own history, up to a commit that is named in full.

    Git compares each commit with its first parent once, and a file in the Git directory keeps what
    it found. To ask git for the commits of a path is a walk through the whole history each time.
    """
    # What is known of a shallow clone is untrue once older commits are fetched.
    cut = git.read_cut()
    here = (git.root.absolute(), cut)
    return _HISTORIES.get_or_ask((*here, main), lambda: _read_on(git, main, cut))


def _read_on(git: Git, main: str, cut: str | None) -> MainHistory:
    """The history, from what is known of it. The file never has one that is cut."""
    here, file = (git.root.absolute(), cut), git.kept_folder / _KEPT
    known: MainHistory = _LATEST.get(here) or (_read_kept(file) if cut is None else MainHistory())
    if main in known.order:
        return known if known.order[main] == len(known.order) - 1 else known.until(main)
    new = _list_new(git, known, main)
    if new is None:  # what is known is of another history
        known = MainHistory()
        new = _list_new(git, known, main) or ()
    found = known.followed_by(_read_places(git, new))
    is_much = len(found.order) // _WORTH_WRITING > len(known.order) // _WORTH_WRITING
    if git.read_cut() != cut:  # another git moved it meanwhile
        return found
    _LATEST.remember(here, found)
    if is_much and cut is None:
        _write_kept(file, found)
    return found


def _list_new(git: Git, known: MainHistory, main: str) -> tuple[str, ...] | None:
    """The commits of `main` that follow on what is known; None if they do not."""
    last = next(reversed(known.order), None)
    between = revision_of(main) if last is None else f"{revision_of(last)}..{revision_of(main)}"
    words = ("rev-list", "--first-parent", "--reverse", "--parents", between)
    done = git.run(*words, accept=(0,) if last is None else (0, 128))
    rows = [row.split() for row in done.stdout.decode().splitlines()]
    if last is not None and (not rows or rows[0][1:2] != [last]):
        return None
    return tuple(row[0] for row in rows)


def _read_places(git: Git, commits: Sequence[str]) -> dict[str, dict[str, None]]:
    """The places that each commit changed on its first parent."""
    options = ("--root", "--name-status", *_ON_FIRST_PARENT)
    words = ("log", "-z", "--stdin", "--no-walk=unsorted", "--format=%H%x00", *options)
    found: dict[str, dict[str, None]] = {}
    commit = ""
    for first in range(0, len(commits), _AT_ONCE):
        some = commits[first : first + _AT_ONCE]
        out = git.run(*words, stdin="\n".join(some).encode()).stdout
        cells = iter(os.fsdecode(out).split("\0")[:-1])
        for head, path in zip(cells, cells, strict=True):
            if not path:  # head is a commit; else a letter, and the path what this commit changed
                commit, found[head] = head, {}
            elif (place := place_of(path)) is not None:
                found[commit][place] = None
    return found


def _read_kept(file: Path) -> MainHistory:
    """What the file has; nothing if it is not as it was written."""
    try:
        content = file.read_bytes()
    except OSError:  # there is none
        return MainHistory()
    body, seal = content[:-_SEAL], content[-_SEAL:]
    if not body or seal != _seal(body):
        return MainHistory()
    order, _, places = body.decode().partition("\n\n")
    commits = order.split("\n")
    with garbage_collector_off():
        by_place = dict(row.split(" ", 1) for row in places.splitlines())
        numbered = dict(zip(commits, range(len(commits)), strict=True))
    return MainHistory(order=numbered, changes=Changes(rows=by_place, commits=commits))


def _write_kept(file: Path, history: MainHistory) -> None:
    """Write the commits, the numbers of those of each place, and the digest of all of it."""
    order = history.order
    rows = [
        " ".join([each, *(str(order[c]) for c in found)]) for each, found in history.changes.items()
    ]
    body = "\n".join([*order, "", *rows, ""]).encode()
    write_kept_bytes(file, body + _seal(body))


def _seal(body: bytes) -> bytes:
    """The last line of the file: a disk that was full or lost its power keeps a part of it."""
    return f"{hashlib.sha256(body).hexdigest()}\n".encode()


def list_changes(git: Git, since: str, main: str) -> Iterator[ChangedFiles]:
    """What each commit of the main branch after `since` changed, the oldest first."""
    options = ("--raw", "--no-abbrev", "--reverse", *_ON_FIRST_PARENT)
    words = ("log", "-z", "--first-parent", "--encoding=UTF-8", *options, "--format=%H%x00%an")
    out = git.run(*words, f"{revision_of(since)}..{revision_of(main)}").stdout
    cells = iter(os.fsdecode(out).split("\0")[:-1])
    commit, author = "", ""
    files: dict[str, tuple[str | None, str | None]] = {}
    for cell, follows in zip(cells, cells, strict=True):
        # A row of --raw starts with a colon, and no commit does.
        if (row := cell.lstrip("\n")).startswith(":"):
            files[follows] = _sides(row)
            continue
        if commit:
            yield ChangedFiles(commit=commit, author=author, files=files)
        commit, author, files = row, follows, {}
    if commit:
        yield ChangedFiles(commit=commit, author=author, files=files)


def read_changed(git: Git, old: str, new: str) -> dict[str, tuple[str | None, str | None]]:
    """What two commits or trees have at the paths where they differ, see `ChangedFiles`."""
    sides = (revision_of(old), revision_of(new))
    out = git.run("diff-tree", "-r", "-z", "--raw", "--no-abbrev", *_WHOLE, *sides).stdout
    cells = iter(os.fsdecode(out).split("\0")[:-1])
    return {path: _sides(row) for row, path in zip(cells, cells, strict=True)}


def _sides(row: str) -> tuple[str | None, str | None]:
    """Both sides of a row such as `:100644 100755 <object> <object> M`."""
    one, other, old, new, _ = row[1:].split(" ")
    sides = ((one, old), (other, new))
    before, after = (None if set(mode) == {"0"} else f"{mode} {name}" for mode, name in sides)
    return before, after


def landing_of(git: Git, main: str, head: str) -> str | None:
    """The commit that brought all changes of `head` into the main branch, if one did.

    A person may have merged the head, moved the main branch to it, or pushed its changes as other
    commits, in one or in several.
    """
    if git.is_ancestor(head, main):
        return first_with(git, main, head)
    base = git.merge_base(main, head)
    if not (changed := git.diff_names(base, head)):
        return None
    words = ("rev-list", "--reverse", "--first-parent", f"--max-count={_MOST_COMMITS}")
    later = git.run(*words, f"{base}..{main}", "--", *changed).stdout.decode().split()
    return next((commit for commit in later if _holds_all(git, commit, head)), None)


def first_with(git: Git, main: str, commit: str) -> str:
    """The first commit of the main branch's own history that contains this ancestor of it."""
    between = f"{commit}..{main}"
    holding = set(git.run("rev-list", "--ancestry-path", between).stdout.decode().split())
    rows = git.run("rev-list", "--reverse", "--first-parent", "--parents", between).stdout.decode()
    for each, first, *_ in (row.split() for row in rows.splitlines()):
        if first == commit:
            return commit
        if each in holding:
            return each
    return commit


def _holds_all(git: Git, commit: str, head: str) -> bool:
    """Whether merging `head` into the commit would change nothing."""
    merged = git.merge_tree(commit, head)
    return not merged.conflicts and merged.tree == git.tree_hash(commit)
