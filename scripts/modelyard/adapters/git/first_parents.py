"""Reads the main branch's own history: the commits that a merge or a push left it at, in turn."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from modelyard.adapters.git.names import revision_of
from modelyard.adapters.git.objects import AnswerCache
from modelyard.adapters.git.repository import Git

# Each holds a place for every commit of main, so a watcher of weeks keeps the newest few alone.
_ORDERS = AnswerCache(2)

# Commits after the branch began that touch what it changes; there are seldom any.
_MOST_COMMITS = 50


@dataclass(frozen=True, kw_only=True)
class ChangedFiles:
    """What one commit changed on its first parent: `mode object` by path, None for nothing."""

    commit: str
    author: str
    files: Mapping[str, tuple[str | None, str | None]]


def read_order(git: Git, main: str) -> Mapping[str, int]:
    """The place of each commit in the main branch's own history, the oldest first."""

    def ask() -> Mapping[str, int]:
        listed = git.run("rev-list", "--first-parent", "--reverse", main)
        return {sha: place for place, sha in enumerate(listed.stdout.decode().split())}

    return _ORDERS.get_or_ask((git.root.absolute(), main), ask)


def list_changes(git: Git, since: str, main: str) -> Iterator[ChangedFiles]:
    """What each commit of the main branch after `since` changed, the oldest first."""
    options = ("--diff-merges=first-parent", "--raw", "--no-abbrev", "--no-renames", "--reverse")
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
    out = git.run("diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-abbrev", *sides).stdout
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
