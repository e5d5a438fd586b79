"""Runs a git command that prints its progress, and ends it after too long a silence."""

from __future__ import annotations

import os
import re
import select
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, cast

_MOST_ROWS = 200
_LONGEST_ROW = 4096
# What a poll takes is limited, and what a person may write down is not.
_LONGEST_WAIT = 3600.0
_LARGEST_READ = 2**16
# What git prints while all goes well: its counts, and a line for each ref.
_PROGRESS = re.compile(
    rb"( [ *+=t-] |From )|(remote: )?"
    rb"(Enumerating|Counting|Compressing|Receiving|Resolving|Unpacking|Total|Checking)\b.*"
)
_ROW_END = re.compile(rb"[\r\n]+")


class TooSilent(Exception):  # noqa: N818 - `run_git` says it in words
    """The command printed nothing for too long, or took too long in total.

    Args:
        what: Which of the two, and the seconds.
        limit: The limit of silence, in seconds.
    """

    def __init__(self, what: str, limit: float) -> None:
        super().__init__(what)
        self.what = what
        self.limit = limit


class Patience:
    """The limits of one git command: of a silence, and of its total time.

    Args:
        seconds: The limit of a silence.
        silences: The limit of the total time, in limits of a silence.
        more: Asked once when a limit is met: a longer limit of silence, if there is one.
    """

    def __init__(self, seconds: float, silences: int, more: Callable[[], float | None]) -> None:
        self._seconds = seconds
        self._silences = silences
        self._more: Callable[[], float | None] | None = more
        self._began = time.monotonic()

    def wait(self, happens: Callable[[float], bool]) -> None:
        """Wait until this happens, given the seconds to wait; `TooSilent` once a limit is met."""
        since = time.monotonic()
        while True:
            whole = self._seconds * self._silences
            now = time.monotonic()
            left = min(since + self._seconds, self._began + whole) - now
            if left > 0:
                if happens(min(left, _LONGEST_WAIT)):
                    return
            elif not self._has_more():
                is_whole = now >= self._began + whole
                what = (
                    f"no end after {whole:g} s" if is_whole else f"silent for {self._seconds:g} s"
                )
                raise TooSilent(what, self._seconds)

    def _has_more(self) -> bool:
        """Whether a longer limit was found; it is asked for once."""
        more, self._more = self._more, None
        found = None if more is None else more()
        is_more = found is not None and found > self._seconds
        self._seconds = found if found is not None and is_more else self._seconds
        return is_more


def run_with_silence_limit(
    command: Sequence[str],
    root: Path,
    env: Mapping[str, str],
    *,
    patience: Patience,
    end: Callable[[subprocess.Popen[bytes]], None],
) -> subprocess.CompletedProcess[bytes]:
    """Run a git command that prints its progress on stderr; returns it with its other lines.

    Args:
        command: Its words, with the options that make it print progress.
        root: Where it runs.
        env: All its environment.
        patience: Its limits; its total time counts from when they were made.
        end: Ends it, and what it started.

    Raises:
        TooSilent: It met a limit, and was ended.
    """
    pipe, null = subprocess.PIPE, subprocess.DEVNULL
    with subprocess.Popen(
        command, cwd=root, env=env, stdin=null, stdout=null, stderr=pipe, bufsize=0
    ) as process:
        try:
            stderr = cast("IO[bytes]", process.stderr)
            rows = _read_rows(stderr.fileno(), patience)
            # It may have closed stderr, and go on.
            patience.wait(partial(_has_ended, process))
        except BaseException:
            end(process)
            raise
    return subprocess.CompletedProcess(command, process.returncode, b"", b"\n".join(rows))


def _is_ready(out: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(out, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _has_ended(process: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _read_rows(out: int, patience: Patience) -> deque[bytes]:
    """The last lines that git printed, without its progress."""
    rest, found = b"", deque[bytes](maxlen=_MOST_ROWS)
    while True:
        patience.wait(partial(_is_ready, out))
        chunk = os.read(out, _LARGEST_READ)
        *rows, rest = _ROW_END.split(rest + chunk) if chunk else (rest, b"")
        rest = rest[:_LONGEST_ROW]  # of one without an end, the beginning says enough
        found.extend(row for row in rows if row and not _PROGRESS.match(row))
        if not chunk:
            return found
