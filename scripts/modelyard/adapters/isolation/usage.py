"""What the processes below one use: memory, tasks and space, read from /proc and the folders."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PARENT, _THREADS, _PAGES = 1, 17, 21  # of the fields of /proc/<pid>/stat after the name, proc(5)
_BYTES_OF_A_NAME = 1024  # so that empty files cannot be made without end
_HIDDEN = 1 << 62  # what a folder may hold that its owner closed to be looked at
_BLOCK = 512  # of st_blocks, see stat(2)


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
    found = dict(_processes())
    children: dict[int, list[int]] = {}
    for pid, fields in found.items():
        children.setdefault(int(fields[_PARENT]), []).append(pid)
    pids = list(children.get(root, ()))
    for pid in pids:  # grows while it is walked
        pids += children.get(pid, ())
    return Usage(
        pids=tuple(pids),
        tasks=sum(int(found[pid][_THREADS]) for pid in pids),
        resident=sum(int(found[pid][_PAGES]) for pid in pids) * os.sysconf("SC_PAGE_SIZE"),
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


def _processes() -> Iterator[tuple[int, list[str]]]:
    for name in os.listdir("/proc"):  # noqa: PTH208 - called often, with many entries
        if name.isdigit():
            with suppress(OSError), open(f"/proc/{name}/stat") as file:  # noqa: PTH123
                # The name stands in parentheses and may hold anything, parentheses too.
                yield int(name), file.read().rpartition(")")[2].split()


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
