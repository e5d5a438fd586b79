"""Packs the objects and refs that years leave behind, one file each, in a repository."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from modelyard.adapters.git.process import hint_of_lock
from modelyard.adapters.git.repository import Git
from modelyard.errors import CannotAnswer

LOCK_SECONDS = 6 * 3600.0
"""A lock that is older was left by a git that was killed."""

# With the first one git packs nothing, silently. The others keep `modelyard gc` from its work, and
# refs from being deleted.
_LOCKS = ("objects/maintenance.lock", "packed-refs.lock", "objects/info/commit-graph.lock")

# Nothing is pruned: answers about objects are cached for as long as the process runs. Each task
# takes one bounded batch, where `git gc` would pack the whole repository anew.
_SETTINGS = {
    "gc.autoDetach": "false",
    "maintenance.autoDetach": "false",
    "maintenance.loose-objects.auto": "1000",
    "maintenance.incremental-repack.auto": "20",
    "core.multiPackIndex": "true",
}
_TASKS = ("--task=loose-objects", "--task=incremental-repack")


def pack_objects(git: Git) -> None:
    """Pack loose objects if there are many, and join small packs; quick if there is nothing to do.

    Safe beside any other git in the checkout, and if it is ended. `git_process` limits its time.

    Raises:
        CannotAnswer: git failed, or a lock is hours old.
    """
    env = {"GIT_CONFIG_COUNT": str(len(_SETTINGS))}
    for number, (name, value) in enumerate(_SETTINGS.items()):
        env |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    git.run("maintenance", "run", "--auto", "--quiet", *_TASKS, env=env)
    _check_locks(git)


def compact_repository(git: Git) -> Sizes:
    """Join all packs and refs, and write what makes the history of one path quick to find.

    Nothing is removed but files whose content is now elsewhere: unreachable objects stay, too, as a
    running watcher may know of them. Safe beside any other git, and if it is ended; a kill may
    leave a lock, which the next run names.

    Raises:
        CannotAnswer: git failed, or a lock is in the way.
    """
    before = _measure(git)
    git.run("pack-refs", "--all", "--prune")
    git.run("repack", "-a", "-d", "-q", "--keep-unreachable")
    # Git takes the filters of changed paths for whoever asks about one path, such as a version's.
    git.run("commit-graph", "write", "--reachable", "--changed-paths", "--no-progress")
    return Sizes(before=before, after=_measure(git))


@dataclass(frozen=True, kw_only=True)
class Size:
    """How large a repository is: its Git directory's bytes and files."""

    bytes: int
    files: int


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What packing made of a repository."""

    before: Size
    after: Size


def _measure(git: Git) -> Size:
    folder = Path(git.root, git.run("rev-parse", "--git-common-dir").stdout.decode().strip())
    sizes = []
    for where, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # another git is at work
                sizes.append(Path(where, name).lstat().st_size)
    return Size(bytes=sum(sizes), files=len(sizes))


def _check_locks(git: Git) -> None:
    """Raise `CannotAnswer` for a lock that keeps later runs from packing."""
    asked = (word for lock in _LOCKS for word in ("--git-path", lock))
    for place in os.fsdecode(git.run("rev-parse", *asked).stdout).splitlines():
        lock = Path(git.root, place).absolute()
        try:
            hours = (time.time() - lock.stat().st_mtime) / 3600
        except FileNotFoundError:
            continue
        if hours * 3600 > LOCK_SECONDS:
            raise CannotAnswer(f"{lock} is {hours:.0f} hours old: {hint_of_lock(str(lock))}")
