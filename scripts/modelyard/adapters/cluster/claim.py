"""A file that a server process locks while it runs, so that no second one runs beside it."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from modelyard.adapters.processes.process_table import Started, find_process
from modelyard.errors import Conflict, YardError

# `claim_holder` takes the lock too, for an instant.
_SECONDS_TO_TAKE = 1.0
# The kernel releases a claim a moment after its process was killed.
_SECONDS_TO_RELEASE = 0.5


@dataclass(frozen=True, kw_only=True)
class Holder:
    """The process that holds a claim.

    Args:
        process: The process.
        port: Where it listens, or is about to.
        grpc_port: The same for gRPC; None for HTTP alone.
    """

    process: Started
    port: int
    grpc_port: int | None = None


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How the claim's last holder ended.

    Args:
        exit_code: The exit code of the error that ended it.
        why: The error's message.
    """

    exit_code: int
    why: str


@contextmanager
def hold_claim(path: Path, *, port: int, grpc_port: int | None = None) -> Iterator[None]:
    """Hold the claim while the block runs; the kernel releases it however the process ends.

    An error that ends the block is written down for `claim_end`, and raised again.

    Args:
        path: The file; made with its folder where missing.
        port: Where the process listens, for `claim_holder`.
        grpc_port: The same for gRPC; None for HTTP alone.

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
        # A process that this one forks must not hold the claim after this one has ended.
        os.register_at_fork(after_in_child=file.close)
        me = find_process(os.getpid())
        holder = {"pid": os.getpid(), "start_time": me.start_time if me else -1, "port": port}
        more = {} if grpc_port is None else {"grpc_port": grpc_port}
        _write_whole(file, holder | more)
        try:
            yield
        except YardError as error:
            with suppress(OSError):  # on a full disk the process just ends without a word
                _write_whole(file, {"exit_code": error.exit_code, "why": error.message})
            raise


def claim_holder(path: Path) -> Holder | None:
    """The process that holds the claim, or None when none does."""
    try:
        with path.open("rb") as file:
            if _lock(file.fileno()):
                return None
            found = json.loads(file.read())
            process = Started(pid=found["pid"], start_time=found["start_time"])
            return Holder(process=process, port=found["port"], grpc_port=found.get("grpc_port"))
    except (FileNotFoundError, ValueError, KeyError):  # free, or the holder is just writing it
        return None


def claim_end(path: Path) -> Ended | None:
    """How the last holder ended; None while one runs, or if it left no word, as when killed."""
    try:
        with path.open("rb") as file:
            if not _lock(file.fileno()):
                return None
            found = json.loads(file.read())
            return Ended(exit_code=int(found["exit_code"]), why=str(found["why"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def forget_end(path: Path) -> None:
    """Forget how the last holder ended, before a process starts that may leave no word."""
    with suppress(OSError), path.open("r+b") as file:
        if _lock(file.fileno()):
            file.truncate(0)


def remove_claim(path: Path) -> None:
    """Remove the file, unless a process holds it: without it nobody could find that process."""
    deadline = time.monotonic() + _SECONDS_TO_RELEASE
    with suppress(FileNotFoundError), path.open("rb") as file:
        while not (is_free := _lock(file.fileno())) and time.monotonic() < deadline:
            time.sleep(0.01)
        if is_free:
            path.unlink()


def _write_whole(file: BinaryIO, document: object) -> None:
    """Replace the content, which may be a previous holder's, if that was killed."""
    file.truncate(0)
    file.write(json.dumps(document).encode())
    file.flush()


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
