"""Promise: a fault of the machine loses nothing and does nothing twice, and says what to do."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from modelyard.adapters.cluster.local import LocalCluster
from modelyard.adapters.git import remote_refs
from modelyard.adapters.git.object_reader import end_readers
from modelyard.adapters.processes import process_table
from modelyard.adapters.store.artifacts import Store
from modelyard.adapters.workflows.local import LocalWorkflows
from modelyard.cli import cli
from modelyard.domain.promotion.facts import Freeze
from modelyard.domain.promotion.pulls import PullState
from modelyard.domain.specs.paths import WORKFLOW_TEMPLATES
from modelyard.domain.specs.repository import Repository
from modelyard.errors import CannotAnswer, YardError
from modelyard.ports import Phase
from operations.yard import AT, MODEL, SHORT, Yard, clone, living_yard

FREEZE = Freeze(reason="x", by="Ada", since=AT)


@pytest.fixture(scope="module")
def living(tmp_path_factory):
    """v2 was trained, and nobody has looked since."""
    yard = living_yard(tmp_path_factory.mktemp("living") / "yard", SHORT)
    clone(yard, "second")
    yard.add_version("v2")
    yard.reconcile()
    yard.finish("v2", champion="v1")
    return yard


@pytest.fixture
def yard(living, tmp_path):
    return living.copy(tmp_path / "yard")


@pytest.fixture(scope="module")
def undisturbed(living, tmp_path_factory):
    yard = living.copy(tmp_path_factory.mktemp("undisturbed") / "yard")
    return outcome(yard)


def outcome(yard: Yard) -> tuple[dict[str, bytes], list[tuple[str, PullState]]]:
    """What becomes of the yard: the files of the main branch, and every pull request."""
    yard.reconcile()
    git = yard.git
    files = {path: git.read_file(yard.main(), path) for path in yard.paths("")}
    pulls = [(pull.branch, pull.state) for pull in yard.pulls.list(every=True)]
    damaged = subprocess.run(
        ["git", "-C", str(yard.folder / "remote.git"), "fsck", "--no-dangling"],
        capture_output=True, text=True, check=False,
    ).stderr  # fmt: skip
    assert damaged == ""
    return files, pulls


# The disk


@contextmanager
def small_disk(living: Yard, folder: Path, *, size: str = "24m") -> Iterator[Yard]:
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)],
        capture_output=True, check=False,
    )  # fmt: skip
    if mounted.returncode:
        pytest.skip("this machine lets nobody mount a file system")
    try:
        shutil.copytree(living.folder, folder / "yard")
        yield Yard(folder=folder / "yard", environments=living.environments, clock=living.clock)
    finally:
        end_readers()  # a git that waits for the next question keeps the file system busy
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.long
@pytest.mark.parametrize("kilobytes", [0, 24, 60, 80, 140])
def test_a_disk_that_fills_in_the_middle_of_reconcile(living, undisturbed, tmp_path, kilobytes):
    with small_disk(living, tmp_path / "disk") as yard:
        ballast, free = tmp_path / "disk" / "ballast", shutil.disk_usage(tmp_path / "disk").free
        ballast.write_bytes(b"x" * (free - 1024 * kilobytes))

        with pytest.raises(CannotAnswer, match=r"No space left|Out of diskspace") as found:
            yard.reconcile()
        assert (found.value.hint or "").startswith("make room on that disk")

        ballast.unlink()
        assert outcome(yard) == undisturbed


@pytest.mark.long
def test_a_disk_that_nobody_may_write(living, undisturbed, tmp_path):
    with small_disk(living, tmp_path / "disk") as yard:
        subprocess.run(["mount", "-o", "remount,ro", str(tmp_path / "disk")], check=True)

        with pytest.raises(CannotAnswer, match="Read-only file system") as found:
            yard.reconcile()
        assert "mount it" in (found.value.hint or "")
        for command in (("status",), ("history", MODEL), ("pr", "list")):
            done = CliRunner().invoke(cli, list(command), obj=yard.workspace().services)
            assert done.exit_code == 0, done.output

        subprocess.run(["mount", "-o", "remount,rw", str(tmp_path / "disk")], check=True)
        assert outcome(yard) == undisturbed


def test_a_store_on_a_full_disk_keeps_no_half_of_anything(living, tmp_path):
    with small_disk(living, tmp_path / "disk"):
        store, free = Store("store", tmp_path / "disk"), shutil.disk_usage(tmp_path / "disk").free

        with pytest.raises(CannotAnswer, match="No space left on device") as found:
            store.put_evidence(b"x" * (free + 1))
        assert (found.value.hint or "").startswith("make room")
        assert [path for path in (tmp_path / "disk/store").rglob("*") if path.is_file()] == []
        assert store.read_evidence(store.put_evidence(b"y")) == b"y"


# Locks that a killed git left


def move(yard: Yard, lock: str) -> None:
    """Do something that moves the ref."""
    if lock == "refs/heads/main.lock":
        yard.commit({"docs/x.md": b"x"})
    elif lock == "refs/heads/modelyard/state.lock":
        yard.workspace().facts.update_freeze("canary", lambda _: FREEZE)
    else:
        yard.reconcile()


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    "lock",
    [
        "refs/heads/main.lock",
        "refs/heads/modelyard/state.lock",
        "refs/modelyard/pulls/4.lock",  # the next one: three brought v1 to its environments
        f"refs/heads/modelyard/record/v2/{MODEL}.lock",
    ],
)
def test_a_stale_lock_in_the_forge_is_named_with_the_way_out(yard, undisturbed, monkeypatch, lock):
    monkeypatch.setattr(remote_refs.retry_on_conflict, "__kwdefaults__", {"seconds": 0.2})
    monkeypatch.setattr("modelyard.adapters.git.documents.PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(remote_refs, "TRIES", 3)
    left = yard.folder / "remote.git" / lock
    left.parent.mkdir(parents=True, exist_ok=True)
    left.touch()

    with pytest.raises(YardError) as found:
        move(yard, lock)
    assert lock in found.value.message
    hint = found.value.hint or ""
    assert hint.startswith("if no git is at work there, a killed one left it: rm ")
    assert hint.endswith(lock)

    left.unlink()
    assert outcome(yard) == undisturbed


@pytest.mark.sample(1)
@pytest.mark.parametrize("lock", ["index.lock", "HEAD.lock", "packed-refs.lock"])
@pytest.mark.parametrize("place", ["remote.git", "clone/.git"])
def test_other_locks_are_in_nobodys_way(yard, undisturbed, place, lock):
    (yard.folder / place / lock).touch()

    assert outcome(yard) == undisturbed


# The clock


@pytest.mark.sample(1)
@pytest.mark.parametrize("back", [timedelta(seconds=5), timedelta(days=400)], ids=str)
def test_a_clock_that_is_set_back_changes_nothing(yard, undisturbed, back):
    yard.clock.at -= back

    assert outcome(yard) == undisturbed


def test_a_server_is_started_again_although_the_clock_was_set_back(tmp_path):
    cluster = object.__new__(LocalCluster)
    now = timedelta(days=1)

    class Server:
        failures = 5
        tried = now

    cluster._clock = type("Clock", (), {"now": lambda self: timedelta(0)})()  # type: ignore[assignment]
    cluster._servers = lambda _: type("S", (), {"is_server_alive": lambda s, x: False})()  # type: ignore[assignment]
    assert cluster._is_due(None, Server())  # type: ignore[arg-type]  # only these fields are read


# Many at once


@pytest.mark.long
def test_two_watchers_and_three_reconciles_at_once_do_everything_once(yard, undisturbed):
    from modelyard.operations.watch.pass_once import run_pass

    failures: list[BaseException] = []

    def work(step) -> None:
        try:
            step()
        except BaseException as error:  # noqa: BLE001 - compared below
            failures.append(error)

    def watch(name: str) -> None:
        run_pass(yard.workspace(name), report=yard.said.append, with_checks=False)

    steps = [lambda n=n: watch(n) for n in ("clone", "second")]
    steps += [lambda n=n: yard.reconcile(n) for n in ("clone", "second", "clone")]
    threads = [threading.Thread(target=work, args=(step,)) for step in steps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [error for error in failures if not isinstance(error, YardError)] == []
    assert outcome(yard) == undisturbed


# Killed


@pytest.mark.long
def test_a_training_that_is_killed_ends_with_all_it_started_and_is_told_apart(tmp_path):
    step = {
        "name": "a",
        "container": {
            "image": "x",
            "workingDir": "/work",
            "command": ["sh"],
            "args": ["-c", "sleep 300 & echo $!; wait"],
        },
    }
    spec = {
        "entrypoint": "all",
        "templates": [{"name": "all", "dag": {"tasks": [{"name": "a", "template": "a"}]}}, step],
    }
    document = {"apiVersion": "argoproj.io/v1alpha1", "kind": "WorkflowTemplate",
                "metadata": {"name": "t"}, "spec": spec}  # fmt: skip
    (tmp_path / "modelyard.yaml").write_text("apiVersion: modelyard/v1\nkind: Repository\n")
    (tmp_path / WORKFLOW_TEMPLATES).mkdir(parents=True)
    (tmp_path / WORKFLOW_TEMPLATES / "t.yaml").write_text(yaml.safe_dump(document))
    workflows = LocalWorkflows(tmp_path, Repository())
    log = tmp_path / ".modelyard/workflows/w/a.log"
    workflows.submit("w", template="t", parameters={})
    deadline = time.monotonic() + 60
    while not (log.exists() and log.read_text().strip()) and time.monotonic() < deadline:
        time.sleep(0.02)
    runner = json.loads((log.parent / "status.json").read_text())["runner"]["pid"]

    os.kill(runner, signal.SIGKILL)
    while (status := workflows.status("w")) and not status.phase.is_over:
        time.sleep(0.02)

    assert status is not None
    assert (status.phase, status.message) == (Phase.ERROR, "lost: its process is gone")
    child = process_table.find_process(int(log.read_text()))
    assert child is None or not process_table.is_running(child)


@pytest.mark.long
def test_a_reconcile_that_is_ended_under_load_is_made_good_by_the_next(yard, undisturbed):
    code = (
        "import sys; sys.path[:0] = sys.argv[2:]\n"
        "from pathlib import Path; from operations.yard import *\n"
        "yard = Yard(folder=Path(sys.argv[1]), environments=SHORT)\n"
        "print('on', flush=True); yard.reconcile()\n"
    )
    for seconds in (0.05, 0.3, 0.6):
        with subprocess.Popen(
            [sys.executable, "-c", code, str(yard.folder), *sys.path],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(seconds)
            process.terminate()

    assert outcome(yard) == undisturbed


def test_what_a_killed_runner_had_no_time_to_write_down_is_ended_too(tmp_path):
    folder = tmp_path / ".modelyard/workflows/w"
    (folder / "a").mkdir(parents=True)
    with subprocess.Popen(["sleep", "300"], cwd=folder / "a", start_new_session=True) as child:
        gone = {"pid": 2**22 + 1, "start_time": 1}
        state = {"phase": "Running", "message": "", "steps": {}, "runner": gone, "running": {}}
        (folder / "status.json").write_text(json.dumps(state))

        status = LocalWorkflows(tmp_path, Repository()).status("w")

        assert status is not None
        assert status.message == "lost: its process is gone"
        assert child.wait(timeout=20) == -signal.SIGTERM
