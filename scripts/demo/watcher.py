"""The watcher of the demo: one long-running `modelyard watch`, and what it says."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

LONGEST_WAIT = 900.0
POLL_SECONDS = 0.1
GRACE_SECONDS = 20.0
LAST_LINES = 15


class WatcherError(Exception):
    """The watcher ended, or did not say in time what it should."""


class Watcher:
    """`modelyard watch`, as somebody has it running in a second terminal.

    Args:
        yard: The checkout it works in.
        log: Where it writes.
        environment: Of its process.
        show: Called with every line that is read.
    """

    def __init__(
        self, yard: Path, log: Path, environment: Mapping[str, str], show: Callable[[str], None]
    ) -> None:
        self._log = log
        self._show = show
        self._read = 0
        with log.open("wb") as said:
            # In a session of its own: Ctrl-C ends the demo, which then ends the watcher.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "modelyard", "watch"],
                cwd=yard,
                env={**environment, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_for(self, *wanted: str, within: float = LONGEST_WAIT) -> str:
        """Read on until a line matches one of these patterns; return the line.

        Raises:
            WatcherError: The watcher ended, or no such line came in time.
        """
        if (line := self.hear(*wanted, within=within)) is None:
            raise WatcherError(self._say(f"did not say {' or '.join(wanted)} in {within:g} s"))
        return line

    def wait_for_each(self, *wanted: str) -> None:
        """Read on until each of these patterns matched a line, in any order.

        Raises:
            WatcherError: The watcher ended, or one of the lines did not come in time.
        """
        left = list(wanted)
        while left:
            line = self.wait_for(*left)
            left = [each for each in left if not re.search(each, line)]

    def hear(self, *wanted: str, within: float) -> str | None:
        """As `wait_for`, but no such line in time is no error.

        Raises:
            WatcherError: The watcher ended.
        """
        patterns = [re.compile(each) for each in wanted]
        deadline = time.monotonic() + within
        while True:
            is_over = self._process.poll() is not None
            while (line := self._next_line()) is not None:
                self._show(line)
                if any(pattern.search(line) for pattern in patterns):
                    return line
            if is_over:
                raise WatcherError(self._say(f"ended with {self._process.returncode}"))
            if time.monotonic() > deadline:
                return None
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """End the process."""
        self._process.terminate()
        try:
            self._process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _next_line(self) -> str | None:
        """The next whole line."""
        with self._log.open("rb") as said:
            said.seek(self._read)
            line = said.readline()
        if not line.endswith(b"\n"):
            return None
        self._read += len(line)
        return line.decode(errors="replace").rstrip()

    def _say(self, what: str) -> str:
        lines = self._log.read_text(errors="replace").splitlines()[-LAST_LINES:]
        return "\n".join([f"the watcher {what}; its last lines, of {self._log}:", *lines])
