"""The checkout of a watcher stays small, whatever becomes of git while it packs."""

from __future__ import annotations

import logging
import os
import stat
import time
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from modelyard.adapters.git import process
from modelyard.adapters.git.commit_stream import NewCommit, write_commits
from modelyard.adapters.git.packing import compact_repository, pack_objects
from modelyard.adapters.git.repository import Git
from modelyard.errors import CannotAnswer
from modelyard.operations.watch.health import WatchHealth
from modelyard.operations.watch.loop import Watcher

AT = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def git(tmp_path):
    made = Git(tmp_path)
    made.run("init", "-q", "--template=", "-b", "main")
    return made


def write_state(git, numbers, tip=None):
    """Writes of facts, each with objects of its own, as a watcher makes them."""
    for number in numbers:
        document = f'{{"seen": {number}}}'.encode()
        new = NewCommit(
            documents={f"facts/dev/m{number % 20}.json": document, "models/m.json": document},
            message="facts",
            author="bot",
            at=AT,
        )
        tip = write_commits(git.root, tip, [new])
    return tip


def counts(git):
    rows = git.run("count-objects", "-v").stdout.decode().splitlines()
    return {name: int(value) for name, value in (row.split(": ") for row in rows)}


@pytest.mark.long
def test_what_is_loose_is_packed_and_nothing_is_lost(git):
    tip = write_state(git, range(220))
    kept = git.run("rev-list", "--objects", tip).stdout
    assert counts(git)["count"] > 1000

    for _ in range(2):  # the next run deletes what the first one packed
        pack_objects(git)
        write_state(git, range(220, 222), tip)

    assert counts(git)["count"] < 1100
    assert counts(git)["in-pack"] > 1000
    assert git.run("rev-list", "--objects", tip).stdout == kept


def test_a_few_loose_objects_are_left_alone(git):
    write_state(git, range(3))
    before = counts(git)

    pack_objects(git)

    assert counts(git) == before


LOCKS = ("objects/maintenance.lock", "packed-refs.lock", "objects/info/commit-graph.lock")


@pytest.mark.parametrize("name", LOCKS)
@pytest.mark.parametrize(("hours", "is_left"), [(1, False), (7, True)])
def test_a_lock_that_a_killed_git_left_is_named_with_the_command_that_removes_it(
    git, name, hours, is_left
):
    write_state(git, range(3))
    lock = git.root / ".git" / name
    lock.touch()
    then = time.time() - hours * 3600
    os.utime(lock, (then, then))

    expected = pytest.raises(CannotAnswer, match=f"rm {lock}$") if is_left else nullcontext()
    with expected:
        pack_objects(git)

    assert lock.exists()


@pytest.mark.parametrize("name", LOCKS[1:])
@pytest.mark.parametrize("kind", ["clone", "a bare one"])
def test_a_lock_in_the_way_of_gc_is_named_with_the_command_that_removes_it(tmp_path, name, kind):
    git = Git(tmp_path)
    git.run("init", "-q", "--template=", "-b", "main", *(["--bare"] if kind != "clone" else []))
    git.run("update-ref", "refs/heads/main", write_state(git, range(2)))
    lock = tmp_path / (".git" if kind == "clone" else "") / name
    lock.parent.mkdir(exist_ok=True)
    lock.touch()

    with pytest.raises(CannotAnswer) as found:
        compact_repository(git)

    said = (found.value.hint or "").rpartition(": rm ")
    assert said[0] == "if no git is at work there, a killed one left it"
    Path(said[2]).unlink()
    compact_repository(git)
    assert not lock.exists()


def watcher_of(git):
    workspace = SimpleNamespace(git=git)
    return Watcher(workspace=workspace, health=WatchHealth(60), interval=60, report=print)


@pytest.mark.parametrize("how", ["hangs", "fails", "cannot be started"])
def test_a_packing_that_fails_stops_no_watcher(git, monkeypatch, tmp_path, caplog, how):
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin" / "git"
    fake.write_text(f"#!/bin/sh\n{'exec sleep 60' if how == 'hangs' else 'exit 7'}\n")
    fake.chmod(stat.S_IXUSR | stat.S_IRUSR if how != "cannot be started" else stat.S_IRUSR)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    if how == "hangs":
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setitem(process._LONG_SECONDS, "maintenance", 0.5)
    watcher = watcher_of(git)

    with caplog.at_level(logging.WARNING):
        watcher._pack_objects()
        watcher._pack_objects()  # not again at once

    assert sum("stay unpacked" in each.message for each in caplog.records) == 1
