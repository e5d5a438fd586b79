"""A file that a server process locks while it runs, so that no second one runs beside it."""

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

# `claim_holder` takes the lock too, for an instant.
_SECONDS_TO_TAKE = 1.0


@dataclass(frozen=True, kw_only=True)
class Holder:
    """The process that holds a claim.

    Args:
        process: The process.
        port: Where it listens, or is about to.
    """

    process: Started
    port: int


@contextmanager
def hold_claim(path: Path, *, port: int) -> Iterator[None]:
    """Hold the claim while the block runs; the kernel releases it however the process ends.

    Args:
        path: The file; made with its folder where missing.
        port: Where the process listens, for `claim_holder`.

    Raises:
        Conflict: Another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + _SECONDS_TO_TAKE
    while (file := _take(path)) is None:
        if time.monotonic() > deadline:
            raise Conflict(f"{path}: another process holds this claim")
        time.sleep(0.01)
    with file:
        me = find_process(os.getpid())
        holder = {"pid": os.getpid(), "start_time": me.start_time if me else -1, "port": port}
        # The previous holder's content, if it was killed.
        file.truncate(0)
        file.write(json.dumps(holder).encode())
        file.flush()
        yield


def claim_holder(path: Path) -> Holder | None:
    """The process that holds the claim, or None when none does."""
    try:
        with path.open("rb") as file:
            if _lock(file.fileno()):
                return None
            found = json.loads(file.read())
            process = Started(pid=found["pid"], start_time=found["start_time"])
            return Holder(process=process, port=found["port"])
    except (FileNotFoundError, ValueError):  # free, or the holder is just writing it
        return None


def _take(path: Path) -> BinaryIO | None:
    file = path.open("a+b")
    try:
        # A file that was removed after it was opened is no claim: another process may make one.
        if _lock(file.fileno()) and path.stat().st_ino == os.fstat(file.fileno()).st_ino:
            return file
    except FileNotFoundError:
        pass
    file.close()
    return None


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
