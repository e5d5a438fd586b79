"""A file that one server process holds as long as it lives, so that there is never a second one."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from modelyard.adapters.processes.process_table import Started, find_process
from modelyard.errors import Conflict

# Whoever only asks holds the lock for an instant.
_SECONDS_TO_TAKE = 1.0


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who holds a claim.

    Args:
        process: The process.
        port: Where it listens, or is about to.
    """

    process: Started
    port: int


@contextmanager
def claimed(path: Path, *, port: int) -> Iterator[None]:
    """Hold the claim while the block runs; the kernel lets go of it whatever ends the process.

    Args:
        path: The file; made with its folder where missing.
        port: Told to whoever asks who holds it.

    Raises:
        Conflict: Another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + _SECONDS_TO_TAKE
    while (file := _taken(path)) is None:
        if time.monotonic() > deadline:
            raise Conflict(f"{path}: another process holds this claim")
        time.sleep(0.01)
    with file:
        me = find_process(os.getpid())
        told = {"pid": os.getpid(), "start_time": me.start_time if me else -1, "port": port}
        file.truncate(0)
        file.write(json.dumps(told).encode())
        file.flush()
        yield


def holder(path: Path) -> Holder | None:
    """The process that holds the claim, or None when nobody does."""
    try:
        with path.open("rb") as file:
            if _locked(file.fileno()):
                return None
            told = json.loads(file.read())
            process = Started(pid=told["pid"], start_time=told["start_time"])
            return Holder(process=process, port=told["port"])
    except (FileNotFoundError, ValueError):  # nobody, or it is only just taking it
        return None


def _taken(path: Path) -> BinaryIO | None:
    file = path.open("a+b")
    try:
        # A file that was removed between being opened and being locked claims nothing.
        if _locked(file.fileno()) and path.stat().st_ino == os.fstat(file.fileno()).st_ino:
            return file
    except FileNotFoundError:
        pass
    file.close()
    return None


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
