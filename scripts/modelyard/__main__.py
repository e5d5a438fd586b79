"""`python -m modelyard` is `modelyard`, and Ctrl-C ends it quietly from its first moment on."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # as in `typing`, whose own import takes longer than all of this
if TYPE_CHECKING:
    from typing import NoReturn

_SAID = b"stopped: modelyard. To go on, run the same command again.\n"


def start() -> NoReturn:
    """Import the command line, which takes most of the time of a short command, and run it."""
    try:
        import signal

        # A handler and no exception: a module that is imported may catch that, or lose it.
        # A process that was told to ignore Ctrl-C, as one in the background, goes on to do so.
        is_heard = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if is_heard:
            signal.signal(signal.SIGINT, _stop)
        from modelyard.cli import run

        if is_heard:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        run()
    except KeyboardInterrupt:
        _stop()


def _stop(number: int = 2, *_: object) -> NoReturn:
    """End the process at once; nothing is imported for it, as that may be what was interrupted."""
    line = b"\n" + _SAID if os.isatty(2) else _SAID  # after the ^C of the terminal
    try:
        os.write(2, line)
    finally:
        os._exit(128 + number)  # as in a shell, and as `cli.INTERRUPTED`


if __name__ == "__main__":
    sys.exit(start())
