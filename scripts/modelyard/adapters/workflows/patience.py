"""Follows a workflow through the restarts of whatever runs it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping

from modelyard.errors import CannotAnswer, LostAnswer
from modelyard.ports import Phase, WorkflowStatus

logger = logging.getLogger(__name__)

# An API server that restarts is back within two minutes.
_PATIENCE_SECONDS = 120.0
# Becomes a fact and a notification.
_LONGEST_REASON = 300


class NoWorkflow(LostAnswer):
    """There is no workflow of that name now, whatever was known of it earlier.

    Args:
        name: The workflow's name.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no workflow {name}", hint="modelyard reconcile")


class Patience:
    """How long whoever asks what runs workflows goes on without an answer."""

    def __init__(self) -> None:
        self._until: float | None = None
        self._told = ""

    def renew(self) -> None:
        """An answer came."""
        self._until, self._told = None, ""

    def pause(self, error: CannotAnswer) -> bool:
        """Wait a moment; False, at once, two minutes after the first error since an answer."""
        now = time.monotonic()
        if self._until is None:
            self._until = now + _PATIENCE_SECONDS
        if now > self._until:
            return False
        if error.message != self._told:  # not every second
            logger.warning("%s", error.message)
            self._told = error.message
        time.sleep(1.0)
        return True


def follow(
    watch: Callable[[], Iterable[WorkflowStatus]], progress: Callable[[WorkflowStatus], None]
) -> WorkflowStatus:
    """Follow until it is over, and report every change of a step; a broken stream is resumed.

    Args:
        watch: The workflow now, and after each of its changes.
        progress: Called with every change.

    Raises:
        NoWorkflow: There is no such workflow.
        CannotAnswer: What runs it was out of reach for two minutes.
    """
    reported: Mapping[str, Phase] | None = None
    patience = Patience()
    while True:
        try:
            for status in watch():
                patience.renew()
                if status.steps != reported or status.phase.is_over:
                    progress(status)
                    reported = status.steps
                if status.phase.is_over:
                    return status
        except NoWorkflow:
            raise
        except CannotAnswer as error:
            if not patience.pause(error):
                # It was asked again, and there is no more to wait for.
                raise CannotAnswer(error.message, hint=error.hint) from error


def last_error_line(log: str) -> str:
    """The last error of a step's log, or else its last line."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    return (errors or lines or [""])[-1].removeprefix("error: ")


def shorten_reason(what: str, why: str) -> str:
    """What failed and why, short enough for a fact."""
    return f"{what}: {why}"[:_LONGEST_REASON] if why else what
