"""Keeps the file that a process prints into small, however much it prints and however it does."""

from __future__ import annotations

import fcntl
import logging
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MOST_BYTES = 16 * 2**20
"""Of one file of output; beyond it a quarter at its head and one at its end are kept."""

OUTPUT = "MODELYARD_OUTPUT"
"""The environment variable with the file that a process which outlives its starter prints into."""

_LEAST_SECONDS, _MOST_SECONDS = 0.01, 0.2  # between two looks; less once there was much
_SAYS = b"\n[modelyard: more than %d bytes of output are left out here]\n"
_SAID = re.compile(rb"\n\[modelyard: more than (\d+) bytes of output are left out here\]\n")
_LONGEST = 100  # of such a line

_LOGGER = logging.getLogger(__name__)


def cut_log(log: Path, most: int) -> bool:
    """Cut the middle out of a file that is larger than `most` bytes, and say there how much.

    Returns whether it was larger.

    It is cut in place, so whoever prints into it must append, as all that we start do. What is
    printed in the moment of the cut is lost, which is why the line says "more than".
    """
    if log.stat().st_size <= most:
        return False
    with log.open("r+b") as file:
        number = file.fileno()
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True  # another process cuts it
        size, kept = os.fstat(number).st_size, most // 4
        said = _SAID.match(os.pread(number, _LONGEST, kept))
        before, head = (int(said[1]), kept + len(said[0])) if said else (0, kept)
        tail = os.pread(number, kept, size - kept)
        tail = tail[tail.find(b"\n") + 1 :]
        end = _SAYS % (before + size - head - len(tail)) + tail
        os.pwrite(number, end, kept)
        os.ftruncate(number, kept + len(end))
    return True


@contextmanager
def bounding_log(log: Path) -> Iterator[None]:
    """Cut the file again and again while the block runs, and once more at its end."""
    ended = threading.Event()
    thread = threading.Thread(target=_cut_until, args=(log, ended), name="bound-log", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def bound_own_output() -> None:
    """Keep the file small that this process was started to print into, until it ends."""
    # What it starts prints elsewhere.
    if log := os.environ.pop(OUTPUT, None):
        arguments = (Path(log), threading.Event())
        threading.Thread(target=_cut_until, args=arguments, name="bound-log", daemon=True).start()


def _cut_until(log: Path, ended: threading.Event) -> None:
    pause, is_over, warned = _LEAST_SECONDS, False, False
    while not is_over:
        is_over = ended.wait(pause)
        try:
            was_cut = cut_log(log, MOST_BYTES)
        except OSError as error:
            if not warned and not isinstance(error, FileNotFoundError):
                _LOGGER.warning("%s is not kept small: %s", log, error)
                warned = True
            was_cut = False
        pause = _LEAST_SECONDS if was_cut else min(_MOST_SECONDS, 2 * pause)
