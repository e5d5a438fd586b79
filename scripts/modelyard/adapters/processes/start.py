"""Starts, follows and stops processes, forked from a preloaded one where that is offered."""

from __future__ import annotations

import atexit
import functools
import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Literal

from modelyard.adapters.processes.interruption import ending_what_it_started, not_now, now
from modelyard.adapters.processes.process_table import (
    Started,
    end_session,
    find_process,
    is_running,
    open_handle,
)

__all__ = [
    "PRELOADED",
    "Running",
    "Started",
    "alive",
    "ending_what_it_started",
    "launch",
    "run",
    "start",
    "stop",
]

PRELOADED = "MODELYARD_PRELOADED"
"""The environment variable that names the socket of `modelyard preload`."""

_LOGGER = logging.getLogger(__name__)
_SECONDS_TO_ANSWER = 30.0

# Children of this process; asking about them reaps them, so that none stays a zombie.
_children: dict[int, subprocess.Popen[bytes]] = {}


class Running:
    """A process somebody may wait for.

    Args:
        started: The process.
        code: Says how it ended; called once, after it ended.
        held: What is to be let go of then.
    """

    def __init__(self, started: Started, code: Callable[[], int], held: ExitStack) -> None:
        self.started = started
        self._code = code
        self._held = held
        self._known: int | None = None
        self._handle = open_handle(started)
        if self._handle is not None:
            held.callback(os.close, self._handle)

    def poll(self) -> int | None:
        """The exit code, 128 + the signal's number if one ended it, or None while it runs."""
        return self._ended(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """The exit code once it ended; `TimeoutError` when that is not within `timeout` seconds."""
        code = self._ended(timeout)
        if code is None:
            message = f"process {self.started.pid} did not end within {timeout} s"
            raise TimeoutError(message)
        return code

    def let_go(self) -> None:
        """Give up waiting; the process runs on."""
        self._held.close()

    def _ended(self, timeout: float | None) -> int | None:
        now()
        if self._known is None:
            if self._handle is not None:
                poll = select.poll()
                poll.register(self._handle, select.POLLIN)
                if not poll.poll(None if timeout is None else timeout * 1000):
                    return None
            code = self._code()
            self._known = 128 - code if code < 0 else code
            self._held.close()
        return self._known


def start(
    args: Sequence[str], *, cwd: Path, log: Path, environment: Mapping[str, str] | None = None
) -> Started:
    """Start `modelyard ARGS` in a session of its own; it stays when this process ends.

    Args:
        args: Arguments of modelyard, such as `["serve", "--port", "8080"]`.
        cwd: Its working folder.
        log: The file its output is appended to; made with its folder where missing.
        environment: Variables laid over this process's own.
    """
    whole = {**os.environ, **(environment or {})}
    running = launch(["modelyard", *args], cwd=cwd, environment=whole, output=log, followed=False)
    running.let_go()
    return running.started


def run(
    args: Sequence[str],
    *,
    cwd: Path,
    environment: Mapping[str, str] | None = None,
    stdout: Path | Literal["inherit"] = "inherit",
    timeout: float | None = None,
) -> int:
    """Run `modelyard ARGS` to its end and return its exit code.

    Whatever interrupts the waiting, SIGTERM too, also ends the process and all of its session.

    Args:
        args: Arguments of modelyard.
        cwd: Its working folder.
        environment: Variables laid over this process's own.
        stdout: A file that stdout and stderr are appended to, or `inherit`.
        timeout: Seconds.

    Raises:
        TimeoutError: It did not end in time, and was stopped.
    """
    whole = {**os.environ, **(environment or {})}
    output = None if stdout == "inherit" else stdout
    with ending_what_it_started():
        running = launch(["modelyard", *args], cwd=cwd, environment=whole, output=output)
        try:
            return running.wait(timeout)
        except BaseException:
            stop(running.started, grace_seconds=5)
            running.let_go()
            raise


def launch(
    command: Sequence[str],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    output: Path | None,
    followed: bool = True,
) -> Running:
    """Start a command in a session of its own.

    `modelyard ...` and `python FILE.py ...` are forked from the preloaded process when
    `MODELYARD_PRELOADED` names one; a dead one is warned of once, and done without.

    Args:
        command: Program and arguments; `modelyard` and `python` are this interpreter's own.
        cwd: Its working folder.
        environment: Its whole environment.
        output: The file stdout and stderr are appended to; None inherits this process's.
        followed: Whether a forked process is killed when this one dies or lets go of it.
    """
    with not_now(), ExitStack() as stack:
        files: tuple[IO[bytes] | None, IO[bytes] | None] = (None, None)
        if output is not None:
            output.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(output.open("ab"))
            files = (file, file)
        address = os.environ.get(PRELOADED)
        if address and _may_be_forked(command):
            order = {
                "command": list(command),
                "cwd": str(cwd),
                "environment": dict(environment),
                "followed": followed,
            }
            if forked := _fork(address, order, files):
                return forked
        return _plain(command, cwd, environment, files)


def alive(started: Started) -> bool:
    """Whether this very process still runs."""
    child = _children.get(started.pid)
    if child is not None and child.poll() is not None:
        del _children[started.pid]
    return is_running(started)


def stop(started: Started, *, grace_seconds: float = 10.0) -> None:
    """End the process and all of its session: asked first, killed after the grace.

    A process that is gone, or whose number now is another's, is left alone.
    """
    end_session(started, grace_seconds=grace_seconds)
    alive(started)


@atexit.register
def _let_children_run_on() -> None:
    """Keep Popen from complaining about processes that are meant to outlive this one."""
    for child in _children.values():
        child.returncode = child.poll() or 0


def _may_be_forked(command: Sequence[str]) -> bool:
    return command[0] == "modelyard" or (
        command[0] == "python" and len(command) > 1 and command[1].endswith(".py")
    )


def _plain(
    command: Sequence[str],
    cwd: Path,
    environment: Mapping[str, str],
    files: tuple[IO[bytes] | None, IO[bytes] | None],
) -> Running:
    child = subprocess.Popen(
        _resolved(command),
        cwd=cwd,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=files[0],
        stderr=files[1],
        start_new_session=True,
    )
    _children[child.pid] = child
    started = find_process(child.pid)
    if started is None:  # pragma: no cover - a child that was not waited for has its entry
        raise ProcessLookupError(child.pid)
    return Running(started, child.wait, ExitStack())


def _resolved(command: Sequence[str]) -> list[str]:
    """The command with this interpreter; -P keeps the working folder out of its imports."""
    if command[0] == "modelyard":
        return [sys.executable, "-P", "-m", "modelyard", *command[1:]]
    if command[0] == "python":
        return [sys.executable, *command[1:]]
    return list(command)


def _fork(
    address: str,
    order: Mapping[str, object],
    files: tuple[IO[bytes] | None, IO[bytes] | None],
) -> Running | None:
    """Ask the preloaded process; None when it is gone or declines."""
    outputs = [file.fileno() if file else number for number, file in enumerate(files, start=1)]
    with ExitStack() as stack:
        asked = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        reader, writer = os.pipe()
        stack.callback(os.close, reader)
        try:
            asked.settimeout(_SECONDS_TO_ANSWER)
            asked.connect(address)
            line = json.dumps(order).encode() + b"\n"
            socket.send_fds(asked, [line[:1]], [*outputs, writer])
            asked.sendall(line[1:])
            answer = _line(asked)
        except OSError:
            answer = None
        finally:
            os.close(writer)
        if answer is None:
            _warn_that_it_is_gone(address)
        if answer is None or "pid" not in answer:
            return None
        started = find_process(answer["pid"]) or Started(pid=answer["pid"], start_time=-1)
        return Running(started, functools.partial(_told, asked, reader), stack.pop_all())


def _told(asked: socket.socket, reader: int) -> int:
    """How a forked process ended: in its parent's words, or, if that is gone, in its own."""
    asked.settimeout(None)
    if answer := _line(asked):
        return answer["exit"]
    last = os.read(reader, 1)
    return last[0] if last else -signal.SIGKILL


def _line(asked: socket.socket) -> dict[str, int] | None:
    received = b""
    with suppress(ConnectionError):
        # One byte at a time: two answers may be on their way, and only one is ours now.
        while not received.endswith(b"\n") and (byte := asked.recv(1)):
            received += byte
    return json.loads(received) if received.endswith(b"\n") else None


@functools.cache
def _warn_that_it_is_gone(address: str) -> None:
    message = "%s names %s, where nothing answers: starting plain processes"
    _LOGGER.warning(message, PRELOADED, address)
