from __future__ import annotations

import subprocess
import threading
from dataclasses import replace

import pytest

from forked import run_forked
from modelyard.domain.promotion.facts import ReleaseFacts

PROGRAM = """
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from modelyard.adapters.facts.store import FactStore
from modelyard.adapters.git.repository import Git
from modelyard.domain.specs.repository import Repository

class Clock:
    def now(self):
        return datetime(2026, 3, 1, tzinfo=UTC)

store = FactStore(Git(Path(sys.argv[1])), Repository(), Clock())
for _ in range(int(sys.argv[2])):
    store.update_release("dev", "m", lambda f: replace(f, tried=(*f.tried, "x")))
"""


def counted_together(store, elsewhere, times):
    roots = (store._refs.git.root, elsewhere._refs.git.root)
    writers = [run_forked(PROGRAM, str(root), str(times)) for root in roots]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    return len(store.read_release("dev", "m").tried)


@pytest.mark.long
def test_two_processes_that_write_the_very_same_commits_lose_nothing(store, elsewhere):
    assert counted_together(store, elsewhere, 5) == 10


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("times", [8, pytest.param(50, marks=pytest.mark.long)])
def test_two_processes_with_many_updates_each_lose_nothing(store, elsewhere, times):
    assert counted_together(store, elsewhere, times) == 2 * times


@pytest.mark.long
def test_two_processes_of_one_checkout_lose_nothing(store):
    assert counted_together(store, store, 5) == 10


@pytest.fixture
def asked():
    return []


def test_a_push_that_another_document_won_asks_nobody_again(store, elsewhere, asked):
    def change(facts):
        asked.append(facts)
        elsewhere.update_release("dev", "other", lambda f: replace(f, tried=(*f.tried, "theirs")))
        return replace(facts, version="v2")

    store.update_release("dev", "m", change)

    assert asked == [ReleaseFacts()]
    assert store.read_release("dev", "m").version == "v2"
    assert store.read_release("dev", "other").tried == ("theirs",)


MANY = PROGRAM.replace('"dev", "m"', '"dev", sys.argv[3]')


@pytest.mark.long
@pytest.mark.parametrize("times", [2, pytest.param(8, marks=pytest.mark.long)])
def test_many_writers_of_many_documents_all_get_through(store, tmp_path, times):
    names = [f"m{number}" for number in range(6)]
    roots = [store._refs.git.root, *(tmp_path / f"clone-{name}" for name in names[1:])]
    for root in roots[1:]:
        subprocess.run(["git", "clone", "-q", str(tmp_path / "remote.git"), str(root)], check=True)
    writers = [
        run_forked(MANY, str(root), str(times), name)
        for root, name in zip(roots, names, strict=True)
    ]

    assert [writer.wait(timeout=300) for writer in writers] == [0] * len(names)
    found = store.read_snapshot().releases
    assert {key: len(facts.tried) for key, facts in found.items()} == {
        ("dev", name): times for name in names
    }


@pytest.mark.long
def test_a_writer_gets_its_turn_beside_one_that_never_rests(store, elsewhere):
    stopped = threading.Event()

    def write_on():
        number = 0
        while not stopped.is_set():
            number += 1
            name = f"v{number}"
            elsewhere.update_release("dev", "busy", lambda f, n=name: replace(f, version=n))

    thread = threading.Thread(target=write_on)
    thread.start()
    try:
        for number in range(5):
            store.update_release("dev", "m", lambda f, n=number: replace(f, version=f"v{n}"))
    finally:
        stopped.set()
        thread.join()

    assert store.read_release("dev", "m").version == "v4"
