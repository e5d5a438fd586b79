"""Scores the requests that wait while the model is busy in one call, on a thread of its own."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeVar

from modelyard.serving.tensor import MAX_ROWS

if TYPE_CHECKING:
    from modelyard.serving.inputs import InferenceRequest
    from modelyard.serving.predictor import Scores

_T = TypeVar("_T")

MOST_WAITING_ROWS = 10 * MAX_ROWS
"""Of all requests that wait: their memory, and the time that the last one waits, have a limit."""

BATCH_ROWS = MAX_ROWS
"""Requests are joined up to so many rows, for which what comes meanwhile waits: no longer than for
the largest request of one client. Eight of 1,000 cost a model of scikit-learn four times one."""

_TURNS = 8
"""Of the event loop before a call: what has come, or comes while that is read, joins it. A turn
takes a microsecond or two if nothing has come; else it holds the lock of the interpreter, which the
model would need."""


class ModelThread:
    """Runs one piece of work after the other.

    It wakes once for each and holds no lock meanwhile. The process does not wait for it at its end,
    as it would for an executor's: a model that never returns would keep it from ending.

    Args:
        begin: Called on the thread before the first piece of work; what it raises is raised here.
    """

    def __init__(self, begin: Callable[[], object] = lambda: None) -> None:
        self._work: SimpleQueue[Callable[[], object]] = SimpleQueue()
        threading.Thread(target=self._run, name="predict", daemon=True).start()
        self.call(begin)

    def start(self, work: Callable[[], _T], tell: Callable[[_T | BaseException], object]) -> None:
        """Do a piece of work, and tell on the thread what it gave or raised.

        Args:
            work: What to do.
            tell: Must not raise, and return soon.
        """
        self._work.put(lambda: tell(_outcome(work)))

    def call(self, work: Callable[[], _T]) -> _T:
        """The same for a caller that waits; what the work raises is raised here."""
        done: Future[_T | BaseException] = Future()
        self.start(work, done.set_result)
        outcome = done.result()
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def _run(self) -> None:
        while True:
            self._work.get()()


class OverloadedError(Exception):
    """More requests wait than may."""


class StuckError(Exception):
    """The model does not return from a call."""


@dataclass(frozen=True, kw_only=True)
class _Waiting:
    request: InferenceRequest
    scores: asyncio.Future[Scores]


class Batches:
    """The queue in front of one model.

    A request that finds the model idle is scored with those that have come at the same moment. What
    comes while it is busy waits, and is scored together as soon as it is not.

    Args:
        score: Scores one request, or several in as few calls as it can, and restarts the clock
            before each.
        thread: Where it is called.
        queue: Requests that may wait.
    """

    def __init__(
        self,
        score: Callable[[Sequence[InferenceRequest]], Sequence[Scores | Exception]],
        thread: ModelThread,
        *,
        queue: int,
    ) -> None:
        self._score, self._thread, self._queue = score, thread, queue
        self._waiting: deque[_Waiting] = deque()
        self._rows = 0
        self._batch: Sequence[_Waiting] = ()
        self._is_starting = False
        self._called = 0.0

    @property
    def busy_seconds(self) -> float:
        """How long the present call has taken; 0 while there is none."""
        return time.monotonic() - self._called if self._batch else 0.0

    def restart_clock(self) -> None:
        """Begin another call, as the thread tells: a batch may take as many as it has requests."""
        self._called = time.monotonic()

    async def scores(self, request: InferenceRequest, *, only_if_idle: bool = False) -> Scores:
        """The scores of one request; whatever the model raises for it is raised here.

        Raises:
            OverloadedError: Too many requests or rows wait already, or any if the model must be
                idle.
        """
        if only_if_idle and (self._batch or self._waiting):
            raise OverloadedError
        rows = self._rows + request.rows
        if self._waiting and (len(self._waiting) >= self._queue or rows > MOST_WAITING_ROWS):
            if self._batch:
                raise OverloadedError
            self._start()  # the model is idle: nobody has to be refused
        scores: asyncio.Future[Scores] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(request=request, scores=scores))
        self._rows += request.rows
        if not self._batch:
            self._start_soon()
        return await scores

    def give_up(self, error: StuckError) -> int:
        """Fail the requests that are being scored and those that wait; how many there were."""
        given_up = [each for each in (*self._batch, *self._waiting) if not each.scores.done()]
        for each in given_up:
            each.scores.set_exception(error)
        self._waiting.clear()
        self._rows = 0
        return len(given_up)

    def _start_soon(self) -> None:
        if not self._is_starting:
            self._is_starting = True
            self._start_after(_TURNS)

    def _start_after(self, turns: int) -> None:
        if turns:
            asyncio.get_running_loop().call_soon(self._start_after, turns - 1)
            return
        self._is_starting = False
        if not self._batch:
            self._start()

    def _start(self) -> None:
        self._called = time.monotonic()
        self._batch = batch = self._take()
        if not batch:
            return
        loop = asyncio.get_running_loop()
        requests = [each.request for each in batch]
        finish = partial(_run_on, loop, self._finish, batch)
        self._thread.start(partial(self._score, requests), finish)

    def _take(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        rows = 0
        while self._waiting:
            following = self._waiting[0].request.rows
            if batch and rows + following > BATCH_ROWS:
                break
            each = self._waiting.popleft()
            self._rows -= following
            if not each.scores.done():  # else its client has left
                batch.append(each)
                rows += following
        return batch

    def _finish(
        self,
        batch: Sequence[_Waiting],
        outcome: Sequence[Scores | Exception] | BaseException,
    ) -> None:
        self._batch = ()
        # The answers come first: their clients' next requests then join the next batch.
        outcomes: Sequence[Scores | BaseException]
        outcomes = [outcome] * len(batch) if isinstance(outcome, BaseException) else outcome
        for each, result in zip(batch, outcomes, strict=True):
            if each.scores.done():
                continue
            if isinstance(result, BaseException):
                each.scores.set_exception(result)
            else:
                each.scores.set_result(result)
        self._start_soon()


def _run_on(loop: asyncio.AbstractEventLoop, finish: Callable[..., None], *given: object) -> None:
    with suppress(RuntimeError):  # the server has stopped meanwhile
        loop.call_soon_threadsafe(finish, *given)


def score_together(
    score: Callable[[Sequence[InferenceRequest]], Sequence[Scores]],
    requests: Sequence[InferenceRequest],
) -> list[Scores | Exception]:
    """The outcome of each request, by as few calls as find the ones that fail.

    A batch that fails is halved until the requests that make it fail are alone, so that one of them
    costs its neighbours some calls more, and no answer.
    """
    try:
        return [*score(requests)]
    except Exception as error:  # noqa: BLE001 - whatever the model raises
        if len(requests) == 1:
            # No future takes a StopIteration: it would end the loop that waits for it.
            is_stop = isinstance(error, StopIteration)
            return [RuntimeError("the model raised StopIteration") if is_stop else error]
    half = len(requests) // 2
    return [*score_together(score, requests[:half]), *score_together(score, requests[half:])]


def _outcome(work: Callable[[], _T]) -> _T | BaseException:
    try:
        return work()
    except BaseException as error:  # noqa: BLE001 - it is the caller's, and the thread goes on
        return error
