"""Set-up that takes long is built once in a test run, by the process that first asks for it."""

from __future__ import annotations

import fcntl
import os
import pickle
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
PLACE = "BUILT_ONCE"
"""The environment variable that tells the workers of a run where they share what is built."""

AT_START = frozenset(os.environ)
"""The environment variables that this process had before a test imported anything."""

_known: dict[str, object] = {}


def share_what_is_built() -> Callable[[], None]:
    """Make the folder that all processes of this run share; returns what deletes it."""
    folder = tempfile.mkdtemp(prefix=f"modelyard-built-{os.getpid()}-")
    os.environ[PLACE] = folder
    return lambda: shutil.rmtree(folder, ignore_errors=True)


def run_process() -> str:
    """The number of the process that started this run, and outlives its workers."""
    return Path(os.environ[PLACE]).name.split("-")[2]


def built_once(name: str, build: Callable[[Path], T]) -> T:
    """What `build` returned when it filled its folder; nobody may change either of them.

    Args:
        name: Says what is built; a name is built once.
        build: Gets the path of its folder, which is not there yet.
    """
    if name not in _known:
        folder = Path(os.environ[PLACE])
        with (folder / f"{name}.lock").open("w") as lock:
            # Released when the process ends, however it ends.
            fcntl.flock(lock, fcntl.LOCK_EX)
            result = folder / f"{name}.pickle"
            if not result.exists():
                # Another process failed in the middle.
                shutil.rmtree(folder / name, ignore_errors=True)
                result.write_bytes(pickle.dumps(build(folder / name)))
        _known[name] = pickle.loads(result.read_bytes())  # noqa: S301 - written above
    return _known[name]  # type: ignore[return-value]
