"""The process between a step and its trainer: closes it in, watches it, ends all that it started.

It is a process of its own, so that it still ends the trainer when the step is killed.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import NoReturn

from modelyard.adapters.isolation.confinement import (
    Means,
    confine_process,
    enter_root,
    find_means,
)
from modelyard.adapters.isolation.landlock import SIGNALS_ABI, restrict_signals
from modelyard.adapters.isolation.namespaces import enter_user_namespace
from modelyard.adapters.isolation.system_calls import (
    PR_SET_CHILD_SUBREAPER,
    PR_SET_PDEATHSIG,
    set_process,
)
from modelyard.adapters.isolation.task import LISTENING, Ended, Task, read_task
from modelyard.adapters.isolation.usage import count_all_tasks, read_memory, read_space, read_usage
from modelyard.adapters.processes import forked

CANNOT_START = 127
"""The exit code of a command that is not there, as in a shell."""

_PAUSE = 0.02
_LEAST_SECONDS, _MOST_SECONDS = 0.05, 1.0  # between two looks
_SHARE_OF_TIME = 20  # looks take at most a 20th of a core, but for the longest pause
_SECONDS_TO_DIE = 10.0
_MOST_SHARED_MEMORY = 64 * 2**30  # of what is in memory without being any process's
_KILLED = 128
_SPARE_TASKS = 16  # so that it is found to exceed its limit, and does not only fail at it


def supervise_task(file: Path) -> None:
    """Run the task of a JSON file to its end, and write how it ended beside it, as `.ended`."""
    task = read_task(json.loads(file.read_text()))
    try:
        asker = os.pidfd_open(task.asked_by)
    except ProcessLookupError:
        return
    ended = _Supervisor(task, asker).run()
    part = file.with_suffix(".part")
    part.write_text(json.dumps(asdict(ended)))
    part.replace(file.with_suffix(".ended"))


class _Supervisor:
    def __init__(self, task: Task, asker: int) -> None:
        self.task = task
        self.asker = asker
        self.peak = 0
        self.stopped = False
        self.may_kill_all = False
        self.socket = _bind(task.port) if task.port else None
        self.means = find_means(task.reach, Path(task.place), task.ways)

    def run(self) -> Ended:
        """Start the command, watch it, and end everything it started."""
        signal.signal(signal.SIGTERM, self._stop)
        _run_first()
        set_process(PR_SET_CHILD_SUBREAPER)
        reader, writer = os.pipe()
        self._close_own_doors()
        deadline = time.monotonic() + self.task.limits.seconds
        child = os.fork()
        if child == 0:
            os.close(reader)
            _run_or_report(lambda: self._become_root_of(writer), writer)
        os.close(writer)
        try:
            exceeded = self._watch(child, deadline)
        finally:
            code = self._end_all(child)
        with os.fdopen(reader, errors="replace") as said:
            fault = said.read()
        ended = Ended(isolation=self.means.isolation, memory=self.peak, fault=fault or None)
        if exceeded or self.stopped:
            return replace(ended, exceeded=exceeded)
        return replace(ended, exit_code=_KILLED - code if code < 0 else code)

    def _stop(self, *_: object) -> None:
        self.stopped = True

    def _close_own_doors(self) -> None:
        if self.means.namespaces:
            enter_user_namespace()
        elif self.means.abi >= SIGNALS_ABI:
            self.may_kill_all = _keep_signals_inside(self.task.asked_by)

    def _become_root_of(self, writer: int) -> NoReturn:
        """In the child: be the first process of the new root, or the command itself."""
        set_process(PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        Path("/proc/self/oom_score_adj").write_text("1000")
        output = os.open(self.task.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC)
        if not self.means.namespaces:
            self._become_command(output, writer)
        most = min(self.task.limits.memory, _MOST_SHARED_MEMORY)
        enter_root(self.task.reach, Path(self.task.place), shared_memory=most)
        # The first process of a table has no default signals and inherits orphans, so the command
        # is its child. All others die with it.
        child = os.fork()
        if child == 0:
            _run_or_report(lambda: self._become_command(output, writer), writer)
        os.close(writer)
        while (ended := os.wait())[0] != child:
            pass
        code = os.waitstatus_to_exitcode(ended[1])
        os._exit(_KILLED - code if code < 0 else code)

    def _become_command(self, output: int, writer: int) -> NoReturn:
        """In the child: take the command's files, limits and rights, and run it."""
        task = self.task
        os.setsid()
        set_process(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.chdir(task.cwd)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for target in (1, 2):
            os.dup2(output, target)
        environment, kept = dict(task.environment), {writer}
        if self.socket is not None:
            self.socket.set_inheritable(True)
            environment[LISTENING] = str(self.socket.fileno())
            kept.add(self.socket.fileno())
        _close_all_but(kept)
        _set_limit(resource.RLIMIT_CORE, 0)
        _set_limit(resource.RLIMIT_NOFILE, task.limits.files)
        _set_limit(resource.RLIMIT_NPROC, _most_tasks(task, self.means))
        _set_limit(resource.RLIMIT_FSIZE, max(task.limits.space, task.limits.log))
        confine_process(task.reach, self.means, has_socket=self.socket is not None)
        if task.main is not None and forked.is_fork():
            os.close(writer)
            os.environ.update(environment)
            forked.become_command(task.main)
        try:
            os.execvpe(task.command[0], task.command, environment)  # noqa: S606 - no shell is wanted
        except OSError as error:
            print(f"{task.command[0]}: {error.strerror}", file=sys.stderr, flush=True)  # noqa: T201
            os._exit(CANNOT_START)

    def _watch(self, child: int, deadline: float) -> str | None:
        """Wait until the child ends, the asker ends or a limit is exceeded; the limit's name."""
        poll = select.poll()
        for descriptor in (os.pidfd_open(child), self.asker):
            poll.register(descriptor, select.POLLIN)
        next_look, tasks = 0.0, count_all_tasks()
        while not self.stopped and not poll.poll(1000 * _PAUSE):
            now = time.monotonic()
            if now > deadline:
                return "seconds"
            # A look reads every process of the machine. When their number jumps, it cannot wait.
            grown = count_all_tasks() - tasks > self.task.limits.tasks / 2
            if now < next_look and not grown:
                continue
            before = time.thread_time()
            if exceeded := self._exceeded():
                return exceeded
            tasks, cost = count_all_tasks(), time.thread_time() - before
            next_look = now + min(_MOST_SECONDS, max(_LEAST_SECONDS, _SHARE_OF_TIME * cost))
        # What it left at its end counts too; it may have been quick.
        return None if self.stopped else self._exceeded()

    def _exceeded(self) -> str | None:
        limits, reach = self.task.limits, self.task.reach
        usage = read_usage(os.getpid())
        if usage.tasks > limits.tasks:
            return "tasks"
        resident = usage.resident
        if resident > min(self.peak, limits.memory):
            resident = read_memory(usage)
        self.peak = max(self.peak, resident)
        if resident > limits.memory:
            return "memory"
        if Path(self.task.log).exists() and Path(self.task.log).stat().st_size > limits.log:
            return "log"
        return "space" if read_space(reach.writable, usage.pids) > limits.space else None

    def _end_all(self, child: int) -> int:
        """Kill all that descends from this process, wait for it, and return how the child ended."""
        code = -signal.SIGKILL
        deadline = time.monotonic() + _SECONDS_TO_DIE
        while time.monotonic() < deadline:
            if self.means.namespaces:
                # The first process of a table takes all others with it.
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            elif self.may_kill_all:
                # At once and for all: one by one, what forks quickly enough would escape.
                with suppress(ProcessLookupError):
                    os.kill(-1, signal.SIGKILL)
            else:
                for pid in read_usage(os.getpid()).pids:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            try:
                while (found := os.waitpid(-1, os.WNOHANG))[0]:
                    if found[0] == child:
                        code = os.waitstatus_to_exitcode(found[1])
            except ChildProcessError:
                break
            time.sleep(0.005)
        return code


def _bind(port: int) -> socket.socket:
    """A socket of the machine's network, which what is closed in can neither make nor connect.

    It listens, since before that another process may bind the same port.
    """
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.bind(("127.0.0.1", port))
    found.listen()
    return found


def _close_all_but(kept: set[int]) -> None:
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - only names are wanted
        if int(name) > 2 and int(name) not in kept:  # noqa: PLR2004 - beyond stderr
            with suppress(OSError):  # the one of this listing
                os.close(int(name))


def _keep_signals_inside(outsider: int) -> bool:
    """Close this process and its children in for signals; whether that is so, as tried on another.

    Only then may it signal "all processes": otherwise these would be all of its user's.
    """
    os.kill(outsider, 0)  # so that a refusal afterwards can have no other reason
    restrict_signals()
    try:
        os.kill(outsider, 0)
    except PermissionError:
        return True
    except ProcessLookupError:
        return False
    return False


def _run_first() -> None:
    """Run before all others where this user may: a fork bomb would leave no time to end it."""
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))


def _run_or_report(act: Callable[[], NoReturn], writer: int) -> NoReturn:
    """In a child: do it, or say on the pipe why not, and exit."""
    try:
        act()
    except BaseException as error:  # noqa: BLE001 - the supervisor's copy must not run on
        os.write(writer, f"{type(error).__name__}: {error}".encode()[:4096])
    finally:
        os._exit(1)


def _set_limit(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    wanted = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (wanted, wanted))


def _most_tasks(task: Task, means: Means) -> int:
    """What the kernel should refuse to exceed; it counts all of a user's tasks, and not root's."""
    others = 0 if means.namespaces else count_all_tasks()
    return others + task.limits.tasks + _SPARE_TASKS


if __name__ == "__main__":
    supervise_task(Path(sys.argv[1]))
