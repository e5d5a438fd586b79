"""The time of the fake: it goes by itself, and a test can put it forward."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class Clock:
    """Seconds since 1970, and as GitHub writes them."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def now(self) -> float:
        """Return the seconds."""
        return time.time() + self._ahead

    def text(self, seconds: float | None = None) -> str:
        """Return a time as GitHub writes it, which has no fractions of a second."""
        moment = datetime.fromtimestamp(self.now() if seconds is None else seconds, tz=UTC)
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

    def advance(self, seconds: float) -> None:
        """Put the time forward, so that a test need not wait."""
        self._ahead += seconds
