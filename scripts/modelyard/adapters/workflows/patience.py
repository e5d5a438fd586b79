"""Follows a workflow through the restarts of whatever runs it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping

from modelyard.errors import CannotAnswer
from modelyard.ports import Phase, WorkflowStatus

logger = logging.getLogger(__name__)

# An API server that restarts is back within two minutes.
_PATIENCE_SECONDS = 120.0
# Becomes a fact and a notification.
_LONGEST_REASON = 300


class Missing(CannotAnswer):
    """There is nothing to wait for.

    Args:
        name: The workflow's name.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no workflow {name}", hint="modelyard reconcile")


def follow(
    watch: Callable[[], Iterable[WorkflowStatus]], progress: Callable[[WorkflowStatus], None]
) -> WorkflowStatus:
    """Follow until it is over, and report every change of a step; a broken stream is resumed.

    Args:
        watch: The workflow now, and after each of its changes.
        progress: Called with every change.

    Raises:
        Missing: There is no such workflow.
        CannotAnswer: What runs it was out of reach for two minutes.
    """
    reported: Mapping[str, Phase] | None = None
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            for status in watch():
                deadline = time.monotonic() + _PATIENCE_SECONDS
                if status.steps != reported or status.phase.is_over:
                    progress(status)
                    reported = status.steps
                if status.phase.is_over:
                    return status
        except Missing:
            raise
        except CannotAnswer as error:
            if time.monotonic() > deadline:
                raise
            logger.warning("%s", error.message)
            time.sleep(1.0)


def last_error_line(log: str) -> str:
    """The last error of a step's log, or else its last line."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    return (errors or lines or [""])[-1].removeprefix("error: ")


def shorten_reason(what: str, why: str) -> str:
    """What failed and why, short enough for a fact."""
    return f"{what}: {why}"[:_LONGEST_REASON] if why else what
