from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.adapters.git import object_reader, process
from modelyard.adapters.git.object_reader import (
    MOST_READERS,
    Found,
    ReaderEnded,
    ask_git,
    end_readers,
    parse_answers,
)
from modelyard.errors import CannotAnswer

ABSENT = "0" * 39 + "1"


@pytest.fixture(autouse=True)
def no_readers_of_other_tests() -> Iterator[None]:
    end_readers()
    yield
    end_readers()


def make(root: Path) -> Path:
    subprocess.run(["git", "init", "-q", "-b", "main", str(root)], check=True)
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make(tmp_path / "checkout")


def write(root: Path, content: bytes) -> str:
    words = ["git", "-C", str(root), "hash-object", "-w", "--stdin"]
    done = subprocess.run(words, input=content, capture_output=True, check=True)
    return done.stdout.decode().strip()


def read(root: Path, *names: str) -> list[bytes | None]:
    found = ask_git(root, [f"contents {name}".encode() for name in names])
    return [each and each.content for each in found]


def readers() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if is_reader(child)]


def is_reader(child: psutil.Process) -> bool:
    try:
        return "cat-file" in child.cmdline()
    except psutil.NoSuchProcess:  # ended, maybe by a test of another module that waits for none
        return False


@pytest.mark.long
def test_one_process_answers_all_questions_about_a_repository(root: Path):
    one = write(root, b"1\n\n2")
    read(root, one)
    (first,) = readers()

    other = write(root, b"")

    assert read(root, other, ABSENT, one) == [b"", None, b"1\n\n2"]
    assert ask_git(root, [f"info {one}".encode(), f"info {ABSENT}".encode()]) == [
        Found(name=one, kind="blob"),
        None,
    ]
    assert readers() == [first]


def test_what_is_packed_and_pruned_meanwhile_is_found(root: Path):
    one = write(root, b"one")
    assert read(root, one, ABSENT) == [b"one", None]
    git = ["git", "-C", str(root)]
    tree = subprocess.run(
        [*git, "mktree"], input=f"100644 blob {one}\tx\n".encode(), capture_output=True, check=True
    ).stdout.decode()
    words = [*git, "commit-tree", "-m", "Change", tree.strip()]
    commit = subprocess.run(words, capture_output=True, check=True).stdout.decode().strip()
    subprocess.run([*git, "update-ref", "refs/heads/main", commit], check=True)
    (first,) = readers()

    for _ in range(2):  # the second time, the pack that is open is deleted
        subprocess.run([*git, "repack", "-adq"], check=True)
        subprocess.run([*git, "prune-packed", "-q"], check=True)
        assert read(root, f"{commit}:x", one) == [b"one", b"one"]
        new = write(root, os.urandom(8))
        subprocess.run([*git, "update-ref", f"refs/heads/{new}", commit], check=True)

    assert readers() == [first]


def test_a_repository_that_takes_the_place_of_another_is_read_itself(root: Path):
    old = write(root, b"old")
    assert read(root, old) == [b"old"]

    shutil.rmtree(root)
    new = write(make(root), b"new")

    assert read(root, old, new) == [None, b"new"]
    assert len(readers()) == 1


@pytest.mark.long
@pytest.mark.parametrize("bare", [True, False])
def test_a_bare_repository_and_a_further_worktree_have_a_reader_too(root: Path, *, bare: bool):
    one = write(root, b"one")
    git = ["git", "-C", str(root)]
    place = root.with_name("other")
    if bare:
        subprocess.run(["git", "init", "-q", "--bare", str(place)], check=True)
        one = write(place, b"one")
    else:
        subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "Change"], check=True)
        subprocess.run([*git, "worktree", "add", "-q", "--detach", str(place)], check=True)

    assert read(place, one) == read(place, one) == [b"one"]
    assert len(readers()) == 1


def test_a_folder_of_a_checkout_is_read_without_a_reader_and_no_repository_is_an_error(root: Path):
    one = write(root, b"one")
    (root / "folder").mkdir()

    assert read(root / "folder", one) == [b"one"]
    with pytest.raises(CannotAnswer, match="not a git repository"):
        read(root.parent, one)
    assert readers() == []


def test_a_killed_reader_is_replaced(root: Path):
    one = write(root, b"one")
    read(root, one)
    (first,) = readers()

    first.kill()

    assert read(root, one) == [b"one"]
    assert read(root, one) == [b"one"]
    (second,) = readers()
    assert second.pid != first.pid
    assert not first.is_running()  # nor is it a zombie


@pytest.mark.long
def test_a_reader_that_ends_in_the_middle_of_an_answer_is_not_believed(root: Path):
    large = os.urandom(2**22)
    one = write(root, large)
    read(root, write(root, b"other"))
    (first,) = readers()
    first.suspend()

    def kill() -> None:
        time.sleep(0.05)
        first.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    assert read(root, one) == [large]
    killer.join()


def test_a_damaged_object_is_reported_as_git_reports_it(root: Path):
    one, two = write(root, os.urandom(10_000)), write(root, b"two")
    assert read(root, two) == [b"two"]
    file = root / ".git" / "objects" / one[:2] / one[2:]
    file.chmod(0o600)
    file.write_bytes(file.read_bytes()[:5000])

    with pytest.raises(CannotAnswer, match=f"git cat-file in .*: fatal: .*{one}"):
        read(root, one)

    assert read(root, two) == [b"two"]


def test_a_git_that_hangs_is_ended_and_the_error_says_how_long_it_took(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    one = write(root, b"one")
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin" / "git"
    fake.write_text("#!/bin/sh\nkill -STOP $$\n")
    fake.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
        patch.setattr(process, "LOCAL_SECONDS", 0.2)
        patch.setattr(object_reader, "_SECONDS_TO_END", 0.1)

        # More than a pipe holds: the question cannot even be asked.
        for asked in ([one], [one] * 4000):
            with pytest.raises(CannotAnswer, match=r"git cat-file .* no end after 0\.2 s"):
                read(root, *asked)

        assert readers() == []
    assert read(root, one) == [b"one"]  # another PATH is another git


@pytest.mark.long
def test_long_questions_and_long_answers_do_not_wait_for_each_other(root: Path):
    one = write(root, b"x" * 1000)

    assert read(root, *[one] * 5000) == [b"x" * 1000] * 5000


def test_threads_get_their_own_answers_and_leave_one_reader(root: Path):
    contents = [f"content {number}".encode() for number in range(8)]
    names = [write(root, content) for content in contents]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda name: [read(root, name) for _ in range(20)], names))

    assert answers == [[[content]] * 20 for content in contents]
    assert len(readers()) == 1


def test_few_readers_are_kept_and_none_becomes_a_zombie(tmp_path: Path):
    roots = [make(tmp_path / str(number)) for number in range(MOST_READERS + 2)]
    for root in roots:
        ask_git(root, [f"info {ABSENT}".encode()])

    kept = {Path(reader.cwd()) for reader in readers()}

    assert kept == set(roots[-MOST_READERS:])
    assert not [
        child
        for child in psutil.Process().children()
        if child.status() == psutil.STATUS_ZOMBIE and child.name() == "git"
    ]


@pytest.mark.long
def test_a_reader_is_replaced_when_it_is_old(root: Path, monkeypatch: pytest.MonkeyPatch):
    one = write(root, b"one")
    read(root, one)
    (first,) = readers()

    monkeypatch.setattr(object_reader, "MOST_SECONDS", 0.0)

    assert read(root, one) == [b"one"]
    assert first not in readers()


PROGRAM = """
import sys, time
from pathlib import Path
from modelyard.adapters.git.object_reader import ask_git
import psutil
ask_git(Path(sys.argv[1]), [b"info 1111111111111111111111111111111111111111"])
print(psutil.Process().children()[0].pid, flush=True)
time.sleep(float(sys.argv[2]))
"""


@pytest.mark.parametrize("killed", [True, False])
def test_no_reader_outlives_the_process_that_asked(root: Path, *, killed: bool):
    words = [sys.executable, "-c", PROGRAM, str(root), "60" if killed else "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as asking:
        assert asking.stdout is not None
        pid = int(asking.stdout.readline())
        if killed:
            asking.send_signal(signal.SIGKILL)
        asking.wait(30)

    deadline = time.monotonic() + 20
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not psutil.pid_exists(pid)


def test_a_forked_process_has_a_reader_of_its_own(root: Path):
    one = write(root, b"one")
    read(root, one)
    (first,) = readers()

    child = os.fork()
    if child == 0:
        is_right = read(root, one) == [b"one"] and first not in readers()
        end_readers()
        os._exit(0 if is_right else 1)

    assert os.waitpid(child, 0)[1] == 0
    assert read(root, one) == [b"one"]
    assert readers() == [first]


OBJECTS = st.lists(
    st.one_of(
        st.just(None),
        st.builds(Found, name=st.just("a" * 40), kind=st.just("tree")),
        st.builds(Found, name=st.just("b" * 40), kind=st.just("blob"), content=st.binary()),
    )
)


def written(found: Found | None) -> bytes:
    if found is None:
        return f"{ABSENT}:x missing\n".encode()
    head = f"{found.name} {found.kind} {len(found.content)}\n".encode()
    return head + found.content + b"\n" if found.kind == "blob" else head


@pytest.mark.long
@given(OBJECTS, st.integers(1, 9), st.integers(0, 5))
def test_answers_are_read_whatever_pieces_they_come_in(
    objects: list[Found | None], size: int, missing: int
):
    commands = [b"contents x" if each is None or each.kind == "blob" else b"info x"
                for each in objects]  # fmt: skip
    out = b"".join(map(written, objects))

    def pieces(text: bytes) -> list[Found | None]:
        rest = iter([text[at : at + size] for at in range(0, len(text), size)])
        return list(parse_answers(commands, lambda: next(rest, b"")))

    assert pieces(out) == objects
    if 0 < missing <= len(out):
        with pytest.raises(ReaderEnded):
            pieces(out[:-missing])
