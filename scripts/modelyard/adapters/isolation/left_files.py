"""Reads what a closed-in process left, which may be anything in the place of a file."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def read_left_whole(path: Path, most: int) -> bytes:
    """All of a file; never more than `most` bytes, of which it may have more than on disk.

    Raises:
        OSError: It is missing, or cannot be read.
        ValueError: It is no plain file, or is larger.
    """
    content = read_left_file(path, most + 1)
    if len(content) > most:
        raise ValueError(f"{path.name} has more than {most:,} bytes")
    return content


def read_left_file(path: Path, most: int) -> bytes:
    """The first `most` bytes of a file; never through a link or from a pipe.

    Raises:
        OSError: It is missing, or cannot be read.
        ValueError: It is no plain file.
    """
    if not stat.S_ISREG(path.lstat().st_mode):
        raise ValueError(f"{path.name} is no plain file")
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        return file.read(most)
