"""Compares commits by the objects they hold, and finds the one that brought a branch to main."""

from __future__ import annotations

from collections.abc import Iterable

from modelyard.adapters.git.names import revision_of
from modelyard.adapters.git.objects import AnswerCache, is_permanent
from modelyard.adapters.git.repository import Git

# Four names for each release of a thousand models.
_OBJECTS = AnswerCache(20_000)
_NONE = ""

# Commits after the branch began that touch what it changes; there are seldom any.
_MOST_COMMITS = 50


def read_objects(git: Git, names: Iterable[str]) -> dict[str, str | None]:
    """The objects of these names (`commit:path`), asked of one process; None if there is none.

    The commits must be here: a missing commit looks like a missing path.
    """
    asked = [revision_of(name.rstrip("/")) for name in names]
    known: dict[str, str | None] = {
        name: _OBJECTS.get((git.root.absolute(), name)) for name in asked
    }
    if new := [name for name, found in known.items() if found is None]:
        lines = "".join(f"{name}\n" for name in new).encode("utf-8", "surrogateescape")
        rows = git.run("cat-file", "--batch-check", stdin=lines).stdout.split(b"\n")
        for name, row in zip(new, rows, strict=False):
            known[name] = _NONE if row.endswith(b" missing") else row.partition(b" ")[0].decode()
            if is_permanent(name):
                _OBJECTS.remember((git.root.absolute(), name), known[name])
    return {name: found or None for name, found in known.items()}


def landing_of(git: Git, main: str, head: str) -> str | None:
    """The commit that brought all changes of `head` into the main branch, if one did.

    A person may have merged the head, moved the main branch to it, or pushed its changes as other
    commits, in one or in several.
    """
    if git.is_ancestor(head, main):
        return _merge_of(git, main, head)
    base = git.merge_base(main, head)
    if not (changed := git.diff_names(base, head)):
        return None
    words = ("rev-list", "--reverse", "--first-parent", f"--max-count={_MOST_COMMITS}")
    later = git.run(*words, f"{base}..{main}", "--", *changed).stdout.decode().split()
    return next((commit for commit in later if _holds_all(git, commit, head)), None)


def _holds_all(git: Git, commit: str, head: str) -> bool:
    """Whether merging `head` into the commit would change nothing."""
    merged = git.merge_tree(commit, head)
    return not merged.conflicts and merged.tree == git.tree_hash(commit)


def _merge_of(git: Git, main: str, head: str) -> str:
    """The first commit of the main branch that contains `head`, which may be `head` itself."""
    between = f"{head}..{main}"
    holding = set(git.run("rev-list", "--ancestry-path", between).stdout.decode().split())
    rows = git.run("rev-list", "--reverse", "--first-parent", "--parents", between).stdout.decode()
    for commit, first, *_ in (row.split() for row in rows.splitlines()):
        if first == head:
            return head
        if commit in holding:
            return commit
    return head
