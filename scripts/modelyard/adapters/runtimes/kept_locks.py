"""Finds the lock of a digest among what the repository keeps, now or at an earlier commit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from modelyard.adapters.git.names import revision_of
from modelyard.adapters.git.repository import Git
from modelyard.domain.specs.paths import FIRST_LOCK, PLATFORM_LOCK, trainer_lock


def read_lock(git: Git, pin: str, *, commit: str, model: str) -> bytes | None:
    """The lock with this SHA-256 in the history of a commit, or None.

    Version 0.1 pinned the lock of developers, so that one is looked for too.

    Args:
        git: The repository.
        pin: SHA-256 of the lock as Git keeps it.
        commit: The commit whose tree and history are searched.
        model: The model that may have a lock of its own.
    """
    paths = (trainer_lock(model), PLATFORM_LOCK, FIRST_LOCK)
    for content in git.read_many([f"{commit}:{path}" for path in paths]).values():
        if content is not None and hashlib.sha256(content).hexdigest() == pin:
            return content
    for blob in _earlier_blobs(git, commit, paths):
        content = git.read_many([blob])[blob]
        if content is not None and hashlib.sha256(content).hexdigest() == pin:
            return content
    return None


def _earlier_blobs(git: Git, commit: str, paths: tuple[str, ...]) -> Iterator[str]:
    """The blobs that these paths ever had, the newest first."""
    words = ("rev-list", "--objects", "--full-history", revision_of(commit))
    for row in git.run(*words, "--", *paths).stdout.decode("utf-8", "replace").splitlines():
        name, _, path = row.partition(" ")
        if path in paths:
            yield name
