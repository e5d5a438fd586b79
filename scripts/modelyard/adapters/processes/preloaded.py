"""A process that has imported the heavy libraries and forks ready-made processes from itself."""

from __future__ import annotations

import functools
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import stat
import struct
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from modelyard.adapters.processes.forked import (
    Order,
    exit_code_of,
    run_exit_handlers,
    run_order,
    take_over,
)
from modelyard.errors import CannotAnswer

READ_ONCE = ("PYTHON", "LD_", "OMP_", "GOMP_", "KMP_", "OPENBLAS_", "MKL_", "ARROW_", "MALLOC_")
"""Prefixes of variables that an interpreter or a library reads only when it starts."""

# jemalloc stops and restarts its own thread around fork, so it may be there.
_FORK_SAFE_THREADS = frozenset({"jemalloc_bg_thd"})
_DESCRIPTORS = 3  # stdout, stderr, and a pipe that outlives the preloaded process
_SECONDS_TO_ASK = 10.0


def serve_forks(
    address: Path,
    modules: Sequence[str],
    *,
    prepare: Callable[[], None],
    ready: Callable[[], None],
) -> None:
    """Import the modules, listen on the unix socket and fork until stdin or the parent is gone.

    Args:
        address: Where the socket is made; its folder must be the caller's own.
        modules: Imported before the first fork.
        prepare: Called once they are imported; what it makes in memory, every fork has.
        ready: Called once forking is possible.

    Raises:
        CannotAnswer: A module is missing, importing it started threads that a fork would lose, or
            the socket cannot be made.
    """
    parent, before = os.getppid(), dict(os.environ)
    # A module may parse the command line of the process that imports it, as some do.
    given, sys.argv = sys.argv, sys.argv[:1]
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            message = f"cannot preload {module}: {error}"
            raise CannotAnswer(message, hint="leave it out of --module") from error
    sys.argv = given
    prepare()
    _refuse_threads()
    # What was imported is never collected, so forks do not copy its pages by collecting garbage.
    gc.collect()
    gc.freeze()
    _Server(address, parent, before).run(ready)


def _refuse_threads() -> None:
    """Refuse to fork with threads: a fork has only one, and the others' locks stay locked."""
    # BLAS libraries end their idle threads before a fork and start them again when needed.
    trial = os.fork()
    if trial == 0:
        os._exit(0)
    os.waitpid(trial, 0)
    native = _native_threads() - _FORK_SAFE_THREADS
    python = {thread.name for thread in threading.enumerate()} - {threading.main_thread().name}
    if found := sorted(native | python):
        message = f"the preloaded modules started threads ({', '.join(found)}), which no fork keeps"
        raise CannotAnswer(message, hint="preload fewer modules, or none")


def _native_threads() -> set[str]:
    """The names of the threads beside the main one; only Linux names those of libraries."""
    tasks = Path("/proc/self/task")
    if not tasks.is_dir():
        return set()
    main = str(os.getpid())
    return {(task / "comm").read_text().strip() for task in tasks.iterdir() if task.name != main}


class _Server:
    """The loop: takes orders, forks, and answers each client how its process ended."""

    def __init__(self, address: Path, parent: int, before: Mapping[str, str]) -> None:
        self.address = address
        self.parent = parent
        self.read_once = _read_once(before)
        # Some libraries set defaults when they are imported; their forks must find them set.
        self.imported = {key: os.environ[key] for key in os.environ.keys() - before.keys()}
        self.clients: dict[int, socket.socket] = {}
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.woken, self.waker = socket.socketpair()
        self.selector = selectors.DefaultSelector()

    def run(self, ready: Callable[[], None]) -> None:
        try:
            self.listener.bind(str(self.address))
        except OSError as error:
            message = f"cannot listen on {self.address}: {error.strerror or error}"
            raise CannotAnswer(message, hint="name a new file in a folder of yours") from error
        made = self.address.stat().st_ino
        try:
            self.listener.listen(64)
            self._when_readable(self.listener, self._accept)
            self._when_readable(self.woken, self._reap)
            if _ends_with_its_writer():
                self._when_readable(0, _stdin_is_open)
            self._wake_when_children_end()
            ready()
            self._loop()
        finally:
            with suppress(FileNotFoundError):
                if self.address.stat().st_ino == made:  # another may listen there by now
                    self.address.unlink()

    def _when_readable(self, source: socket.socket | int, act: Callable[[], bool]) -> None:
        self.selector.register(source, selectors.EVENT_READ, act)

    def _wake_when_children_end(self) -> None:
        self.woken.setblocking(False)
        self.waker.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.waker.fileno(), warn_on_full_buffer=False)

    def _loop(self) -> None:
        while os.getppid() == self.parent:
            for key, _ in self.selector.select(timeout=1.0):
                if not key.data():
                    return

    def _reap(self) -> bool:
        with suppress(BlockingIOError):
            self.woken.recv(4096)
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                client = self.clients.pop(ended[0])
                with suppress(KeyError):
                    self.selector.unregister(client)
                _send(client, {"exit": os.waitstatus_to_exitcode(ended[1])})
                client.close()
        return True

    def _accept(self) -> bool:
        client, _ = self.listener.accept()
        client.settimeout(_SECONDS_TO_ASK)
        descriptors: list[int] = []
        try:
            self._fork(_receive_order(client, descriptors), client, descriptors)
        except (OSError, ValueError, TypeError):
            client.close()
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return True

    def _fork(self, order: Order, client: socket.socket, descriptors: list[int]) -> None:
        if not self._can_become(order.environment):
            _send(client, {"declined": "its environment needs a new interpreter"})
            client.close()
            return
        pid = os.fork()
        if pid == 0:
            self._become(order, client, descriptors)
        self.clients[pid] = client
        if order.followed:
            self._when_readable(client, functools.partial(self._end_with_client, pid))

    def _can_become(self, environment: Mapping[str, str]) -> bool:
        """Whether it asks for what was preloaded; a forked client passes on what imports set."""
        inherited = {key for key, value in self.imported.items() if environment.get(key) == value}
        asked = {key: environment[key] for key in environment.keys() - inherited}
        return _read_once(asked) == self.read_once

    def _end_with_client(self, pid: int) -> bool:
        """Kill a followed process: clients send one order only, so readable means they are gone."""
        self.selector.unregister(self.clients[pid])
        try:
            os.killpg(pid, signal.SIGKILL)
        except ProcessLookupError:
            os.kill(pid, signal.SIGKILL)  # it has not made its session yet
        return True

    def _become(self, order: Order, client: socket.socket, descriptors: list[int]) -> NoReturn:
        """In the forked process: run the order and exit, never to return to the loop."""
        code = 1
        try:
            self._leave(client)
            take_over(order, descriptors[:2], defaults=self.imported)
            # A client that is gone started a plain process instead: there must be only one.
            if _send(client, {"pid": os.getpid()}):
                client.close()
                code = exit_code_of(lambda: run_order(order))
                run_exit_handlers()
        except BaseException:  # noqa: BLE001 - whatever it was, the loop's copy must not run on
            traceback.print_exc()
        finally:
            try:
                os.write(descriptors[2], bytes([code]))  # fails when nothing waits for it
            finally:
                os._exit(code)

    def _leave(self, kept: socket.socket) -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self.selector.close()
        for one in (self.listener, self.woken, self.waker, *self.clients.values()):
            if one is not kept:
                one.close()


def _read_once(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that a preloaded process can no longer change for its forks."""
    return {key: value for key, value in environment.items() if key.startswith(READ_ONCE)}


def _receive_order(client: socket.socket, descriptors: list[int]) -> Order:
    """Read an order of the same user; its files are added to `descriptors`."""
    peer = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    if struct.unpack("3i", peer)[1] != os.getuid():
        raise PermissionError
    first, received, _, _ = socket.recv_fds(client, 1, _DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
    descriptors.extend(received)
    with client.makefile("rb") as stream:
        order = Order(**json.loads(first + stream.readline()))
    if len(received) != _DESCRIPTORS:
        raise ValueError
    return order


def _ends_with_its_writer() -> bool:
    """Whether the end of stdin means that its writer is gone: true of pipes, not of /dev/null."""
    if sys.stdin is None:
        return False
    mode = os.fstat(0).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _stdin_is_open() -> bool:
    return os.read(0, 1024) != b""


def _send(client: socket.socket, document: Mapping[str, object]) -> bool:
    try:
        client.sendall(json.dumps(document).encode() + b"\n")
    except OSError:
        return False
    return True
