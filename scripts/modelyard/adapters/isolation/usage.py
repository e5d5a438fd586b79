"""What the processes below one use: memory, tasks and space, read from /proc and the folders."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PARENT, _THREADS, _PAGES = 1, 17, 21  # of the fields of /proc/<pid>/stat after the name, proc(5)
_BYTES_OF_A_NAME = 1024  # so that empty files cannot be made without end
_HIDDEN = 1 << 62  # what a folder may hold that its owner closed to be looked at
_BLOCK = 512  # of st_blocks, see stat(2)
_LISTS_CHILDREN = Path("/proc/thread-self/children").exists()
"""Whether the kernel was built to list children; without that, all processes are looked at."""


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a tree of processes uses.

    Args:
        pids: Its processes.
        tasks: Processes and threads.
        resident: Bytes in memory; what is shared is counted for each that shares it.
    """

    pids: tuple[int, ...]
    tasks: int
    resident: int


def read_usage(root: int) -> Usage:
    """What all processes below this one use, itself left out."""
    children_of = _children if _LISTS_CHILDREN else _children_among_all()
    found: dict[int, list[str]] = {}
    pending = [*children_of(root)]
    while pending:
        pid = pending.pop()
        fields = _stat(pid)
        if pid not in found and fields:
            found[pid] = fields
            pending += children_of(pid)
    return Usage(
        pids=tuple(found),
        tasks=sum(int(fields[_THREADS]) for fields in found.values()),
        resident=sum(int(fields[_PAGES]) for fields in found.values()) * os.sysconf("SC_PAGE_SIZE"),
    )


def count_all_tasks() -> int:
    """How many processes and threads this machine has: the total in /proc/loadavg."""
    return int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])


def read_memory(usage: Usage) -> int:
    """The bytes in memory; what is shared counts once. This takes longer than `read_usage`."""
    total = 0
    for pid in usage.pids:
        with suppress(OSError):  # it ended
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total * 1024 or usage.resident


def read_space(folders: Iterable[str], pids: Iterable[int]) -> int:
    """The bytes on disk of everything in the folders, and of files that are open but unlinked."""
    return sum(_sizes(folders)) + sum(_unlinked(pids).values())


def _stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat after the name; none for a process that is gone."""
    with suppress(OSError), open(f"/proc/{pid}/stat") as file:  # noqa: PTH123 - called often
        # The name stands in parentheses and may hold anything, parentheses too.
        return file.read().rpartition(")")[2].split()
    return []


def _children(pid: int) -> list[int]:
    """The children of all threads of a process, as the kernel lists them."""
    found: list[int] = []
    with suppress(OSError):  # it is gone
        for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - called often
            with suppress(OSError), open(f"/proc/{pid}/task/{task}/children") as file:  # noqa: PTH123
                found += map(int, file.read().split())
    return found


def _children_among_all() -> Callable[[int], list[int]]:
    """What finds the children of a process among all, each of which is asked for its parent."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - as above
        if name.isdigit() and (fields := _stat(int(name))):
            children.setdefault(int(fields[_PARENT]), []).append(int(name))
    return lambda pid: children.get(pid, [])


def _sizes(folders: Iterable[str]) -> Iterator[int]:
    pending = list(folders)
    while pending:
        folder = pending.pop()
        with suppress(FileNotFoundError):
            try:
                entries = os.scandir(folder)
            except FileNotFoundError:
                raise
            except OSError:  # no rights, or a path longer than any call takes
                yield _HIDDEN
                continue
            with entries:
                for entry in entries:
                    with suppress(OSError):
                        found = entry.stat(follow_symlinks=False)
                        yield found.st_blocks * _BLOCK + _BYTES_OF_A_NAME
                        if stat.S_ISDIR(found.st_mode):
                            pending.append(entry.path)


def _unlinked(pids: Iterable[int]) -> dict[tuple[int, int], int]:
    sizes = {}
    for pid in pids:
        with suppress(OSError), os.scandir(f"/proc/{pid}/fd") as descriptors:
            for each in descriptors:
                with suppress(OSError):
                    found = each.stat()
                    if stat.S_ISREG(found.st_mode) and not found.st_nlink:
                        sizes[found.st_dev, found.st_ino] = found.st_blocks * _BLOCK
    return sizes
