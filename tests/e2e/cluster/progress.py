"""What a person sees while the cluster comes up: one line a step, with its seconds."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_began = time.monotonic()


def say(message: str) -> None:
    """One line, with the seconds since the command began."""
    sys.stdout.write(f"{time.monotonic() - _began:7.1f} s  {message}\n")
    sys.stdout.flush()


@contextmanager
def step(name: str) -> Iterator[None]:
    """Say what was done, and how long it took, once it is done."""
    start = time.monotonic()
    yield
    say(f"{name} ({time.monotonic() - start:.1f} s)")


class NeverCame(SystemExit):
    """What was waited for did not happen in its time."""


def wait_until(what: str, seconds: float, done: Callable[[], bool], every: float = 0.2) -> None:
    """Ask again and again; say what was waited for when it never came."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise NeverCame(f"{what} did not happen within {seconds:g} s; see the logs folder")
        time.sleep(every)
