"""Which processes there are, who they are, and how to end them without ending another's."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_POLL_SECONDS = 0.02
# Fields of /proc/<pid>/stat after the name, see proc(5).
_STATE, _PARENT, _SESSION, _START = 0, 1, 3, 19


@dataclass(frozen=True, kw_only=True)
class Started:
    """A process, named so that another one that is given its number later is never taken for it.

    Args:
        pid: Its number; also that of its session and process group.
        start_time: When it started, in clock ticks since boot.
    """

    pid: int
    start_time: int


def named(pid: int) -> Started | None:
    """The process that has this number now."""
    stat = _stat(pid)
    return None if stat is None else Started(pid=pid, start_time=int(stat[_START]))


def runs(started: Started) -> bool:
    """Whether this very process still runs; one that ended and was not waited for does not."""
    stat = _stat(started.pid)
    return stat is not None and int(stat[_START]) == started.start_time and stat[_STATE] != "Z"


def end(started: Started, *, grace_seconds: float) -> None:
    """End the process and all of its session: asked first, killed after the grace.

    A process that is gone, or whose number now is another's, is left alone.
    """
    members = _session(started, witnesses=[started])
    for number, seconds in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, 5.0)):
        for member in members:
            _signal(member, number)
        if not (left := _left(members, seconds)):
            return
        members = _session(started, witnesses=left)


def end_tree(pid: int, *, grace_seconds: float) -> None:
    """End the process, which its caller has yet to wait for, and all that it started.

    What belongs to another user is left alone.
    """
    tree = _tree(pid)
    members: Sequence[Started] = tree
    for number, seconds in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, 5.0)):
        members = [member for member in members if _signal(member, number)]
        if not (members := _left(members, seconds)):
            break
    for member in tree:
        if member.pid != pid:
            _wait_for(member)


def handle(started: Started) -> int | None:
    """A descriptor that becomes readable when the process ends, or None if it has ended."""
    try:
        descriptor = os.pidfd_open(started.pid)
    except ProcessLookupError:
        return None
    if named(started.pid) == started:
        return descriptor
    os.close(descriptor)
    return None


def _stat(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name stands in parentheses and may hold anything, parentheses too.
    return text.rpartition(")")[2].split()


def _visible() -> Iterator[tuple[Started, list[str]]]:
    """Every process this one may look at; those of other users may be hidden, see proc(5)."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            stat = _stat(int(entry.name))
        except OSError:
            continue
        if stat is not None:
            yield Started(pid=int(entry.name), start_time=int(stat[_START])), stat


def _tree(pid: int) -> list[Started]:
    """The process, its children and theirs; nothing where the system does not tell."""
    parents = {member: int(stat[_PARENT]) for member, stat in _visible()}
    found = [member for member in parents if member.pid == pid]
    for member in found:  # grows meanwhile
        found += [child for child, parent in parents.items() if parent == member.pid]
    return found


def _left(members: Sequence[Started], seconds: float) -> list[Started]:
    deadline = time.monotonic() + seconds
    while (left := [m for m in members if runs(m)]) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    return left


def _session(started: Started, *, witnesses: Sequence[Started]) -> list[Started]:
    """Everything in the session of `started`.

    As long as one witness of the session runs, its number cannot have been given to another.
    """
    if not any(runs(witness) for witness in witnesses):
        return []
    return [member for member, stat in _visible() if int(stat[_SESSION]) == started.pid]


def _signal(member: Started, number: signal.Signals) -> bool:
    """Whether this process may signal it; what has ended already needs none."""
    descriptor = handle(member)
    if descriptor is None:
        return True
    try:
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    finally:
        os.close(descriptor)
    return True


def _wait_for(member: Started) -> None:
    """Have it leave the table, if it ended as an orphan and this process inherited it.

    A container's first process inherits all orphans; nobody else would ever wait for them. Once it
    ended, its number is no other's before that.
    """
    stat = _stat(member.pid)
    if stat is None or int(stat[_START]) != member.start_time or stat[_STATE] != "Z":
        return
    if int(stat[_PARENT]) == os.getpid():
        with suppress(ChildProcessError):
            os.waitpid(member.pid, os.WNOHANG)
