"""Asks the preloaded process for a fork, and learns how that ended."""

from __future__ import annotations

import functools
import json
import logging
import os
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass

from modelyard.adapters.processes.forked import Order

PRELOADED = "MODELYARD_PRELOADED"
"""The environment variable that names the socket of `modelyard preload`."""

_LOGGER = logging.getLogger(__name__)
_SECONDS_TO_ANSWER = 30.0


@dataclass(frozen=True, kw_only=True)
class Forked:
    """A process that the preloaded one forked.

    Args:
        pid: Its number.
        exit_code: Returns how it ended, minus the signal's number if one ended it; waits for that.
        held: Its connection. Closing it kills a `followed` process.
    """

    pid: int
    exit_code: Callable[[], int]
    held: ExitStack


def ask_for_fork(address: str, order: Order, outputs: Sequence[int]) -> Forked | None:
    """Ask the preloaded process for a fork; None when it is gone or declines.

    Args:
        address: Its socket.
        order: What the fork is to become.
        outputs: The descriptors of its stdout and stderr.
    """
    with ExitStack() as stack:
        asked = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        reader, writer = os.pipe()
        stack.callback(os.close, reader)
        try:
            asked.settimeout(_SECONDS_TO_ANSWER)
            asked.connect(address)
            line = json.dumps(asdict(order)).encode() + b"\n"
            socket.send_fds(asked, [line[:1]], [*outputs, writer])
            asked.sendall(line[1:])
            answer = _read_line(asked)
        except OSError:
            answer = None
        finally:
            os.close(writer)
        if answer is None:
            _warn_that_it_is_gone(address)
        if answer is None or "pid" not in answer:
            return None
        exit_code = functools.partial(_exit_code, asked, reader)
        return Forked(pid=answer["pid"], exit_code=exit_code, held=stack.pop_all())


def _exit_code(asked: socket.socket, reader: int) -> int:
    """How a forked process ended: as its parent reports, or, if that is gone, as it wrote."""
    asked.settimeout(None)
    if answer := _read_line(asked):
        return answer["exit"]
    last = os.read(reader, 1)
    return last[0] if last else -signal.SIGKILL


def _read_line(asked: socket.socket) -> dict[str, int] | None:
    received = b""
    with suppress(ConnectionError):
        # One byte at a time: two answers may be on their way, and this call wants the first alone.
        while not received.endswith(b"\n") and (byte := asked.recv(1)):
            received += byte
    return json.loads(received) if received.endswith(b"\n") else None


@functools.cache
def _warn_that_it_is_gone(address: str) -> None:
    message = "%s names %s, where nothing answers: starting plain processes"
    _LOGGER.warning(message, PRELOADED, address)
