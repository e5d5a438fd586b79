"""Says while a step runs how long it has, and what its trainer printed last."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

EVERY_SECONDS = 15.0
"""Between two lines; a step of a small model ends before the first."""

_END_OF_LOG = 4_000
_WIDEST = 120


@dataclass
class Output:
    """Where the trainer of a step prints to, once that is known."""

    file: Path | None = None

    def follow(self, file: Path) -> None:
        """Take the file."""
        self.file = file

    def last_line(self) -> str:
        """The last line that is not empty; a bar of progress begins its line again and again."""
        if self.file is None:
            return ""
        try:
            with self.file.open("rb") as log:
                log.seek(max(0, log.seek(0, 2) - _END_OF_LOG))
                text = log.read(_END_OF_LOG).decode(errors="replace")
        except OSError:  # it printed nothing yet, or is done and gone
            return ""
        return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


@contextmanager
def telling(
    name: str, tell: Callable[[str], None], output: Output, *, every: float | None = None
) -> Iterator[None]:
    """Tell now and then that the step is still running, until the end of the block."""
    start, done = time.monotonic(), threading.Event()

    def tell_until_done() -> None:
        while not done.wait(every or EVERY_SECONDS):
            last = output.last_line()[:_WIDEST]
            told = f"{name}: {time.monotonic() - start:.0f} s so far"
            tell(f"{told}: {last}" if last else told)

    teller = threading.Thread(target=tell_until_done, daemon=True)
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()
