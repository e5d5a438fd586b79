"""The one place that configures logs: text from outside is data in them too."""

from __future__ import annotations

import logging
from types import TracebackType

from modelyard.domain.harmless_text import harmless_line, harmless_lines, hide_passwords

Failure = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class HarmlessFormatter(logging.Formatter):
    """Formats each record as one line; a traceback below it is indented."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the line of a record."""
        return harmless_line(hide_passwords(super().formatMessage(record)))

    def formatException(self, ei: Failure) -> str:  # noqa: N802 - logging's name
        """Return the traceback; what an exception says cannot look like another record."""
        said = hide_passwords(super().formatException(ei))
        return "  " + harmless_lines(said).replace("\n", "\n  ")


def harmless_log(form: str, *, level: int = logging.WARNING) -> logging.Handler:
    """Return a handler that logs harmless lines of this form to stderr."""
    handler = logging.StreamHandler()
    handler.setLevel(level)
    handler.setFormatter(HarmlessFormatter(form))
    return handler


def log_with_dates() -> None:
    """Log warnings and errors with their time, for commands that run for weeks."""
    logging.basicConfig(handlers=[harmless_log("%(asctime)s %(levelname)s %(name)s %(message)s")])


def replace_last_resort() -> None:
    """Let what commands log without any configuration, such as a second error, be harmless too."""
    logging.lastResort = harmless_log("%(message)s")
