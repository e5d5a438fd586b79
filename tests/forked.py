"""Programs that run as processes of their own and need no time to start: their parent is forked."""

from __future__ import annotations

import os
import sys
import time
import traceback
from dataclasses import dataclass


@dataclass(frozen=True)
class Forked:
    """A process that runs a program."""

    pid: int

    def wait(self, timeout: float) -> int:
        """Its exit code, or the negative number of the signal that ended it."""
        deadline = time.monotonic() + timeout
        while (ended := os.waitpid(self.pid, os.WNOHANG)) == (0, 0):
            assert time.monotonic() < deadline, f"process {self.pid} does not end"
            time.sleep(0.005)
        return os.waitstatus_to_exitcode(ended[1])


def run_forked(program: str, *args: str) -> Forked:
    """Start what `python -c PROGRAM ARGS` would run, with all that is imported here."""
    if pid := os.fork():
        return Forked(pid)
    code = 70
    try:
        sys.argv = ["-c", *args]
        exec(program, {"__name__": "__main__"})  # noqa: S102 - a test's own text
        code = 0
    except BaseException:  # noqa: BLE001 - nothing may return into the test that was forked
        traceback.print_exc()
    finally:
        os._exit(code)
