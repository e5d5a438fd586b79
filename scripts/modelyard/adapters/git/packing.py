"""Packs the objects that a process of weeks leaves behind, one file each, in its checkout."""

from __future__ import annotations

from modelyard.adapters.git.repository import Git

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
    """
    env = {"GIT_CONFIG_COUNT": str(len(_SETTINGS))}
    for number, (name, value) in enumerate(_SETTINGS.items()):
        env |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    git.run("maintenance", "run", "--auto", "--quiet", *_TASKS, env=env)
