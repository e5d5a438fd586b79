"""Runs the cases of a subject on several processors, and keeps what is known of each.

Rates are kept in `build/error-rates/` under the digest of the product's code, of this folder's code
and of the case. So a run that was ended goes on where it was, and a new case costs its own runs.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType

from error_rates.rates import Rate, table_of

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
KEPT = ROOT / "build" / "error-rates"
DOMAIN = ROOT / "scripts" / "modelyard" / "domain"


@dataclass(frozen=True, kw_only=True)
class Task:
    """Something to simulate.

    Args:
        name: What, for people.
        case: What makes it different from others of the same code; see `describe`.
        run: Gives its rates.
    """

    name: str
    case: object
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
    path = KEPT / f"{_digest(code, task.name, describe(task.case))}.json"
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


def code_digest(folders: Sequence[str], modules: Sequence[str]) -> str:
    """The digest of the code that rates come from.

    Args:
        folders: Folders of the product's domain.
        modules: Modules of this folder. A list of cases needs not be among them: see `describe`.
    """
    paths = [DOMAIN / "verdict.py"]
    paths += [path for folder in folders for path in sorted((DOMAIN / folder).rglob("*.py"))]
    paths += [HERE / name for name in modules]
    return _digest(*(path.read_text("utf-8") for path in paths))


def describe(value: object) -> str:
    """A value as text that is the same in every process; of a function what it computes."""
    return f"({', '.join(_parts_of(value))})"


def _parts_of(value: object) -> Iterator[str]:
    yield type(value).__name__
    if isinstance(value, FunctionType):
        yield value.__name__
        yield from _parts_of_code(value.__code__)
        yield from (describe(cell.cell_contents) for cell in value.__closure__ or ())
        yield describe(value.__kwdefaults__)
    elif isinstance(value, partial):
        yield describe(value.func)
        yield from (describe(each) for each in (value.args, value.keywords))
    elif is_dataclass(value):
        yield from (describe(getattr(value, each.name)) for each in fields(value))
    elif isinstance(value, dict):
        yield from (f"{key!r}: {describe(each)}" for key, each in value.items())
    elif isinstance(value, (list, tuple)):
        yield from map(describe, value)
    else:
        yield repr(value)


def _parts_of_code(code: CodeType) -> Iterator[str]:
    yield from (code.co_code.hex(), repr(code.co_names))
    for each in code.co_consts:
        yield from _parts_of_code(each) if isinstance(each, CodeType) else (repr(each),)


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:24]
