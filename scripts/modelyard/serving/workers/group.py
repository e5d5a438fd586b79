"""Starts the workers of one server, replaces one that dies, and stops them together."""

from __future__ import annotations

import logging
import mmap
import multiprocessing
import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from multiprocessing.context import ForkProcess
from pathlib import Path
from types import FrameType

from modelyard.errors import CannotAnswer, VersionFault, YardError
from modelyard.serving.workers.pulse import Pulse
from modelyard.serving.workers.shared import LOOK_SECONDS, OneAtATime, Shared

Work = Callable[[int, Shared, socket.socket], None]
"""Serves as the worker of a number until SIGTERM."""

_LOGGER = logging.getLogger(__name__)
_FORK = multiprocessing.get_context("fork")
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_LONGEST_PAUSE = 60.0
_LONGEST_LOOK = 2.0  # a look takes a second
_BRIEF_SECONDS = 10.0  # a worker that lives no longer may fail again at once
_KILLED_SECONDS = 1.0  # until one that is killed has ended, unless the kernel holds it
_BACKLOG = 2048  # as uvicorn's


@dataclass(frozen=True, kw_only=True)
class _Worker:
    """A worker that runs.

    Args:
        process: Its process.
        pause: Seconds that it was waited for before it started.
        started: When that was, by the monotonic clock.
        pulse: Its signs of life.
    """

    process: ForkProcess
    pause: float
    started: float
    pulse: Pulse = field(default_factory=Pulse)


@dataclass(frozen=True, kw_only=True)
class _Ended:
    """A worker that is to be replaced.

    Args:
        at: When its replacement starts, by the monotonic clock.
        pause: Seconds until then.
    """

    at: float
    pause: float


class Group:
    """The workers of one server.

    They are forked from a process that has imported the libraries and has opened no model: threads
    that a library starts with a model would not be there in a fork. At first nobody listens until
    all have loaded the model. One that fails meanwhile ends all; one that dies later is replaced,
    at once if it had loaded the model and served for a while, and the others go on.

    Args:
        workers: How many.
        work: What each does.
        shared: What they share.
        listening: The socket, bound and not yet listening.
        forget: Called with the process number of a worker that ended.
        stop_seconds: How long a worker may take to end; it is killed then.
        stuck_after: How long one that serves may give no sign of life; it is killed then.
    """

    def __init__(
        self,
        workers: int,
        work: Work,
        *,
        shared: Shared,
        listening: socket.socket,
        forget: Callable[[int], None],
        stop_seconds: float,
        stuck_after: float,
    ) -> None:
        self._work, self._shared, self._listening = work, shared, listening
        self._forget, self._stop_seconds = forget, stop_seconds
        self._stuck_after, self._looked = stuck_after, time.monotonic()
        self._workers: dict[int, _Worker] = {}
        self._ended = {number: _Ended(at=0.0, pause=0.0) for number in range(workers)}
        self._is_stopping = False

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT.

        Raises:
            CannotAnswer: A worker failed before all had loaded the model, or the port is taken.
            YardError: A worker says that the model fails, or is refused.
        """
        before = {number: signal.signal(number, self._stop) for number in _SIGNALS}
        try:
            while not self._is_stopping:
                self._start_due()
                self._look()
        finally:
            self._stop_all()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _start_due(self) -> None:
        for number, ended in [*self._ended.items()]:
            if ended.at <= time.monotonic() and not self._is_stopping:
                del self._ended[number]
                self._start(number, ended.pause)

    def _start(self, number: int, pause: float) -> None:
        self._shared.set_loaded(number, loaded=False)
        self._shared.beats[number] = 0
        process = _FORK.Process(target=self._run_worker, args=(number,))
        # A signal between the fork and the note of it would miss the worker.
        with _held_signals():
            process.start()
            self._workers[number] = _Worker(process=process, pause=pause, started=time.monotonic())

    def _run_worker(self, number: int) -> None:
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        self._shared.end_with_parent(stop_seconds=self._stop_seconds)
        try:
            self._work(number, self._shared, OneAtATime(fileno=self._listening.detach()))
        except YardError as error:
            self._shared.tell_failure(number, error)
            raise SystemExit(error.exit_code) from error

    def _look(self) -> None:
        """Wait for the end of a worker, or until one is to be started."""
        due = [ended.at - time.monotonic() for ended in self._ended.values()]
        longest = 1.0 if self._shared.have_begun() else LOOK_SECONDS
        sentinels = [worker.process.sentinel for worker in self._workers.values()]
        wait(sentinels, max(0.0, min([*due, longest])))
        self._begin_once_loaded()
        self._end_stuck()
        for number, worker in [*self._workers.items()]:
            if worker.process.exitcode is not None and not self._is_stopping:
                del self._workers[number]
                self._replace(number, worker)

    def _end_stuck(self) -> None:
        # Of the time in which nobody looked, as when all of them are stopped, nothing is known.
        now = time.monotonic()
        passed, self._looked = min(now - self._looked, _LONGEST_LOOK), now
        for number, worker in self._workers.items():
            silent = worker.pulse.silent_seconds(self._shared.beats[number], passed)
            if silent <= self._stuck_after or worker.process.exitcode is not None:
                continue
            _LOGGER.error("worker %d is stuck: no sign of life for %.0f s", number, silent)
            self._shared.tell_stuck(number)
            worker.process.kill()
            # Not waited for: the kernel may hold it for long. Another look sees its end.
            worker.pulse.silent = 0.0

    def _begin_once_loaded(self) -> None:
        """Listen in the place of all workers: no other could say that the port is taken."""
        if self._is_stopping or self._shared.have_begun() or not self._shared.have_all_loaded():
            return
        try:
            self._listening.listen(_BACKLOG)
        except OSError as error:
            if not self._is_stopping:
                host, port = self._listening.getsockname()[:2]
                raise cannot_listen(host, port, error) from error
        self._shared.begin()

    def _replace(self, number: int, worker: _Worker) -> None:
        how = _how(worker.process.exitcode)
        failure = self._shared.take_failure(number)
        is_final = not isinstance(failure, CannotAnswer) or isinstance(failure, VersionFault)
        have_begun = self._shared.have_begun()
        if failure and (is_final or not have_begun):
            raise failure
        if not have_begun:
            raise CannotAnswer(f"a worker {how} before all had loaded the model")
        self._forget(worker.process.pid or 0)
        pause = self._pause_after(number, worker)
        self._ended[number] = _Ended(at=time.monotonic() + pause, pause=pause)
        _LOGGER.error("worker %d %s; it is replaced in %.0f s", number, failure or how, pause)

    def _pause_after(self, number: int, worker: _Worker) -> float:
        lived = time.monotonic() - worker.started
        if self._shared.has_loaded(number) and lived > _BRIEF_SECONDS:
            return 0.0
        return min(_LONGEST_PAUSE, max(1.0, 2 * worker.pause))

    def _stop(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._is_stopping = True
        self._listening.close()
        for worker in self._workers.values():
            worker.process.terminate()

    def _stop_all(self) -> None:
        self._stop(signal.SIGTERM, None)
        deadline = time.monotonic() + self._stop_seconds
        for worker in self._workers.values():
            worker.process.join(max(0.0, deadline - time.monotonic()))
            worker.process.kill()
            worker.process.join(_KILLED_SECONDS)
            # One that was killed, or gave up its log, has left a part that is not whole.
            self._forget(worker.process.pid or 0)


@contextmanager
def shared_by(workers: int) -> Iterator[Shared]:
    """What so many workers share; its files are deleted afterwards.

    Raises:
        CannotAnswer: There is no folder for them.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix="modelyard-workers-")
    except OSError as error:
        raise CannotAnswer(
            f"no folder for the counters of workers: {error}", hint="set TMPDIR to a writable one"
        ) from error
    reading, writing = os.pipe()
    with folder as path:
        try:
            yield Shared(
                folder=Path(path),
                loaded=mmap.mmap(-1, workers),
                begun=mmap.mmap(-1, 1),
                beats=mmap.mmap(-1, workers),
                stuck=mmap.mmap(-1, workers),
                alive=reading,
                held=writing,
            )
        finally:
            os.close(writing)
            os.close(reading)


def bound_socket(host: str, port: int) -> socket.socket:
    """A socket of this address, on which nobody listens yet.

    Raises:
        CannotAnswer: The address is taken, or is none of this machine.
    """
    found = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
    except OSError as error:
        found.close()
        raise cannot_listen(host, port, error) from error
    return found


def cannot_listen(
    host: str, port: int, error: BaseException | None, *, option: str = "--port"
) -> CannotAnswer:
    """What a server says whose address is taken, or is none of this machine."""
    return CannotAnswer(
        f"{host}:{port}: cannot be listened on: {error}", hint=f"choose another {option}"
    )


@contextmanager
def _held_signals() -> Iterator[None]:
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


def _how(code: int | None) -> str:
    if code is not None and code < 0:
        return f"was ended by signal {-code}"
    return f"ended with exit code {code}"
