"""Asks a `git cat-file` that keeps running about objects: to start git takes longer than to ask."""

from __future__ import annotations

import atexit
import os
import select
import subprocess
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from modelyard.adapters.git import process as git_process

MOST_READERS = 4
"""How many processes wait for questions; the one that was asked longest ago ends first."""

MOST_SECONDS = 600.0
"""How long one is kept: it holds packs open, and they take room on the disk after a repack."""

_WORDS = ("cat-file", "--batch-command", "--buffer")
_SECONDS_TO_END = 2.0
_LARGEST_READ = 2**18


@dataclass(frozen=True, kw_only=True)
class Found:
    """An object: its full name, its kind such as `blob`, and its bytes if they were asked for."""

    name: str
    kind: str
    content: bytes = b""


class ReaderEnded(Exception):  # noqa: N818 - not an error: a new process gives the answer
    """The process ended, or was ended, before it had answered."""


class _Reader:
    """One running process, for one thread at a time.

    After an exception it is out of step, and can only be ended.
    """

    def __init__(self, root: Path, env: Mapping[str, str]) -> None:
        # Before the start: what comes to this place later is then taken for another repository.
        self._repository, self._env = identify_repository(root), env
        self._since = time.monotonic()
        pipe, null = subprocess.PIPE, subprocess.DEVNULL
        command = git_process.git_command(*_WORDS)
        self._process = subprocess.Popen(
            command, cwd=root, env=env, stdin=pipe, stdout=pipe, stderr=null, bufsize=0
        )
        self._pipes = [pipe for pipe in (self._process.stdin, self._process.stdout) if pipe]
        self._in, self._out = (pipe.fileno() for pipe in self._pipes)
        os.set_blocking(self._in, False)

    def answers_as_a_new_one(self, root: Path, env: Mapping[str, str]) -> bool:
        """Whether it runs, and for the repository and the environment of now."""
        return (
            time.monotonic() - self._since < MOST_SECONDS
            and self._env == env
            and self._repository == identify_repository(root)
            and self._process.poll() is None
        )

    def ask(self, commands: Sequence[bytes]) -> list[Found | None]:
        """The answers to these commands, in order; see `ask_git`."""
        deadline = time.monotonic() + git_process.LOCAL_SECONDS
        # Git answers nothing before the flush, so neither side waits for the other.
        rest = memoryview(_lines(commands))
        while rest:
            self._wait(self._in, select.POLLOUT, deadline)
            try:
                rest = rest[os.write(self._in, rest) :]
            except BrokenPipeError as error:
                raise ReaderEnded from error
        return list(parse_answers(commands, lambda: self._read(deadline)))

    def _read(self, deadline: float) -> bytes:
        self._wait(self._out, select.POLLIN, deadline)
        return os.read(self._out, _LARGEST_READ)

    def _wait(self, pipe: int, event: int, deadline: float) -> None:
        poll = select.poll()
        poll.register(pipe, event)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise subprocess.TimeoutExpired(_WORDS, git_process.LOCAL_SECONDS)

    def end(self) -> None:
        """End it and wait for its end."""
        for pipe in self._pipes:
            pipe.close()  # git ends when nothing more can be asked
        try:
            self._process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            git_process.end_git(self._process)
            self._process.wait()

    def disown(self) -> None:
        """Forget it in a forked process; its pipes must not keep it alive from here."""
        for pipe in self._pipes:
            pipe.close()
        self._process.returncode = 0


_idle: OrderedDict[Path, _Reader] = OrderedDict()
_lock = threading.Lock()


def ask_git(root: Path, commands: Sequence[bytes]) -> list[Found | None]:
    """What git says to `info NAME` and `contents NAME`, in order; None where there is no object.

    The process of an earlier question answers if it still runs; several threads have one each.

    Args:
        root: The repository's root.
        commands: See `git help cat-file`, without line ends.

    Raises:
        CannotAnswer: As `run_git`.
    """
    if identify_repository(root) is None:
        return ask_git_anew(root, commands)
    env = git_process.git_environment()
    try:
        reader = _take(root, env) or _Reader(root, env)
    except OSError:
        return ask_git_anew(root, commands)  # it says what is wrong with git
    try:
        found = reader.ask(commands)
    except ReaderEnded:
        reader.end()
        return ask_git_anew(root, commands)
    except subprocess.TimeoutExpired as error:
        reader.end()
        raise git_process.no_end(root, _WORDS, error.timeout) from error
    except BaseException:
        reader.end()
        raise
    _keep(root, reader)
    return found


def ask_git_anew(root: Path, commands: Sequence[bytes]) -> list[Found | None]:
    """As `ask_git`, of a process that runs for these answers alone."""
    done = git_process.run_git(root, *_WORDS, stdin=_lines(commands))
    chunks = iter((done.stdout,))
    return list(parse_answers(commands, lambda: next(chunks, b"")))


def _take(root: Path, env: Mapping[str, str]) -> _Reader | None:
    with _lock:
        reader = _idle.pop(root, None)
    if reader is None or reader.answers_as_a_new_one(root, env):
        return reader
    reader.end()
    return None


def _keep(root: Path, reader: _Reader) -> None:
    with _lock:
        surplus = [_idle.pop(root)] if root in _idle else []
        _idle[root] = reader
        if len(_idle) > MOST_READERS:
            surplus.append(_idle.popitem(last=False)[1])
    for each in surplus:
        each.end()


def end_readers() -> None:
    """End the processes that wait for questions."""
    with _lock:
        readers = list(_idle.values())
        _idle.clear()
    for reader in readers:
        reader.end()


def _forget_readers() -> None:
    global _lock  # noqa: PLW0603 - a thread that was not forked may hold it for ever
    _lock = threading.Lock()
    for reader in _idle.values():
        reader.disown()
    _idle.clear()


atexit.register(end_readers)
os.register_at_fork(after_in_child=_forget_readers)


def _lines(commands: Sequence[bytes]) -> bytes:
    return b"\n".join([*commands, b"flush", b""])


def identify_repository(root: Path) -> tuple[int, ...] | None:
    """What differs if another repository has come to this place; None if there is none.

    A repository that is deleted and made again may get the same inode, but not at the same time.
    """
    # A checkout, a further worktree of one, a bare repository.
    for place in (".git/config", ".git", "config"):
        with suppress(OSError):
            seen = os.stat(os.path.join(root, place))  # noqa: PTH116, PTH118 - asked very often
            return seen.st_dev, seen.st_ino, seen.st_mtime_ns
    return None


def parse_answers(commands: Sequence[bytes], read: Callable[[], bytes]) -> Iterator[Found | None]:
    """The answers in what git writes, which `read` returns in pieces, at its end nothing.

    Raises:
        ReaderEnded: It ended in the middle.
    """
    held = bytearray()

    def read_more() -> None:
        if not (chunk := read()):
            raise ReaderEnded
        held.extend(chunk)

    for command in commands:
        while (end := held.find(b"\n")) < 0:
            read_more()
        # `<object> <kind> <size>`; else `<name> missing`, or another word for no object.
        words = held[:end].decode("utf-8", "surrogateescape").split(" ")
        del held[: end + 1]
        if len(words) != len(("object", "kind", "size")):
            yield None
            continue
        name, kind, size = words[0], words[1], int(words[2])
        if command.startswith(b"info "):
            yield Found(name=name, kind=kind)
            continue
        while len(held) <= size:  # a line end follows
            read_more()
        yield Found(name=name, kind=kind, content=bytes(held[:size]))
        del held[: size + 1]
