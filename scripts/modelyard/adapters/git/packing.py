"""Packs the objects that a process of weeks leaves behind, one file each, in its checkout."""

from __future__ import annotations

import time
from pathlib import Path

from modelyard.adapters.git.repository import Git
from modelyard.errors import CannotAnswer

LOCK_SECONDS = 6 * 3600.0
"""A lock that is older was left by a git that was killed; git then packs nothing, silently."""

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
        CannotAnswer: git failed, or the lock of another one is hours old.
    """
    env = {"GIT_CONFIG_COUNT": str(len(_SETTINGS))}
    for number, (name, value) in enumerate(_SETTINGS.items()):
        env |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    git.run("maintenance", "run", "--auto", "--quiet", *_TASKS, env=env)
    _check_lock(git)


def _check_lock(git: Git) -> None:
    """Raise `CannotAnswer` for a lock that keeps every later run from packing."""
    place = git.run("rev-parse", "--git-path", "objects/maintenance.lock").stdout.decode().strip()
    lock = Path(git.root, place).absolute()
    try:
        hours = (time.time() - lock.stat().st_mtime) / 3600
    except FileNotFoundError:
        return
    if hours * 3600 > LOCK_SECONDS:
        raise CannotAnswer(
            f"{lock} is {hours:.0f} hours old: if no git is at work there, a killed one left it: "
            f"rm {lock}"
        )
