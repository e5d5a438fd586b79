"""Signals that end this process, held back until what it started can be ended first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class TerminatedError(BaseException):
    """SIGTERM came."""


class _Interruption:
    """Which signal came while it could not be carried out.

    Signals only ever reach the main thread, so one for the whole process is enough.
    """

    held_back = 0
    came: int | None = None


_interruption = _Interruption()


@contextmanager
def ending_what_it_started() -> Iterator[None]:
    """Let SIGTERM and Ctrl-C unwind the block first, so that what was started in it ends too.

    Not while a process is being started, though: one whose number nobody knows yet would run on
    for ever. Such a signal strikes as soon as the process is asked about.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _interruption.came = None
    before = {n: signal.signal(n, _strike) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
        now()
    except TerminatedError:
        signal.signal(signal.SIGTERM, before[signal.SIGTERM])
        signal.raise_signal(signal.SIGTERM)
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def not_now() -> Iterator[None]:
    """Hold signals back that would strike in `ending_what_it_started`."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _interruption.held_back += 1
    try:
        yield
    finally:
        _interruption.held_back -= 1


def now() -> None:
    """Carry out what was held back.

    Raises:
        TerminatedError: SIGTERM came.
        KeyboardInterrupt: Ctrl-C came.
    """
    if threading.current_thread() is threading.main_thread() and not _interruption.held_back:
        number, _interruption.came = _interruption.came, None
        if number is not None:
            raise KeyboardInterrupt if number == signal.SIGINT else TerminatedError


def _strike(number: int, _: object) -> None:
    _interruption.came = number
    now()
