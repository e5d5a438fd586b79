"""A group of workers without a model: who is started when, and how all of them end."""

from __future__ import annotations

import ctypes
import functools
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkProcess
from pathlib import Path

import psutil
import pytest

from modelyard.adapters.processes.process_table import find_process
from modelyard.adapters.processes.start import is_process_alive
from modelyard.errors import CannotAnswer, Refused, YardError
from modelyard.serving.workers.group import Group, Work, bound_socket, shared_by
from modelyard.serving.workers.shared import Shared
from serving.running import until

STOP_SECONDS = 0.5
STUCK_SECONDS = 2.0
_FORK = multiprocessing.get_context("fork")


@contextmanager
def group(
    folder: Path, work: Callable[[Path, int, Shared], None], *, port: int = 0
) -> Iterator[ForkProcess]:
    """Two workers below a process of their own, which writes down its end and whom it forgot."""

    def do(number: int, shared: Shared, _: socket.socket) -> None:
        note(folder / f"started-{number}", f"{os.getpid()} {time.monotonic()}")
        work(folder, number, shared)

    process = _FORK.Process(target=_run, args=(folder, do, port))
    process.start()
    try:
        yield process
    finally:
        process.terminate()
        process.join(20)
        process.kill()


def _run(folder: Path, work: Work, port: int) -> None:
    forget = functools.partial(note, folder / "forgotten")
    with bound_socket("127.0.0.1", port) as listening, shared_by(2) as shared:
        try:
            Group(
                2,
                work,
                shared=shared,
                listening=listening,
                forget=forget,
                stop_seconds=STOP_SECONDS,
                stuck_after=STUCK_SECONDS,
            ).run()
        except YardError as error:
            note(folder / "error", error.message)
            raise SystemExit(error.exit_code) from error


def note(path: Path, what: object) -> None:
    with path.open("a") as file:
        file.write(f"{what}\n")


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def first_words(path: Path) -> list[int]:
    return [int(line.split()[0]) for line in lines(path)]


def serve(folder: Path, number: int, shared: Shared) -> None:
    shared.wait_for_all(number)
    note(folder / f"serves-{number}", os.getpid())
    time.sleep(60)


def goes_on(folder: Path, number: int, shared: Shared) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    serve(folder, number, shared)


def cannot_load_again(folder: Path, number: int, shared: Shared) -> None:
    if number == 0 and len(lines(folder / "started-0")) > 1:
        raise CannotAnswer("no memory")
    serve(folder, number, shared)


def test_a_worker_that_cannot_load_does_not_keep_the_one_beside_it_from_serving(tmp_path: Path):
    with group(tmp_path, cannot_load_again) as parent:
        until(lambda: lines(tmp_path / "serves-0") and lines(tmp_path / "serves-1"))
        os.kill(first_words(tmp_path / "serves-0")[0], signal.SIGKILL)
        until(lambda: len(lines(tmp_path / "started-0")) > 1)
        os.kill(first_words(tmp_path / "serves-1")[0], signal.SIGKILL)
        until(lambda: len(lines(tmp_path / "serves-1")) > 1)
        assert parent.is_alive()


def test_a_refusal_of_one_worker_ends_all_of_them_with_its_message_and_code(tmp_path: Path):
    def refuses(folder: Path, number: int, shared: Shared) -> None:
        if number == 1:
            raise Refused("another digest")
        serve(folder, number, shared)

    with group(tmp_path, refuses) as parent:
        parent.join(20)
        assert parent.exitcode == Refused.exit_code
    assert lines(tmp_path / "error") == ["another digest"]
    assert not lines(tmp_path / "serves-0")


def test_nobody_serves_before_all_have_loaded_the_model(tmp_path: Path):
    def waits(folder: Path, number: int, shared: Shared) -> None:
        if number == 0:
            until((folder / "go").exists)
        serve(folder, number, shared)

    with group(tmp_path, waits):
        until(lambda: lines(tmp_path / "started-0") and lines(tmp_path / "started-1"))
        time.sleep(0.2)
        assert not lines(tmp_path / "serves-1")
        (tmp_path / "go").touch()
        until(lambda: lines(tmp_path / "serves-0") and lines(tmp_path / "serves-1"))


def test_a_port_that_another_process_took_meanwhile_ends_all_and_is_named(tmp_path: Path):
    with bound_socket("127.0.0.1", 0) as other:
        port = other.getsockname()[1]

        def takes_the_port(folder: Path, number: int, shared: Shared) -> None:
            if number == 0:
                other.listen()
            serve(folder, number, shared)

        with group(tmp_path, takes_the_port, port=port) as parent:
            until(lambda: not parent.is_alive())
    assert parent.exitcode == 1
    [said] = lines(tmp_path / "error")
    assert said.startswith(f"127.0.0.1:{port}: cannot be listened on: [Errno")
    assert [len(lines(tmp_path / f"started-{number}")) for number in (0, 1)] == [1, 1]


def test_a_worker_that_lived_briefly_is_replaced_after_a_pause_that_grows(tmp_path: Path):
    def ends_at_once(folder: Path, number: int, shared: Shared) -> None:
        if number == 1:
            serve(folder, number, shared)
        shared.wait_for_all(number)

    with group(tmp_path, ends_at_once):
        until(lambda: len(lines(tmp_path / "started-0")) == 3)
    first, second, third = (float(line.split()[1]) for line in lines(tmp_path / "started-0"))
    assert second - first >= 1.0
    assert third - second >= 2.0


def test_a_worker_that_does_not_end_is_killed_and_what_it_began_is_forgotten(tmp_path: Path):
    with group(tmp_path, goes_on) as parent:
        until(lambda: lines(tmp_path / "serves-0") and lines(tmp_path / "serves-1"))
        parent.terminate()
        until(lambda: not parent.is_alive())
    assert parent.exitcode == 0
    started = [first_words(tmp_path / f"started-{number}")[0] for number in (0, 1)]
    assert sorted(first_words(tmp_path / "forgotten")) == sorted(started)


def hangs(folder: Path, number: int, shared: Shared) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    shared.wait_for_all(number)
    note(folder / f"serves-{number}", os.getpid())
    ctypes.PyDLL(None).sleep(60)  # unlike what CDLL calls, it keeps the interpreter's lock


@pytest.mark.parametrize("work", [goes_on, hangs])
def test_a_worker_that_does_not_end_with_its_parent_is_killed_after_as_long(work, tmp_path: Path):
    with group(tmp_path, work) as parent:
        until(lambda: lines(tmp_path / "serves-0") and lines(tmp_path / "serves-1"))
        workers = [find_process(*first_words(tmp_path / f"serves-{number}")) for number in (0, 1)]
        before = time.monotonic()
        parent.kill()
        until(lambda: not any(each and is_process_alive(each) for each in workers))
    assert None not in workers
    assert 0.9 * STOP_SECONDS < time.monotonic() - before < 30


def is_stopped_once(folder: Path, number: int, shared: Shared) -> None:
    note(folder / f"follows-stuck-{number}", shared.take_stuck(number))
    shared.wait_for_all(number)
    note(folder / f"serves-{number}", os.getpid())
    while True:
        shared.beat(number)
        time.sleep(0.05)


def test_a_worker_without_a_sign_of_life_is_replaced_and_the_one_that_follows_knows(tmp_path: Path):
    with group(tmp_path, is_stopped_once) as parent:
        until(lambda: lines(tmp_path / "serves-0") and lines(tmp_path / "serves-1"))
        os.kill(first_words(tmp_path / "serves-0")[0], signal.SIGSTOP)
        until(lambda: len(lines(tmp_path / "serves-0")) == 2)
        os.kill(first_words(tmp_path / "serves-0")[1], signal.SIGKILL)
        until(lambda: len(lines(tmp_path / "serves-0")) == 3)
        assert parent.is_alive()
    assert lines(tmp_path / "follows-stuck-0") == ["False", "True", "False"]
    assert lines(tmp_path / "follows-stuck-1") == ["False"]


def is_stopped_and_goes_on(folder: Path, number: int, shared: Shared) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    is_stopped_once(folder, number, shared)


def test_nobody_waits_for_a_worker_that_the_kernel_does_not_let_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(ForkProcess, "kill", lambda _: None)  # as it is while a disk hangs
    with group(tmp_path, is_stopped_and_goes_on) as parent:
        monkeypatch.undo()  # the parent alone has it
        until(lambda: lines(tmp_path / "serves-0") and lines(tmp_path / "serves-1"))
        [stuck], [other] = (first_words(tmp_path / f"serves-{number}") for number in (0, 1))
        os.kill(stuck, signal.SIGSTOP)
        time.sleep(STUCK_SECONDS + 2.5)  # two looks more
        os.kill(other, signal.SIGKILL)
        until(lambda: len(lines(tmp_path / "serves-1")) == 2)
        os.kill(parent.pid or 0, signal.SIGTERM)
        until(lambda: len(lines(tmp_path / "forgotten")) == 3)
        for left in (stuck, first_words(tmp_path / "serves-1")[1]):
            os.kill(left, signal.SIGKILL)
        parent.join(20)
        assert parent.exitcode == 0


def test_what_sees_to_the_end_of_a_worker_ends_with_it(tmp_path: Path):
    with group(tmp_path, serve) as parent:
        until(lambda: lines(tmp_path / "serves-0") and lines(tmp_path / "serves-1"))
        [worker] = first_words(tmp_path / "serves-0")
        below = psutil.Process(parent.pid).children(recursive=True)
        guards = [each for each in below if each.ppid() == worker]
        os.kill(worker, signal.SIGKILL)
        until(lambda: not any(map(is_running, guards)))
    assert len(guards) == 1


def is_running(process: psutil.Process) -> bool:
    """Whether it is neither gone nor left for nobody to take note of."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
