"""Commits that a test writes without a working tree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from modelyard.adapters.git.repository import Git


def write_commit(
    git: Git, base: str | None, documents: Mapping[str, bytes | None], **commit: Any
) -> str:
    """Write a commit of `base` with these documents; see `Git.write_tree` and `commit_tree`."""
    return git.commit_tree(git.write_tree(base, documents), **commit)


STATE = "refs/heads/modelyard/state"
"""The branch of the facts."""


def put_state(git: Git, path: str, document: bytes | None) -> None:
    """Write whatever bytes in place of a document of the facts; None deletes it."""
    before = git.ls_remote("origin", [STATE]).get(STATE)
    if before and git.missing_objects([before]):
        git.fetch("origin", [f"+{STATE}:refs/heads/state-of-a-test"])
    commit = write_commit(
        git,
        before,
        {path: document},
        parents=[before] if before else [],
        message="By hand",
        author="Mallory",
        at=datetime(2026, 3, 1, tzinfo=UTC),
    )
    git.push("origin", {STATE: (before, commit)})


def spoil_state(git: Git, path: str, document: bytes = b"{") -> Callable[[], None]:
    """Write what nobody can read; returns what mends it."""
    tip = git.ls_remote("origin", [STATE])[STATE]
    if git.missing_objects([tip]):
        git.fetch("origin", [f"+{STATE}:refs/heads/state-of-a-test"])
    before = git.read_many([f"{tip}:{path}"])[f"{tip}:{path}"]
    put_state(git, path, document)
    return lambda: put_state(git, path, before)
