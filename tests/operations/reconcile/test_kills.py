"""Reconcile is killed at every write others can see; what a later run makes of it is the same."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial

import pytest

from modelyard.adapters.git.repository import Git
from modelyard.adapters.store.artifacts import Store
from modelyard.domain.promotion.pulls import PullState
from modelyard.errors import Conflict
from modelyard.operations.reconcile.loop import reconcile_model
from modelyard.operations.watch.observe import observe_model
from modelyard.operations.watch.run_checks import run_checks
from operations.fakes import Ledger
from operations.yard import (
    MODEL,
    Yard,
    clone,
    contested_yard,
    new_yard,
)

SEEDS = range(6)
EVERY, SOME = "every write", "the first write of each kind"


def reconcile(yard, name="clone"):
    """Continuous integration and reconcile, by a process that has just started, until all is done.

    Ada approves whatever is open.
    """
    workspace = yard.workspace(name)
    for _ in range(20):
        changed = run_checks(workspace, yard.said.append)
        for pull in workspace.services.desk.list():
            workspace.services.desk.review(pull.number, sha=pull.head, by="ada", approved=True)
        if (
            not reconcile_model(workspace, MODEL, wait=False, report=yard.said.append)
            and not changed
        ):
            return
    raise AssertionError(yard.said)


@dataclass(frozen=True)
class Operation:
    """What is killed: from which yard, by which process, and what it must have come to."""

    start: Callable[[object], Yard]
    run: Callable[[Yard], None]
    names: Mapping[str, str]


def recorded(folder):
    yard = new_yard(folder)
    yard.add_version("v1")
    yard.reconcile()
    yard.finish("v1")
    return yard


def promoted(folder):
    yard = contested_yard(folder)
    yard.put("v2", "staging")
    return yard


def rolled_back(folder):
    yard = promoted(folder)
    yard.put("v2", "canary", is_verified=False)
    yard.broken.add("v2")
    return yard


def judged_bad(folder):
    yard = rolled_back(folder)
    observe_model(yard.workspace(), MODEL, yard.said.append)
    return yard


OPERATIONS = {
    "record": Operation(recorded, reconcile, {"dev": "v1"}),
    "promote": Operation(
        promoted, reconcile, {"staging": "v2", "canary": "v2", "production": "v1"}
    ),
    "rollback": Operation(
        rolled_back, Yard.rest, dict.fromkeys(("staging", "canary", "production"), "v1")
    ),
}
QUICK = {("record", SOME), ("rollback", SOME)}


def nothing(number):
    pass


@dataclass
class Writes:
    """Stands at every write that others can see; they are counted from 1.

    Args:
        before: Called with the number of the write that is about to happen.
        after: Called with the number of the write that has just happened.
        names: What was written, in order.
    """

    before: Callable[[int], None] = nothing
    after: Callable[[int], None] = nothing
    names: list[str] = field(default_factory=list)

    @contextmanager
    def watched(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Git, "push", self._around(Git.push, _refs_pushed))
            patch.setattr(Store, "_write", self._around(Store._write, lambda path, _: str(path)))
            patch.setattr(
                Ledger, "write", self._around(Ledger.write, lambda _: "the faked world", owner=True)
            )
            yield

    def _around(self, write, name, *, owner=False):
        def wrapped(subject, *args, **kwargs):
            what = name(*args, **kwargs)
            if not what:
                return write(subject, *args, **kwargs)
            self.names.append(subject.path.name if owner else what)
            number = len(self.names)
            self.before(number)
            result = write(subject, *args, **kwargs)
            self.after(number)
            return result

        return wrapped


def _refs_pushed(remote, updates):
    return ", ".join(ref for ref, (old, new) in updates.items() if old != new)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def wait_for(child):
    _, status = os.waitpid(child, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def in_a_child(act):
    """Run it in a process of its own; its number."""
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        act()
        code = 0
    except Conflict:
        code = Conflict.exit_code
    finally:
        os._exit(code)


def killed_at(yard, run, number, *, is_before):
    """Run it in a child that kills itself at a write; False if it never came so far."""

    def reached(current):
        if current == number:
            die()

    def act():
        with Writes(**{"before" if is_before else "after": reached}).watched():
            run(yard)

    ended = wait_for(in_a_child(act))
    assert ended in {0, signal.SIGKILL}
    return ended == signal.SIGKILL


@pytest.fixture(scope="module")
def starts(tmp_path_factory):
    """The yard an operation starts from."""
    folder = tmp_path_factory.mktemp("starts")
    return cache(lambda name: OPERATIONS[name].start(folder / name))


@pytest.fixture(scope="module")
def undisturbed(starts, tmp_path_factory):
    """The writes of a run that nobody disturbs, and what everybody sees in the end."""

    @cache
    def run(name):
        yard, writes = starts(name).copy(tmp_path_factory.mktemp(name) / "yard"), Writes()
        with writes.watched():
            OPERATIONS[name].run(yard)
        return tuple(writes.names), yard.end_state()

    return run


def kind_of(write):
    """What is written: numbers, digests and the environment aside."""
    return re.sub(r"[0-9a-f]{16,}|\d+|(?<=/)(staging|canary|production)(?=/)", "#", write)


def chosen_kills(names, which):
    """Where a run is killed: the number of a write, and whether before or after it."""
    numbers = range(1, len(names) + 1)
    if which == EVERY:
        return {(number, when) for number in numbers for when in ("before", "after")}
    kinds = [kind_of(name) for name in names]
    firsts = {(kinds.index(kind) + 1, "after") for kind in kinds}
    return {*firsts, (len(names), "before")}


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "which"),
    [
        # `make test-long` plays the third, and stands at every write of each.
        pytest.param(name, which, marks=() if (name, which) in QUICK else pytest.mark.long)
        for name in OPERATIONS
        for which in (SOME, EVERY)
    ],
)
def test_a_run_killed_around_any_write_is_made_good_by_the_next_one(
    name, which, starts, undisturbed, tmp_path
):
    """One run is stopped around each write: there a copy of its process is killed for real, and
    what that leaves on disk is what the next run, which knows nothing, starts from. Where two kills
    leave the same behind, as one after a write and one before the next, one run is enough.
    """
    operation, (names, end) = OPERATIONS[name], undisturbed(name)
    yard = starts(name).copy(tmp_path / "yard")
    kills = chosen_kills(names, which)
    left: list[tuple[str, Yard]] = []

    def killed(when):
        def stand_still(number):
            if (number, when) in kills:
                assert wait_for(in_a_child(die)) == signal.SIGKILL
                left.append((f"{when} write {number}", yard.copy(tmp_path / f"{number} {when}")))

        return stand_still

    with Writes(before=killed("before"), after=killed("after")).watched():
        operation.run(yard)
    assert yard.names() == operation.names
    assert yard.end_state() == end
    assert len(left) == len(kills)

    known: list[tuple[object, ...]] = []
    for when, rest in left:
        if (seen := rest.visible()) not in known:
            known.append(seen)
            operation.run(rest)
            assert rest.end_state() == end, f"killed {when} of {names}"
        shutil.rmtree(rest.folder)
    assert len(known) > len(kills) // 2


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_a_run_killed_twice_anywhere_is_made_good_by_the_third(seed, starts, undisturbed, tmp_path):
    chance = random.Random(seed)  # noqa: S311 - a seeded choice, no secret
    name = list(OPERATIONS)[seed % len(OPERATIONS)]
    operation, (names, end) = OPERATIONS[name], undisturbed(name)
    yard = starts(name).copy(tmp_path / "yard")
    first = chance.randint(1, len(names) - 1)
    second = chance.randint(1, len(names) - first)
    sides = [chance.random() < 0.5, chance.random() < 0.5]

    assert killed_at(yard, operation.run, first, is_before=sides[0])
    killed_at(yard, operation.run, second, is_before=sides[1])
    operation.run(yard)

    assert yard.end_state() == end


@pytest.mark.long
@pytest.mark.parametrize("rounds", [1, pytest.param(10, marks=pytest.mark.long)])
@pytest.mark.parametrize(
    ("start", "names"),
    [(promoted, ("clone", "clone")), (judged_bad, ("clone", "other"))],
    ids=["promote in one checkout", "roll back in two checkouts"],
)
def test_two_that_reconcile_at_once_lose_nothing_and_do_nothing_twice(
    start, names, rounds, tmp_path
):
    """Whoever ends in a conflict runs again."""
    started = start(tmp_path / "start")
    clone(started, "other")
    alone = started.copy(tmp_path / "alone")
    reconcile(alone)
    for number in range(rounds):
        yard = started.copy(tmp_path / f"round {number}")
        at = time.monotonic() + 0.05

        def start_together(name, yard=yard, at=at):
            time.sleep(max(0.0, at - time.monotonic()))
            reconcile(yard, name)

        children = [in_a_child(partial(start_together, name)) for name in names]
        codes = [wait_for(child) for child in children]
        assert set(codes) <= {0, Conflict.exit_code}
        if any(codes):
            reconcile(yard)

        assert yard.end_state() == alone.end_state()
        assert all(each.state is PullState.MERGED for each in yard.pulls.list(every=True))
        shutil.rmtree(yard.folder)


@pytest.mark.slow
def test_every_kind_of_write_of_a_rollback_is_stood_at(undisturbed):
    names, _ = undisturbed("rollback")

    assert {"cluster.json", "registry.json"} <= set(names)
    for ref in ("heads/main", "modelyard/pulls/", "heads/modelyard/state"):
        assert any(f"refs/{ref}" in name for name in names)
    # The facts of the release and of the model are written one after the other.
    assert sum("refs/heads/modelyard/state" in name for name in names) >= 2
