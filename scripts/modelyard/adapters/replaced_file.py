"""Writes a file whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

Write: TypeAlias = Callable[[Path, bytes], None]
"""Something that writes a file, such as `write_whole`."""

_BESIDE = re.compile(r"\..+\.[0-9]+", re.DOTALL)


def replace_file(file: Path, content: bytes) -> None:
    """Write a file; an interrupted write leaves the old content."""
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        beside.write_bytes(content)
        beside.replace(file)  # atomic: the same file system
    except BaseException as error:  # a disk that is full
        with suppress(OSError):
            beside.unlink()
        _name(error, file)
        raise


def write_whole(path: Path, content: bytes) -> None:
    """Write a file durably, so that a reader sees the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        _name(error, path)
        raise
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(beside).replace(path)
    except BaseException as error:
        with suppress(OSError):
            Path(beside).unlink()
        _name(error, path)
        raise


def write_if_changed(path: Path, content: bytes, write: Write = write_whole) -> None:
    """Write a file unless it has this content: on a full disk a write without need would fail."""
    try:
        is_there = path.read_bytes() == content
    except FileNotFoundError:
        is_there = False
    if not is_there:
        write(path, content)


def _name(error: BaseException, path: Path) -> None:
    """Let an error name the file that a person knows; a write that finds no room names none."""
    if isinstance(error, OSError) and error.errno is not None:
        error.filename = str(path)


def overwrite_file(path: Path, content: bytes) -> None:
    """Write over a file that is there, which takes no room where it has its blocks already.

    What the old content has more is replaced by newlines, which mean nothing to JSON and YAML.

    Raises:
        OSError: There is no such file, or even this takes room; the old content is still there.
    """
    with path.open("r+b", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            _write_at(file.fileno(), b"\n" * (len(content) - size), size)
        except OSError:
            file.truncate(size)
            raise
        # At once: whoever reads meanwhile sees the old content or the new, but for an instant.
        _write_at(file.fileno(), content.ljust(size, b"\n"), 0)
        os.fsync(file.fileno())


def _write_at(descriptor: int, content: bytes, offset: int) -> None:
    if os.pwrite(descriptor, content, offset) < len(content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def remove_leftovers(folder: Path, *, older_than: float) -> None:
    """Remove what killed processes left of such writes in a folder; seconds tell those at work."""
    for file in folder.glob(".*"):
        with suppress(OSError):  # another process was faster, or it is none of ours
            if _BESIDE.fullmatch(file.name) and time.time() - file.stat().st_mtime > older_than:
                file.unlink()
