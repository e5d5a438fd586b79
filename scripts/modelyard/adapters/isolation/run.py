"""Runs a command closed in, and says how it ended: the step's side of the supervisor."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from modelyard.adapters.isolation import supervisor
from modelyard.adapters.isolation.confinement import WAYS, Reach
from modelyard.adapters.isolation.task import Ended, Limits, Task, task_document
from modelyard.adapters.processes.fork_client import PRELOADED
from modelyard.adapters.processes.start import (
    Running,
    may_be_forked,
    resolve_command,
    run_command,
    start_command,
    stop_process,
    unwinding_on_signals,
)
from modelyard.domain.isolation import Isolation
from modelyard.errors import CannotAnswer

_GRACE_SECONDS = 15.0


@dataclass(frozen=True, kw_only=True)
class ClosedCommand:
    """A command to run with nothing but what it may reach.

    Args:
        command: Program and arguments; `python` and `modelyard` are the runtime's.
        cwd: Its working folder.
        environment: Its whole environment.
        log: The file that its output is appended to, outside of what it may change.
        folder: A folder for the supervisor, outside of what it may reach.
        reach: What it may reach.
        limits: What it may use.
        python: The interpreter of another runtime; None for this one.
        ways: The ways of closing it in to try.
        port: A port of this machine that it answers on. It finds the socket in `LISTENING`, since
            it can make none.
    """

    command: Sequence[str]
    cwd: Path
    environment: Mapping[str, str]
    log: Path
    folder: Path
    reach: Reach
    limits: Limits
    python: Path | None = None
    ways: tuple[str, ...] = WAYS
    port: int | None = None


def run_closed_in(command: ClosedCommand) -> Ended:
    """Run a command to its end; everything it started ends with it.

    It ends too when this process is interrupted or killed.

    Raises:
        CannotAnswer: It could not be closed in, or its supervisor was killed.
    """
    if not sys.platform.startswith("linux"):
        return _run_in_the_open(command)
    with start_closed_in(command) as running:
        running.wait()
    return read_ended(command)


@contextmanager
def start_closed_in(command: ClosedCommand) -> Iterator[Running]:
    """Start a command, and end it and everything it started at the end of the block.

    What is yielded is its supervisor, which ends with it. Elsewhere than on Linux it is the command
    itself, which nothing closes in.
    """
    with unwinding_on_signals():
        running = _start(command)
        try:
            yield running
        finally:
            stop_process(running.started, grace_seconds=_GRACE_SECONDS)
            running.release()


def read_ended(command: ClosedCommand) -> Ended:
    """How a command ended that was started closed in.

    Raises:
        CannotAnswer: It could not be closed in, or its supervisor was killed.
    """
    if not sys.platform.startswith("linux"):
        return Ended(isolation=Isolation.NONE)
    file = command.folder / "task.ended"
    if not file.exists():
        lines = (command.folder / "task.log").read_text(errors="replace").strip().splitlines()
        last = lines[-1] if lines else "it said nothing"
        raise CannotAnswer(f"the process that supervises the command was stopped: {last}")
    found = json.loads(file.read_text())
    ended = Ended(**{**found, "isolation": Isolation(found["isolation"])})
    if ended.fault:
        raise CannotAnswer(f"{command.command[0]} could not be closed in: {ended.fault}")
    return ended


def _start(command: ClosedCommand) -> Running:
    if not sys.platform.startswith("linux"):
        return start_command(
            command.command,
            cwd=command.cwd,
            environment=command.environment,
            output=command.log,
            python=command.python,
        )
    file = _write_task(command)
    return start_command(
        _command(file),
        cwd=file.parent,
        environment=command.environment,
        output=file.with_suffix(".log"),
        followed=False,  # killed with this process, it could not end what it supervises
    )


def _write_task(command: ClosedCommand) -> Path:
    place = command.folder / "root"
    place.mkdir(parents=True)
    words = tuple(command.command)
    # What is installed may lie in a checkout, of which only the package may be read.
    lent = Path(sys.executable) if words[0] == "modelyard" else None
    task = Task(
        command=tuple(resolve_command(words, command.python or lent)),
        main=words if command.python is None and may_be_forked(words) else None,
        cwd=str(command.cwd),
        environment=dict(command.environment),
        log=str(command.log),
        place=str(place),
        reach=command.reach,
        limits=command.limits,
        asked_by=os.getpid(),
        ways=command.ways,
        port=command.port,
    )
    file = command.folder / "task.json"
    file.write_text(json.dumps(task_document(task)))
    return file


def _command(file: Path) -> list[str]:
    if os.environ.get(PRELOADED):
        return ["modelyard", "step", "supervise", str(file)]
    # Without the command line's imports, and whatever the environment says of modules.
    return [sys.executable, "-I", "-m", supervisor.__name__, str(file)]


def _run_in_the_open(command: ClosedCommand) -> Ended:
    try:
        code = run_command(
            command.command,
            cwd=command.cwd,
            environment=command.environment,
            output=command.log,
            timeout=command.limits.seconds,
            grace_seconds=0,
            python=command.python,
        )
    except TimeoutError:
        return Ended(isolation=Isolation.NONE, exceeded="seconds")
    return Ended(isolation=Isolation.NONE, exit_code=code)
