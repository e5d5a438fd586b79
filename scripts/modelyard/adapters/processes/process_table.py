"""Which processes there are, and how to end one with all it started but never another's."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

_POLL_SECONDS = 0.02
_SECONDS_TO_DIE = 5.0
_START_TICKS = 19  # of the fields of /proc/<pid>/stat after the name, see proc(5)


@dataclass(frozen=True, kw_only=True)
class Started:
    """A process, identified so that a later one with the same number is never taken for it.

    Args:
        pid: Its number; also that of its session and process group.
        start_time: When it started: in clock ticks since boot on Linux, elsewhere in microseconds
            since 1970.
    """

    pid: int
    start_time: int


def find_process(pid: int) -> Started | None:
    """The process that has this number now."""
    if sys.platform != "linux":
        # The kernel keeps the time itself, which stays when the clock is set.
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            return Started(pid=pid, start_time=round(psutil.Process(pid).create_time() * 1e6))
        return None
    # Not psutil's create_time: it adds the boot time, which moves when the clock is set. This
    # number is written to files and compared by other processes, days later.
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name stands in parentheses and may hold anything, parentheses too.
    return Started(pid=pid, start_time=int(text.rpartition(")")[2].split()[_START_TICKS]))


def find_processes_in(folder: Path) -> tuple[Started, ...]:
    """The processes whose work folder is this one or below it, but for this very process."""
    found = []
    for pid in psutil.pids():
        with suppress(psutil.Error, OSError):  # it ended, or belongs to another user
            where = psutil.Process(pid).cwd()
            if pid != os.getpid() and Path(where).is_relative_to(folder):
                found.append(find_process(pid))
    return tuple(filter(None, found))


def is_running(started: Started) -> bool:
    """Whether this very process still runs; a zombie does not."""
    try:
        return find_process(started.pid) == started and _is_running(psutil.Process(started.pid))
    except psutil.NoSuchProcess:
        return False


def end_session(started: Started, *, grace_seconds: float) -> None:
    """End the process and all of its session: SIGTERM first, SIGKILL after the grace.

    A process that is gone, or whose number now belongs to another, is left alone.
    """
    members = _session(started.pid) if is_running(started) else []
    for number, seconds in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, _SECONDS_TO_DIE)):
        if not _left([member for member in members if _signal(member, number)], seconds):
            return
        # While one of its members runs, the session's number cannot be given to another.
        members = _session(started.pid)


def end_tree(pid: int, *, grace_seconds: float) -> None:
    """End the process, which its caller has yet to wait for, and all that it started.

    What belongs to another user is left alone.
    """
    tree = _tree(pid)
    members = tree
    for number, seconds in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, _SECONDS_TO_DIE)):
        members = _left([member for member in members if _signal(member, number)], seconds)
    _reap(member for member in tree if member.pid != pid)


def open_handle(started: Started) -> int | None:
    """A descriptor that becomes readable when the process ends, or None if it has ended."""
    try:
        descriptor = _descriptor_of(started.pid)
    except ProcessLookupError:
        return None
    if find_process(started.pid) == started:
        return descriptor
    os.close(descriptor)
    return None


def _descriptor_of(pid: int) -> int:
    """A descriptor that becomes readable when the process ends; `ProcessLookupError` if it has."""
    if sys.platform == "linux":
        return os.pidfd_open(pid)
    # Only a Mac can show this: its kernel tells a queue when a process ends.
    queue = select.kqueue()
    try:
        exits = select.kevent(pid, select.KQ_FILTER_PROC, select.KQ_EV_ADD, select.KQ_NOTE_EXIT)
        queue.control([exits], 0)
        return os.dup(queue.fileno())
    finally:
        queue.close()


def _is_running(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _session(leader: int) -> list[psutil.Process]:
    members = []
    for pid in psutil.pids():
        with suppress(OSError, psutil.NoSuchProcess):
            if os.getsid(pid) == leader:
                members.append(psutil.Process(pid))
    return members


def _tree(pid: int) -> list[psutil.Process]:
    """The process, its children and theirs; empty where the system does not show them."""
    # Not psutil's children(): it gives up at the first process it may not read, such as another
    # user's below hidepid=1, see proc(5).
    parents: dict[psutil.Process, int] = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            parents[process] = process.ppid()
    found = [process for process in parents if process.pid == pid]
    for member in found:  # grows while it is walked
        found += [child for child, parent in parents.items() if parent == member.pid]
    return found


def _left(members: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Those that still run after at most `seconds`."""
    # Not psutil.wait_procs: it would take the exit codes of subprocess's children for itself, and
    # wait in vain for zombies that their own parent never waits for.
    deadline = time.monotonic() + seconds
    while (left := [m for m in members if _is_running(m)]) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    return left


def _signal(member: psutil.Process, number: signal.Signals) -> bool:
    """Signal a process, and return whether this one may; what has ended needs no signal."""
    try:
        member.send_signal(number)
    except psutil.AccessDenied:
        return False
    except psutil.NoSuchProcess:
        return True
    return True


def _reap(orphans: Iterable[psutil.Process]) -> None:
    """Wait for what ended as an orphan and was inherited by this process.

    A container's first process inherits all orphans; nothing else would ever wait for them.
    """
    for orphan in orphans:
        with suppress(psutil.Error, ChildProcessError):
            if orphan.status() == psutil.STATUS_ZOMBIE and orphan.ppid() == os.getpid():
                os.waitpid(orphan.pid, os.WNOHANG)
