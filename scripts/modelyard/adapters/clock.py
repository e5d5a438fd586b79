"""The clock of the computer, or a fixed time."""

from __future__ import annotations

import os
from datetime import UTC, datetime

from modelyard.errors import CannotAnswer

FIXED = "MODELYARD_NOW"
"""Environment variable that stops the clock at an ISO 8601 time, for tests and reproductions."""


class SystemClock:
    """The computer's clock, or the time in `MODELYARD_NOW`."""

    def now(self) -> datetime:
        """Now, in UTC.

        Raises:
            CannotAnswer: `MODELYARD_NOW` is not a time with a time zone.
        """
        fixed = os.environ.get(FIXED)
        return datetime.now(UTC) if fixed is None else _parse_time(fixed)


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
