"""Writes a file whole or not at all."""

from __future__ import annotations

import os
import re
import tempfile
import time
from contextlib import suppress
from pathlib import Path

_BESIDE = re.compile(r"\..+\.[0-9]+", re.DOTALL)


def replace_file(file: Path, content: bytes) -> None:
    """Write a file; an interrupted write leaves the old content."""
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        beside.write_bytes(content)
        beside.replace(file)  # atomic: the same file system
    except BaseException:  # a disk that is full
        beside.unlink(missing_ok=True)
        raise


def write_whole(path: Path, content: bytes) -> None:
    """Write a file durably, so that a reader sees the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(beside).replace(path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise


def remove_leftovers(folder: Path, *, older_than: float) -> None:
    """Remove what killed processes left of such writes in a folder; seconds tell those at work."""
    for file in folder.glob(".*"):
        with suppress(OSError):  # another process was faster, or it is none of ours
            if _BESIDE.fullmatch(file.name) and time.time() - file.stat().st_mtime > older_than:
                file.unlink()
