"""Runs a command closed in, and says how it ended: the step's side of the supervisor."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from modelyard.adapters.isolation import supervisor
from modelyard.adapters.isolation.confinement import WAYS, Reach
from modelyard.adapters.isolation.supervisor import Ended, Limits, Task, task_document
from modelyard.adapters.processes.fork_client import PRELOADED
from modelyard.adapters.processes.start import (
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


def run_closed_in(
    command: Sequence[str],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    log: Path,
    folder: Path,
    reach: Reach,
    limits: Limits,
    python: Path | None = None,
    ways: tuple[str, ...] = WAYS,
) -> Ended:
    """Run a command with nothing but what it may reach; everything it started ends with it.

    It ends too when this process is interrupted or killed.

    Args:
        command: Program and arguments; `python` is this interpreter.
        cwd: Its working folder.
        environment: Its whole environment.
        log: The file that its output is appended to, outside of what it may change.
        folder: A folder for the supervisor, outside of what it may reach.
        reach: What it may reach.
        limits: What it may use.
        python: The interpreter of another runtime; None for this one.
        ways: The ways of closing it in to try.

    Raises:
        CannotAnswer: It could not be closed in, or its supervisor was killed.
    """
    if not sys.platform.startswith("linux"):
        return _run_in_the_open(resolve_command(command, python), cwd, environment, log, limits)
    place = folder / "root"
    place.mkdir(parents=True)
    task = Task(
        command=tuple(resolve_command(command, python)),
        main=tuple(command) if python is None and may_be_forked(command) else None,
        cwd=str(cwd),
        environment=dict(environment),
        log=str(log),
        place=str(place),
        reach=reach,
        limits=limits,
        asked_by=os.getpid(),
        ways=ways,
    )
    file = folder / "task.json"
    file.write_text(json.dumps(task_document(task)))
    _supervise(file, environment)
    ended = _read_ended(folder)
    if ended.fault:
        raise CannotAnswer(f"{command[0]} could not be closed in: {ended.fault}")
    return ended


def _supervise(file: Path, environment: Mapping[str, str]) -> None:
    with unwinding_on_signals():
        running = start_command(
            _command(file),
            cwd=file.parent,
            environment=environment,
            output=file.with_suffix(".log"),
            followed=False,  # killed with this process, it could not end what it supervises
        )
        try:
            running.wait()
        finally:
            stop_process(running.started, grace_seconds=_GRACE_SECONDS)
            running.release()


def _command(file: Path) -> list[str]:
    if os.environ.get(PRELOADED):
        return ["modelyard", "step", "supervise", str(file)]
    # Without the command line's imports, and whatever the environment says of modules.
    return [sys.executable, "-I", "-m", supervisor.__name__, str(file)]


def _read_ended(folder: Path) -> Ended:
    file = folder / "task.ended"
    if not file.exists():
        lines = (folder / "task.log").read_text(errors="replace").strip().splitlines()
        last = lines[-1] if lines else "it said nothing"
        raise CannotAnswer(f"the process that supervises the command was stopped: {last}")
    found = json.loads(file.read_text())
    return Ended(**{**found, "isolation": Isolation(found["isolation"])})


def _run_in_the_open(
    command: Sequence[str], cwd: Path, environment: Mapping[str, str], log: Path, limits: Limits
) -> Ended:
    try:
        code = run_command(
            command,
            cwd=cwd,
            environment=environment,
            output=log,
            timeout=limits.seconds,
            grace_seconds=0,
        )
    except TimeoutError:
        return Ended(isolation=Isolation.NONE, exceeded="seconds")
    return Ended(isolation=Isolation.NONE, exit_code=code)
