"""Shares work that needs no input between forked processes, one for each core."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import TypeVar

from modelyard.errors import CannotAnswer

S = TypeVar("S")
T = TypeVar("T")


def count_cores(*, otherwise: int = 1) -> int:
    """The cores that this process may use; `otherwise` where the system does not say, as macOS."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else otherwise


def share_work(
    subjects: Sequence[S], work: Callable[[Sequence[S]], list[T]], *, least: int
) -> list[T]:
    """The findings for all subjects in their order, each found by one of several processes.

    Args:
        subjects: What the work is about.
        work: Finds for some of them. It runs in a fork, which knows what is known here.
        least: How many subjects are worth a process.
    """
    # One on macOS, where a fork is not safe.
    workers = max(1, min(count_cores(), len(subjects) // least))
    size = -(-len(subjects) // workers)
    first, *others = [subjects[place * size : (place + 1) * size] for place in range(workers)]
    forks = [_start(work, some) for some in others]
    found = work(first)  # an exception ends the forks, which are daemons
    for process, answers in forks:
        found += _answer_of(process, answers)
    return found


_Fork = tuple[multiprocessing.process.BaseProcess, Connection]


def _start(work: Callable[[Sequence[S]], list[T]], some: Sequence[S]) -> _Fork:
    context = multiprocessing.get_context("fork")
    answers, sends = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sends, work, some), daemon=True)
    process.start()
    sends.close()  # so that the end of the process is the end of its answers
    return process, answers


def _send(sends: Connection, work: Callable[[Sequence[S]], list[T]], some: Sequence[S]) -> None:
    try:
        answer: object = work(some)
    except Exception as error:  # noqa: BLE001 - it is raised where the work was given out
        answer = error
    try:
        sends.send(answer)
    except Exception as error:  # noqa: BLE001 - what cannot be sent is named all the same
        sends.send(CannotAnswer(f"a process that shared the work ended with {error!r}: {answer!r}"))


def _answer_of(process: multiprocessing.process.BaseProcess, answers: Connection) -> list[T]:
    try:
        answer = answers.recv()
    except (EOFError, OSError):  # it ended before its answer, or within it
        process.join()
        raise CannotAnswer(
            f"a process that shared the work ended with {process.exitcode} and no answer",
            hint="run it again; the log of the machine says whether its memory was full",
        ) from None
    process.join()
    if isinstance(answer, Exception):
        raise answer
    found: list[T] = answer
    return found
