"""A small file system for a test, and what fills it."""

from __future__ import annotations

import errno
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

import pytest


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A tmpfs with these options; the test is skipped where nobody may mount one."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Leave not one block; returns what to remove to have room again."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        file.write(bytes(max(0, shutil.disk_usage(folder).free - 2**16)))
        _until_full(lambda: file.write(bytes(2**12)))
    return ballast


def use_up_inodes(folder: Path) -> Path:
    """Leave not one inode; returns what to remove to have some again."""
    ballast = folder / "ballast"
    ballast.mkdir()
    _until_full(lambda: mkdtemp(dir=ballast))
    return ballast


def _until_full(write: Callable[[], object]) -> None:
    try:
        while write() != 0:
            pass
    except OSError as error:
        assert error.errno == errno.ENOSPC  # noqa: PT017 - any other one is the test's own
