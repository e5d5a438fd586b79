"""Room that is kept on a disk for a rollback, and given back when a write of it finds none."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

from modelyard.adapters.replaced_file import overwrite_file, write_whole
from modelyard.errors import NO_ROOM

logger = logging.getLogger(__name__)

FOLDER = "kept-room"

FILES = 512
"""Each gives back an inode too: Git writes a file for each object, here and in a local forge. A
rollback of three environments takes some 300."""

BYTES = 16 * 2**10
"""Of one file. A rollback of three environments takes less than a megabyte."""

_SPARE = 4
"""Room is kept only of this many times as much: else what is kept is what is missing."""


class KeptRoom:
    """Files without a meaning in a folder that is on the same disk as what a rollback writes.

    Args:
        state: The state folder of the site.
    """

    def __init__(self, state: Path) -> None:
        self._folder = state / FOLDER

    def keep(self) -> None:
        """Keep the room again where it was given back, as far as the disk has it to spare."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            missing = {str(number) for number in range(FILES)} - set(os.listdir(self._folder))  # noqa: PTH208 - names, once in each pass
            if not missing or not self._has_spare():
                return
            for name in sorted(missing):
                # No zeros: a file system may write none of them.
                (self._folder / name).write_bytes(os.urandom(BYTES))
        except OSError as error:  # what there is of it is kept
            logger.info("no room is kept for a rollback: %s", error)

    def give_back(self) -> bool:
        """Delete the files, so that the next write finds room; True if there were any."""
        files = list(self._folder.glob("*"))
        for file in files:
            file.unlink(missing_ok=True)
        if files:
            logger.warning("%s is full: what was kept for a rollback is used", self._folder.parent)
        return bool(files)

    def write_whole(self, path: Path, content: bytes) -> None:
        """Write a file of the way back as `write_whole` does, on a full disk as well.

        Without any room it is written over in place: a reader may then see a part for an instant,
        and a power failure may leave one, which is better than a bad release in traffic.

        Raises:
            OSError: It cannot be written, as on a disk that may only be read.
        """
        try:
            write_whole(path, content)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            self._write_without_room(path, content)

    def _write_without_room(self, path: Path, content: bytes) -> None:
        if self.give_back():
            try:
                write_whole(path, content)
            except OSError as error:  # another process was faster
                if error.errno not in NO_ROOM:
                    raise
            else:
                return
        overwrite_file(path, content)

    def _has_spare(self) -> bool:
        status = os.statvfs(self._folder)
        # Some file systems make inodes as they are needed, and count none.
        inodes = status.f_favail if status.f_files else _SPARE * FILES
        free = shutil.disk_usage(self._folder).free
        return free >= _SPARE * FILES * BYTES and inodes >= _SPARE * FILES
