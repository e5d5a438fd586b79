"""The promise: a server that our machine keeps from starting is tried again for ever."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from adapters.cluster.test_local import CANARY, DEV, PRODUCTION, Yard, ready
from attacks.damaged_artifacts import OWN_FAULTS, broken_artifact, truncate
from modelyard.adapters.cluster.claim import claim_end
from modelyard.adapters.cluster.local import LocalCluster
from modelyard.adapters.processes.start import start_command
from modelyard.adapters.store.artifacts import Store
from modelyard.adapters.store.signatures import fetch_artifact
from modelyard.domain.server_fault import Blame
from modelyard.domain.specs.repository import Repository
from modelyard.errors import CannotAnswer, VersionFault
from serving.artifacts import TRUSTED
from serving.running import preloaded_socket

OURS, ITS_OWN = Blame.INFRASTRUCTURE, Blame.VERSION


@pytest.fixture
def yard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    monkeypatch.setenv("MODELYARD_PRELOADED", str(preloaded_socket()))
    yard = Yard(tmp_path)
    yield yard
    yard.cluster.stop_all()


def with_store(yard: Yard) -> Store:
    """Let the yard's cluster fetch from a real store."""
    store = Store(str(yard.root / "store"), yard.root)
    for digest, folder in yard.artifacts.items():
        store.put_model(folder, digest)
    fetch = partial(fetch_artifact, store)
    yard.cluster = LocalCluster(yard.root, Repository(), fetch, yard.clock, patience_seconds=30)
    return store


def cache(yard: Yard, digest: str) -> Path:
    name = digest.removeprefix("sha256:")
    return yard.root / ".modelyard" / "cluster" / "artifacts" / name


def test_servers_that_restart_on_a_damaged_copy_serve_again(yard: Yard):
    with_store(yard)
    stable, canary = yard.sync("v1", PRODUCTION), yard.sync("v2", CANARY)
    yard.cluster.stop_all()
    truncate(cache(yard, stable.artifact))

    yard.sync("v1", PRODUCTION)
    yard.sync("v2", CANARY)

    assert yard.observe(PRODUCTION) == ready(stable)
    assert yard.observe(CANARY) == ready(canary, 0.2)


def unreachable(digest: str, _: Path, asked: object) -> Path:
    del asked
    raise CannotAnswer(f"s3://models/{digest}: out of reach: <connection at 0x7f00>")


def full(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device", "server.log")


@pytest.mark.sample(2)
@pytest.mark.parametrize("served", [False, True], ids=["at its first start", "after it served"])
@pytest.mark.parametrize("what", ["the store", "the disk", "the port"])
def test_a_server_that_cannot_start_is_tried_again_for_ever_and_starts_once_it_can(
    yard: Yard, monkeypatch: pytest.MonkeyPatch, what: str, *, served: bool
):
    if served:
        yard.sync("v2", CANARY)
        yard.cluster.stop_all()
    blocker = socket.socket()
    with monkeypatch.context() as patch:
        if what == "the store":
            patch.setattr(yard.cluster, "_fetch", unreachable)
        elif what == "the disk":
            patch.setattr("modelyard.adapters.cluster.local_servers.start_modelyard", full)
        else:
            blocker.bind(("127.0.0.1", 0))
            taken = blocker.getsockname()[1]
            patch.setattr("modelyard.adapters.cluster.local.free_port", lambda _: taken)
        for _ in range(4):
            try:
                release = yard.sync("v2", CANARY)
            except CannotAnswer:
                release = yard.release("v2", CANARY)
            state = yard.observe(CANARY)
            assert state is not None
            assert (state.ready, state.aborted) == (False, None)
            assert state.fault is not None
            assert state.fault.blame is OURS
            yard.clock.passes(3600)
    blocker.close()

    yard.sync("v2", CANARY)

    assert yard.observe(CANARY) == ready(release, 0.2)


@pytest.mark.long
def test_a_start_that_fails_is_tried_later_each_time(yard: Yard, monkeypatch: pytest.MonkeyPatch):
    tried: list[float] = []

    def count(digest: str, folder: Path, asked: object) -> Path:
        tried.append((yard.clock.now() - start).total_seconds())
        return unreachable(digest, folder, asked)

    start = yard.clock.now()
    monkeypatch.setattr(yard.cluster, "_fetch", count)
    for _ in range(300):
        try:
            yard.sync("v1", DEV)
        except CannotAnswer as error:
            assert "out of reach" in error.message  # noqa: PT017 - most calls only wait
        yard.clock.passes(1)

    assert tried == [0, 5, 15, 35, 75, 135, 195, 255]


@pytest.mark.sample(1)
@pytest.mark.parametrize("how", OWN_FAULTS)
def test_a_model_that_fails_by_itself_is_aborted_at_once_and_is_to_blame(yard: Yard, how: str):
    stable = yard.sync("v1", PRODUCTION)
    folder = yard.root / "broken"
    change, why = OWN_FAULTS[how]
    pin = broken_artifact(folder, change)
    yard.artifacts[pin] = folder

    release = yard.sync("v2", PRODUCTION, pin)

    state = yard.observe(PRODUCTION)
    assert state is not None
    assert (state.release, state.ready) == (release.identity, False)
    assert state.fault is not None
    assert state.fault.blame is ITS_OWN
    assert state.aborted == state.fault.why
    assert why in state.aborted
    assert yard.shares(PRODUCTION) == {"v1": 1.0}
    assert yard.sync("v1", PRODUCTION) == stable


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("change", "code"),
    [
        (OWN_FAULTS["fails on its golden rows"][0], VersionFault.exit_code),
        (lambda folder: (folder / "serving.json").unlink(), 1),
        (OWN_FAULTS["cannot be opened"][0], VersionFault.exit_code),
        (lambda folder: (folder / "golden.json").write_text("{"), 1),
    ],
    ids=["fails on its golden rows", "no serving.json", "cannot be opened", "broken golden.json"],
)
def test_the_exit_code_of_a_server_says_whose_fault_it_is(
    yard: Yard, tmp_path: Path, change: Callable[[Path], object], code: int
):
    folder = tmp_path / "broken"
    pin = broken_artifact(folder, change)
    command = [
        *("modelyard", "serve", "--model", "late", "--version", "v1", "--release", "r"),
        *("--artifact", pin, "--folder", str(folder), "--port", "18000"),
        *("--claim", str(tmp_path / "r.claim"), *(f"--trusted-type={name}" for name in TRUSTED)),
    ]

    running = start_command(
        command, cwd=tmp_path, environment=dict(os.environ), output=tmp_path / "log"
    )

    assert running.wait(60) == code
    ended = claim_end(tmp_path / "r.claim")
    assert ended is not None
    assert ended.exit_code == code
