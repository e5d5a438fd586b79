"""What a process in a model's runtime may reach and use, whoever closes it in."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from modelyard.adapters.isolation.confinement import WAYS, Reach, find_means
from modelyard.adapters.isolation.credentials import find_credentials, in_pod
from modelyard.adapters.isolation.task import Limits
from modelyard.adapters.processes.environment import bare_environment
from modelyard.adapters.processes.fork_client import PRELOADED
from modelyard.adapters.runtimes.environments import Runtime, import_folders
from modelyard.domain.artifact_formats import CODE_FORMATS
from modelyard.domain.isolation import Isolation, Unisolated
from modelyard.domain.specs.model import Model, TrainerLimits
from modelyard.errors import CannotAnswer

STORAGE = 10 * 2**30
"""Bytes on disk where model.yaml gives no figure."""

MEGABYTE = 1_000_000
_OWN_MEMORY = 2**30  # what the toolkit needs beside a model
_NAMED = 3
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


def find_pod_isolation(folder: Path, ways: tuple[str, ...] = WAYS) -> Isolation | None:
    """By which means this pod can close something in; None on a machine that is no pod.

    Args:
        folder: Where they are tried, in a new folder of it.
        ways: The ways to try.
    """
    if not in_pod():
        return None
    place = folder / "means"
    place.mkdir()
    return find_means(Reach(readable=(), writable=()), place, ways).isolation


def refuse_unisolated(isolation: Isolation | None, unisolated: Unisolated, *, what: str) -> None:
    """In a pod: refuse to run what the kernel cannot close in, as modelyard.yaml says.

    Args:
        isolation: What was found, see `find_pod_isolation`.
        unisolated: What follows if that is nothing.
        what: What would run.

    Raises:
        CannotAnswer: It may not run here.
    """
    if isolation is not Isolation.NONE or unisolated is Unisolated.ACCEPTED:
        return
    found = list(find_credentials(os.environ))
    if found or unisolated is Unisolated.REFUSED:
        held = f", and its container holds {', '.join(found[:_NAMED])}" if found else ""
        raise CannotAnswer(
            f"this pod offers neither Landlock nor namespaces to close {what} in{held}",
            hint="use nodes with Linux 6.2 or later whose containers may use Landlock, or see "
            "unisolated_trainers in modelyard.yaml",
        )


def refuse_unisolated_model(
    model: Model, unisolated: Unisolated, folder: Path, ways: tuple[str, ...] = WAYS
) -> None:
    """In a pod: as `refuse_unisolated`, for a model that runs code when it is opened."""
    if code := sorted(set(CODE_FORMATS).intersection(model.artifact.accepted_formats)):
        what = f"a model in the format {' or '.join(code)}"
        refuse_unisolated(find_pod_isolation(folder, ways), unisolated, what=what)


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
