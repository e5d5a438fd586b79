"""Starts, follows and stops processes, forked from a preloaded one where that is offered."""

from __future__ import annotations

import atexit
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from modelyard.adapters.processes.bounded_log import OUTPUT, bounding_log
from modelyard.adapters.processes.fork_client import PRELOADED, ask_for_fork
from modelyard.adapters.processes.forked import Order
from modelyard.adapters.processes.process_table import (
    Started,
    end_session,
    find_process,
    is_running,
    open_handle,
)

IN_RUNTIME = Path(__file__).with_name("in_runtime.py")
"""The file that runs modelyard in a runtime without it."""

# Children of this process; asking about them reaps them, so that none stays a zombie.
_children: dict[int, subprocess.Popen[bytes]] = {}


class TerminatedError(BaseException):
    """SIGTERM came."""


class _Held:
    """The signal that waits to be raised; only the main thread gets signals, so one is enough."""

    blocks = 0
    signal: int | None = None


@contextmanager
def unwinding_on_signals() -> Iterator[None]:
    """Let SIGTERM and Ctrl-C unwind the block, so that what was started in it can be ended first.

    A signal that comes within `holding_signals` is raised at the next poll or wait.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _Held.signal = None
    before = {n: signal.signal(n, _take_signal) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
        _raise_held_signal()
    except TerminatedError:
        signal.signal(signal.SIGTERM, before[signal.SIGTERM])
        signal.raise_signal(signal.SIGTERM)
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def holding_signals() -> Iterator[None]:
    """Hold back the signals of `unwinding_on_signals`.

    A process is started inside: one whose number is not known yet could not be ended.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _Held.blocks += 1
    try:
        yield
    finally:
        _Held.blocks -= 1


def _take_signal(number: int, _: object) -> None:
    _Held.signal = number
    _raise_held_signal()


def _raise_held_signal() -> None:
    if threading.current_thread() is threading.main_thread() and not _Held.blocks:
        number, _Held.signal = _Held.signal, None
        if number is not None:
            raise KeyboardInterrupt if number == signal.SIGINT else TerminatedError


class Running:
    """A process that can be waited for.

    Args:
        started: The process.
        exit_code: Returns how it ended; called once, after it ended.
        held: What is released then.
    """

    def __init__(self, started: Started, exit_code: Callable[[], int], held: ExitStack) -> None:
        self.started = started
        self._exit_code = exit_code
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

    def bound_output(self, log: Path) -> None:
        """Keep the file that it prints into small, until it ended or is released."""
        self._held.enter_context(bounding_log(log))

    def release(self) -> None:
        """Stop following the process; it runs on, unless it was forked as `followed`."""
        self._held.close()

    def _ended(self, timeout: float | None) -> int | None:
        _raise_held_signal()
        if self._known is None:
            if self._handle is not None:
                poll = select.poll()
                poll.register(self._handle, select.POLLIN)
                if not poll.poll(None if timeout is None else timeout * 1000):
                    return None
            code = self._exit_code()
            self._known = 128 - code if code < 0 else code
            self._held.close()
        return self._known


def start_modelyard(
    args: Sequence[str],
    *,
    cwd: Path,
    log: Path,
    environment: Mapping[str, str] | None = None,
    python: Path | None = None,
) -> Started:
    """Start `modelyard ARGS` in a session of its own; it outlives this process.

    So it keeps its log small by itself; see `bounded_log.bound_own_output`.

    Args:
        args: Arguments of modelyard, such as `["serve", "--port", "8080"]`.
        cwd: Its working folder.
        log: The file its output is appended to; made with its folder where missing.
        environment: Its whole environment; None for this process's own.
        python: The interpreter of another runtime; None for this one.
    """
    running = start_command(
        ["modelyard", *args],
        cwd=cwd,
        environment={**(os.environ if environment is None else environment), OUTPUT: str(log)},
        output=log,
        followed=False,
        python=python,
    )
    running.release()
    return running.started


def run_command(
    command: Sequence[str],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    output: Path,
    timeout: float | None = None,
    grace_seconds: float = 5.0,
    python: Path | None = None,
) -> int:
    """Run a command to its end and return its exit code; see `start_command`.

    Anything that interrupts the waiting, SIGTERM included, also ends the process and its session.

    Args:
        command: Program and arguments.
        cwd: Its working folder.
        environment: Its whole environment.
        output: The file its output is appended to.
        timeout: Seconds.
        grace_seconds: How long it may take to end when it is interrupted.
        python: The interpreter of another runtime; None for this one.

    Raises:
        TimeoutError: It did not end in time, and was stopped.
    """
    with unwinding_on_signals():
        running = start_command(
            command, cwd=cwd, environment=environment, output=output, python=python
        )
        try:
            return running.wait(timeout)
        finally:
            stop_process(running.started, grace_seconds=grace_seconds)
            running.release()


def start_command(
    command: Sequence[str],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    output: Path | None,
    followed: bool = True,
    python: Path | None = None,
) -> Running:
    """Start a command in a session of its own.

    `modelyard ...` and `python FILE.py ...` are forked from the preloaded process when
    `MODELYARD_PRELOADED` names one. When that is gone, it warns once and starts a plain process.

    Args:
        command: Program and arguments; `modelyard` and `python` are the runtime's.
        cwd: Its working folder.
        environment: Its whole environment.
        output: The file stdout and stderr are appended to; None inherits this process's. It is
            kept small while this process follows the one that it starts.
        followed: Whether a forked process is killed when this one dies or releases it.
        python: The interpreter of another runtime; None for this one. What is preloaded is this
            one's, so a process of another runtime is a plain one.
    """
    with holding_signals(), ExitStack() as stack:
        files: tuple[IO[bytes] | None, IO[bytes] | None] = (None, None)
        if output is not None:
            output.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(output.open("ab"))
            files = (file, file)
        order = Order(
            command=list(command), cwd=str(cwd), environment=dict(environment), followed=followed
        )
        running = _fork(order, files) if python is None else None
        if running is None:
            running = _start_plain(resolve_command(command, python), order, files)
        if output is not None and followed:
            running.bound_output(output)
        return running


def _fork(order: Order, files: tuple[IO[bytes] | None, IO[bytes] | None]) -> Running | None:
    """The command as a fork of the preloaded process; None if there is none, or it declines."""
    address = os.environ.get(PRELOADED)
    if not address or not may_be_forked(order.command):
        return None
    outputs = [file.fileno() if file else number for number, file in enumerate(files, 1)]
    forked = ask_for_fork(address, order, outputs)
    if forked is None:
        return None
    started = find_process(forked.pid) or Started(pid=forked.pid, start_time=-1)
    return Running(started, forked.exit_code, forked.held)


def is_process_alive(started: Started) -> bool:
    """Whether this very process still runs; reaps it if it was a child that ended."""
    child = _children.get(started.pid)
    if child is not None and child.poll() is not None:
        del _children[started.pid]
    return is_running(started)


def stop_process(started: Started, *, grace_seconds: float = 10.0) -> None:
    """End the process and all of its session: SIGTERM first, SIGKILL after the grace.

    A process that is gone, or whose number now belongs to another, is left alone.
    """
    end_session(started, grace_seconds=grace_seconds)
    is_process_alive(started)


@atexit.register
def _let_children_run_on() -> None:
    """Keep Popen from complaining about processes that are meant to outlive this one."""
    for child in _children.values():
        child.returncode = child.poll() or 0


def may_be_forked(command: Sequence[str]) -> bool:
    """Whether a fork of the preloaded process can become this command."""
    return command[0] == "modelyard" or (
        command[0] == "python" and len(command) > 1 and command[1].endswith(".py")
    )


def _start_plain(
    command: Sequence[str], order: Order, files: tuple[IO[bytes] | None, IO[bytes] | None]
) -> Running:
    child = subprocess.Popen(
        command,
        cwd=order.cwd,
        env=dict(order.environment),
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


def resolve_command(command: Sequence[str], python: Path | None = None) -> list[str]:
    """The command with its interpreter; -P keeps the working folder out of its imports."""
    interpreter = sys.executable if python is None else str(python)
    if command[0] == "modelyard":
        # What opens a model has no PYTHONPATH, and would not find a toolkit that is only there.
        is_found = python is None and "PYTHONPATH" not in os.environ
        where = ["-m", "modelyard"] if is_found else [str(IN_RUNTIME)]
        return [interpreter, "-P", *where, *command[1:]]
    if command[0] == "python":
        return [interpreter, *command[1:]]
    return list(command)
