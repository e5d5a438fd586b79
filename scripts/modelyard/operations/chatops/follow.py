"""Waits for the end of a run of the forge that a person started."""

from __future__ import annotations

import logging
from collections.abc import Callable
from http import HTTPStatus
from time import monotonic, sleep

from modelyard.adapters.forge.hosted.api import Answered, NotDone, NotReached
from modelyard.adapters.forge.hosted.runs import Run, WorkflowRuns
from modelyard.errors import CannotAnswer

logger = logging.getLogger(__name__)

SECONDS_TO_FOLLOW = 45 * 60.0
"""Its jobs end before, unless they wait for a machine."""

SECONDS_UNTIL_SHOWN = 60.0
"""A forge shows a run some seconds after it was started."""

SECONDS_BETWEEN = 2.0


def follow_run(runs: WorkflowRuns, run: int, report: Callable[[str], None]) -> Run:
    """Wait until a run has ended; what passes by itself is waited for.

    Args:
        runs: The runs of the forge.
        run: Its id.
        report: Told its page, once.

    Raises:
        CannotAnswer: Its end is not known.
    """
    began = seen_at = monotonic()
    page, fault = "", ""
    while True:
        try:
            seen = runs.get(run)
        except CannotAnswer as error:
            if _stays(error, seconds=monotonic() - seen_at):
                raise _unknown(run, page, error.message) from error
            if error.message != fault:
                logger.info("run %s: %s", run, error.message)
            fault = error.message
        else:
            seen_at, fault = monotonic(), ""
            if not page:
                report(f"asked for in {seen.page}")
            page = seen.page
            if seen.is_over:
                return seen
        if monotonic() - began > SECONDS_TO_FOLLOW:
            why = f"it has not ended after {SECONDS_TO_FOLLOW / 60:.0f} minutes"
            raise _unknown(run, page, f"{why}; last, {fault}" if fault else why)
        sleep(SECONDS_BETWEEN)


def _stays(error: CannotAnswer, *, seconds: float) -> bool:
    """Whether asking again would be answered alike, after so long without an answer."""
    if not isinstance(error, Answered):
        return isinstance(error, NotDone) and not isinstance(error, NotReached)
    if error.status == HTTPStatus.NOT_FOUND:
        return seconds > SECONDS_UNTIL_SHOWN
    return error.status < HTTPStatus.INTERNAL_SERVER_ERROR


def _unknown(run: int, page: str, why: str) -> CannotAnswer:
    what = f"run {run} was started, and what became of it is not known: {why}"
    return CannotAnswer(what, hint=f"it goes on: {page or 'look at it on the forge'}")
