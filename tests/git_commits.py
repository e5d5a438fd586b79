"""Commits that a test writes without a working tree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelyard.adapters.git.repository import Git


def write_commit(
    git: Git, base: str | None, documents: Mapping[str, bytes | None], **commit: Any
) -> str:
    """Write a commit of `base` with these documents; see `Git.write_tree` and `commit_tree`."""
    return git.commit_tree(git.write_tree(base, documents), **commit)
