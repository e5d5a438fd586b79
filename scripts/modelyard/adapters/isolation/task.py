"""What a supervisor is asked to run, and what it says of it; both go through JSON files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from modelyard.adapters.isolation.confinement import WAYS, Reach
from modelyard.domain.isolation import Isolation

LISTENING = "MODELYARD_LISTENING"
"""The environment variable with the descriptor of the socket that a command is given."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a closed-in process may use.

    Args:
        seconds: How long it may run.
        memory: Bytes in memory, of all its processes.
        tasks: Processes and threads at one time.
        files: Open files of one process.
        space: Bytes on disk in the folders that it may change.
        log: Bytes of its output.
    """

    seconds: float
    memory: int
    tasks: int
    files: int
    space: int
    log: int


@dataclass(frozen=True, kw_only=True)
class Task:
    """What the supervisor is asked to run.

    Args:
        command: Program and arguments.
        main: The same as `modelyard ...` or `python FILE.py ...`, if a fork of this process may
            become it instead.
        cwd: Its working folder.
        environment: Its whole environment.
        log: The file that its output is appended to.
        place: An empty folder for the root of its file system.
        reach: What it may reach.
        limits: What it may use.
        asked_by: The process that asked; when it ends, all is ended.
        ways: The ways of closing it in to try.
        port: The port of this machine whose socket it is given; None for none.
    """

    command: tuple[str, ...]
    main: tuple[str, ...] | None
    cwd: str
    environment: Mapping[str, str]
    log: str
    place: str
    reach: Reach
    limits: Limits
    asked_by: int
    ways: tuple[str, ...] = WAYS
    port: int | None = None


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How it ended.

    Args:
        exit_code: Its exit code, 128 and the signal's number if one ended it; None if it was ended.
        exceeded: The name of the limit that it exceeded, if any.
        isolation: By which means it was closed in.
        memory: The most bytes in memory that were seen.
        fault: Why it could not be closed in, if that failed.
    """

    isolation: Isolation
    exit_code: int | None = None
    exceeded: str | None = None
    memory: int = 0
    fault: str | None = None


def task_document(task: Task) -> dict[str, Any]:
    """The task as JSON."""
    return asdict(task)


def read_task(document: Mapping[str, Any]) -> Task:
    """The task of `task_document`."""
    reach: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in document["reach"].items()
    }
    return Task(**{**document, "reach": Reach(**reach), "limits": Limits(**document["limits"])})
