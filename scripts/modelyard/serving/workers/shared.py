"""What the workers of one server share: a socket, their counters, and how far they have come."""

from __future__ import annotations

import json
import mmap
import os
import select
import signal
import socket
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry, values
from prometheus_client.multiprocess import MultiProcessCollector

from modelyard.errors import YardError
from modelyard.serving.scoring import Failure, failure_of

_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
LOOK_SECONDS = 0.02
"""Between two looks at how far the others have come."""

_GUARD_SECONDS = 1.0  # between two looks at whether a worker is still there
_MOST_BEATS = 255  # of one byte, of which 0 has a meaning of its own
_MOST_FILES = 1024  # that are open in a worker before it has begun


class OneAtATime(socket.socket):
    """A listening socket of which a worker takes one connection each time that it looks.

    A worker would otherwise take all that wait, while the others have nothing to do.
    """

    _has_taken = False

    def accept(self) -> tuple[socket.socket, object]:
        """Take one connection; at the next call say that there is none."""
        self._has_taken = not self._has_taken
        if not self._has_taken:
            raise BlockingIOError
        return super().accept()


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What the parent makes before the first worker is forked.

    Each worker writes its counters into files of its own number, and the worker that replaces it
    goes on in them: the sum of all files, which any worker answers, never falls.

    Args:
        folder: Of the files; nobody else's.
        loaded: One byte a worker, in memory that all of them see: whether it has loaded the model.
        begun: One more: whether all had, and the parent listens.
        beats: One byte a worker, which is 0 until it serves and then another at each sign of life.
        stuck: One byte a worker: whether the one before it was ended because it was stuck.
        alive: The reading end of a pipe.
        held: Its writing end, which the parent alone keeps open.
    """

    folder: Path
    loaded: mmap.mmap
    begun: mmap.mmap
    beats: mmap.mmap
    stuck: mmap.mmap
    alive: int
    held: int

    def enter(self, number: int) -> CollectorRegistry:
        """Count in the files of this worker from now on; what `/metrics` is to expose."""
        os.environ[_FOLDER] = str(self.folder)
        counted = values.MultiProcessValue(lambda: number)  # type: ignore[no-untyped-call]
        values.ValueClass = counted  # chosen at import otherwise
        registry = CollectorRegistry()
        MultiProcessCollector(registry, str(self.folder))  # type: ignore[no-untyped-call]
        return registry

    def has_loaded(self, number: int) -> bool:
        """Whether a worker has loaded the model."""
        return bool(self.loaded[number])

    def set_loaded(self, number: int, *, loaded: bool) -> None:
        """Say whether it has."""
        self.loaded[number] = int(loaded)

    def have_all_loaded(self) -> bool:
        """Whether every worker has."""
        return all(self.loaded[:])

    def have_begun(self) -> bool:
        """Whether every worker had loaded it at one time, whatever became of them."""
        return bool(self.begun[0])

    def begin(self) -> None:
        """Let the first workers go on; whoever replaces one waits for nobody."""
        self.begun[0] = 1

    def wait_for_all(self, number: int) -> None:
        """Wait until every worker has loaded it, if that has never been so."""
        self.set_loaded(number, loaded=True)
        while not self.have_begun():
            time.sleep(LOOK_SECONDS)

    def beat(self, number: int) -> None:
        """Give a sign of life."""
        self.beats[number] = self.beats[number] % _MOST_BEATS + 1

    def tell_stuck(self, number: int) -> None:
        """Let the one that replaces a worker know that this was stuck."""
        self.stuck[number] = 1

    def take_stuck(self, number: int) -> bool:
        """Whether the worker before this one was, once."""
        was, self.stuck[number] = bool(self.stuck[number]), 0
        return was

    def end_with_parent(self, *, stop_seconds: float) -> None:
        """End this process as by SIGTERM when the parent is gone, however that ended.

        A fork sees to it, which ends with this process: no thread runs while a library keeps the
        interpreter's lock. There must be no other thread yet.

        Args:
            stop_seconds: How long that may take; the process is killed then, as by the parent.
        """
        os.close(self.held)
        worker = os.getpid()
        if os.fork() == 0:
            try:
                self._guard(worker, stop_seconds)
            finally:
                os._exit(0)

    def _guard(self, worker: int, stop_seconds: float) -> None:
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_IGN)  # it ends with its worker, not with the terminal
        os.dup2(self.alive, 0)
        os.closerange(3, _MOST_FILES)  # by one the parent sees a worker's end, and one is the port
        while os.getppid() == worker and not select.select([0], [], [], _GUARD_SECONDS)[0]:
            pass
        deadline = time.monotonic() + stop_seconds
        _signal_parent(worker, signal.SIGTERM)
        while os.getppid() == worker and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
        _signal_parent(worker, signal.SIGKILL)

    def tell_failure(self, number: int, error: YardError) -> None:
        """Write down for the parent why this worker ends."""
        with suppress(OSError):
            self._failure(number).write_text(json.dumps(asdict(failure_of(error))))

    def take_failure(self, number: int) -> YardError | None:
        """Why a worker ended, once; None if it did not say."""
        path = self._failure(number)
        try:
            found = Failure(**json.loads(path.read_bytes()))
            path.unlink()
        except (OSError, ValueError):
            return None
        return found.to_error("a worker")

    def _failure(self, number: int) -> Path:
        return self.folder / f"failure-{number}.json"


def _signal_parent(process: int, number: signal.Signals) -> None:
    if os.getppid() == process:  # else it has ended, and the number may be another process's
        os.kill(process, number)
