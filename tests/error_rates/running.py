"""Runs the cases of a subject on several processors, and keeps what is known of each.

Rates are kept in `build/error-rates/` under the digest of all of the domain's code, of all of this
folder's and of the versions of the libraries. So a run that was ended goes on where it was, as long
as no code changes.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from error_rates.rates import Rate, table_of

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
KEPT = ROOT / "build" / "error-rates"
PRODUCT = ROOT / "scripts" / "modelyard"
LIBRARIES = ("numpy", "scipy")


@dataclass(frozen=True, kw_only=True)
class Task:
    """Something to simulate.

    Args:
        name: What, for people; no other task of its subject has it.
        run: Gives its rates.
    """

    name: str
    run: Callable[[], Sequence[Rate]]


def run_tasks(tasks: Sequence[Task], *, code: str | None = None, jobs: int = 1) -> list[Rate]:
    """The rates of all tasks, in their order.

    Args:
        tasks: The tasks.
        code: The `code_digest` under which rates are kept; None to keep none, which needs one job.
        jobs: How many processes simulate.
    """
    if jobs > 1:
        # Forked: a case has functions without a name, which cannot be sent to another process.
        context = multiprocessing.get_context("fork")
        following = context.Value("i", 0)
        workers = [
            context.Process(target=_work, args=(tasks, code, following)) for _ in range(jobs)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    return [rate for task in tasks for rate in _rates_of(task, code)]


def _work(tasks: Sequence[Task], code: str, following: object) -> None:
    while True:
        with following.get_lock():  # type: ignore[attr-defined]
            place = following.value  # type: ignore[attr-defined]
            following.value = place + 1  # type: ignore[attr-defined]
        if place >= len(tasks):
            return
        _rates_of(tasks[place], code)


def _rates_of(task: Task, code: str | None) -> list[Rate]:
    """The rates of a task, as they are kept or from a simulation."""
    if code is None:
        return list(task.run())
    path = KEPT / f"{_digest(code, task.name)}.json"
    if path.exists():
        return [_read(each) for each in json.loads(path.read_text("utf-8"))]
    started = time.process_time()
    found = list(task.run())
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps([asdict(rate) for rate in found]), "utf-8")
    draft.replace(path)
    rows = "\n".join(table_of(found).splitlines()[2:])
    sys.stdout.write(f"{rows}  {time.process_time() - started:.0f} s\n")
    sys.stdout.flush()
    return found


def _read(kept: dict[str, object]) -> Rate:
    beside = tuple((str(name), str(text)) for name, text in kept.pop("beside"))  # type: ignore[attr-defined]
    return Rate(**kept, beside=beside)  # type: ignore[arg-type]


def code_digest(subject: str) -> str:
    """The digest of all that the rates of a subject may come from: they are kept for it alone.

    Of all of the domain and of this folder, not of what a case seems to use: a function that it
    calls by a name, or a library, may change too.
    """
    product = [PRODUCT / "errors.py", *sorted(PRODUCT.glob("domain/**/*.py"))]
    paths = [*product, *sorted(HERE.rglob("*.py"))]
    texts = (text for path in paths for text in (path.name, path.read_text("utf-8")))
    return _digest(subject, sys.version, *(f"{each} {version(each)}" for each in LIBRARIES), *texts)


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:24]
