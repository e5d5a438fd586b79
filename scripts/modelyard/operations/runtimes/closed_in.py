"""What a process in a model's runtime may reach and use, whoever closes it in."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from modelyard.adapters.isolation.confinement import Reach
from modelyard.adapters.isolation.task import Limits
from modelyard.adapters.processes.environment import bare_environment
from modelyard.adapters.processes.fork_client import PRELOADED
from modelyard.adapters.runtimes.environments import Runtime, import_folders
from modelyard.domain.specs.model import Model, TrainerLimits

STORAGE = 10 * 2**30
"""Bytes on disk where model.yaml gives no figure."""

MEGABYTE = 1_000_000
_OWN_MEMORY = 2**30  # what the toolkit needs beside a model
_TOOLKIT = Path(__file__).resolve().parents[2]


def runtime_folders(runtime: Runtime) -> set[str]:
    """The folders that an interpreter is in and imports from."""
    # An environment, and the installation whose interpreter it links to.
    folders = {str(path.parent.parent) for path in (runtime.python, runtime.python.resolve())}
    if not runtime.is_own:  # ours may import from the checkout, which nothing closed in sees
        folders |= import_folders(runtime.python.parent.parent)
    return folders


def reach_of_model(runtime: Runtime, *, readable: tuple[Path, ...], writable: Path) -> Reach:
    """What may be reached by a process that opens a model: no network, and no files of others.

    Args:
        runtime: What it runs in.
        readable: Files and folders that it reads.
        writable: A folder of its own.
    """
    paths = {*runtime_folders(runtime), str(_TOOLKIT), str(runtime.lock_file)}
    return Reach(
        readable=(*sorted(paths), *(str(each) for each in readable)), writable=(str(writable),)
    )


def limits_of_model(model: Model, seconds: float) -> Limits:
    """What a process that opens a model may use: of memory what its server may, and our own.

    Without a figure in model.yaml the machine is the limit, as it is for a server.
    """
    limits, memory = TrainerLimits(), model.server.resources.memory_bytes
    return Limits(
        seconds=seconds,
        memory=sys.maxsize if memory is None else memory + _OWN_MEMORY,
        tasks=limits.processes,
        files=limits.open_files,
        space=STORAGE,
        log=limits.log_megabytes * MEGABYTE,
    )


def model_environment(folder: Path) -> dict[str, str]:
    """The variables of a process that opens a model; its home and temporary files go to a folder.

    They do not name the process that forks others: whoever reaches that leaves the closure.
    """
    kept = {name: value for name, value in bare_environment().items() if name != PRELOADED}
    return {**kept, "HOME": str(folder), "TMPDIR": str(folder)}


EXCEEDED: dict[str, Callable[[Limits], str]] = {
    "seconds": lambda limits: f"took longer than {limits.seconds:.0f} s",
    "memory": lambda limits: (
        f"ran out of memory: it used more than {limits.memory / 2**20:.0f} MiB; raise "
        "server.resources.memory in model.yaml, or let it need less"
    ),
    "tasks": lambda limits: f"had more than {limits.tasks} processes and threads",
    "space": lambda limits: f"wrote more than {limits.space / 2**20:.0f} MiB of files",
    "log": lambda limits: f"printed more than {limits.log // MEGABYTE} MB",
}
"""What is said of a model that exceeded a limit."""
