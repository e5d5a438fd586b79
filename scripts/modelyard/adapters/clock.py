"""The clock of the computer, or a fixed time."""

from __future__ import annotations

import logging
import os
import threading
import time
from datetime import UTC, datetime

from modelyard.domain.machines.durations import LARGEST_STEP
from modelyard.errors import CannotAnswer

logger = logging.getLogger(__name__)

FIXED = "MODELYARD_NOW"
"""Environment variable that stops the clock at an ISO 8601 time, for tests and reproductions."""


class SystemClock:
    """The computer's clock, or the time in `MODELYARD_NOW`.

    Somebody may set it, and a machine may sleep. It is compared with a clock that does neither each
    time it is asked.
    """

    def __init__(self) -> None:
        self._last: tuple[datetime, float] | None = None
        self._even_since: datetime | None = None
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """Now, in UTC.

        Raises:
            CannotAnswer: `MODELYARD_NOW` is not a time with a time zone.
        """
        fixed = os.environ.get(FIXED)
        if fixed is not None:
            return _parse_time(fixed)
        with self._lock:
            # This one stands still while the machine sleeps: nobody was served then either.
            now, awake = datetime.now(UTC), time.monotonic()
            before, self._last = self._last, (now, awake)
            if before is not None:
                jump = (now - before[0]).total_seconds() - (awake - before[1])
                if abs(jump) > LARGEST_STEP.total_seconds():
                    logger.warning("the clock of this machine jumped by %+.0f s", jump)
                    self._even_since = now
            return now

    def even_since(self) -> datetime | None:
        """Since when it runs evenly; None if it was never seen to jump."""
        return self._even_since


def _parse_time(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise _unreadable(text) from error
    if moment.tzinfo is None:
        raise _unreadable(text)
    return moment.astimezone(UTC)


def _unreadable(text: str) -> CannotAnswer:
    return CannotAnswer(
        f"{FIXED}={text} is not a time with a time zone",
        hint=f"{FIXED}=2026-01-31T12:00:00Z is one",
    )
