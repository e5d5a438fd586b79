"""Turns a forked process into what a new interpreter with its command would have been."""

from __future__ import annotations

import atexit
import io
import os
import runpy
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a forked process is to become.

    Args:
        command: `modelyard ARGS...` or `python FILE.py ARGS...`.
        cwd: Its working folder.
        environment: Its whole environment.
        followed: Whether it is killed when the process that asked for it ends.
    """

    command: Sequence[str]
    cwd: str
    environment: Mapping[str, str]
    followed: bool


class _Self:
    """What this process is."""

    is_fork = False


def take_over(order: Order, outputs: Sequence[int], *, defaults: Mapping[str, str]) -> None:
    """Give the fork its own session, files, folder, environment and random numbers.

    Args:
        order: What to become.
        outputs: The descriptors of its stdout and stderr.
        defaults: Variables it has unless its own environment sets them.
    """
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    for target, descriptor in enumerate(outputs, start=1):
        os.dup2(descriptor, target)
        os.close(descriptor)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=stream is sys.stderr or stream.isatty())
    os.environ.clear()
    os.environ.update({**defaults, **order.environment})
    time.tzset()
    os.chdir(order.cwd)
    # Python reseeds its own generator after a fork; numpy's global one would repeat itself.
    if numpy_random := sys.modules.get("numpy.random"):
        numpy_random.seed()


def run_order(order: Order) -> None:
    """Run the order's command as the interpreter would run its main module."""
    _Self.is_fork = True
    run_main(order.command)


def is_fork() -> bool:
    """Whether this process was forked from the preloaded one, or from such a fork."""
    return _Self.is_fork


def become_command(command: Sequence[str]) -> NoReturn:
    """In a fork of a fork: run the command as the interpreter would, and exit."""
    code = 1
    try:
        code = exit_code_of(lambda: run_main(command))
        run_exit_handlers()
    finally:
        os._exit(code)


def run_main(command: Sequence[str]) -> None:
    """Run the main module of a command of `may_be_forked`."""
    program, *arguments = command
    if program == "python":
        sys.argv = arguments
        sys.path.insert(0, str(Path(arguments[0]).resolve().parent))
        runpy.run_path(arguments[0], run_name="__main__")
    else:
        sys.argv = [program, *arguments]
        runpy.run_module(program, run_name="__main__", alter_sys=True)


def exit_code_of(main: Callable[[], None]) -> int:
    """What the interpreter would exit with after `main`."""
    try:
        main()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return (end.code or 0) & 0xFF
        print(end.code, file=sys.stderr)  # noqa: T201 - as the interpreter does
        return 1
    except BaseException:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
        return 1
    return 0


def run_exit_handlers() -> None:
    """Do what the interpreter does before it exits, except for taking every module apart."""
    threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001 - as multiprocessing does
    atexit._run_exitfuncs()  # noqa: SLF001 - the handlers of what was imported before the fork
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # as with `2>&-`
            stream.flush()
