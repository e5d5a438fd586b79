"""The promise: whatever happens to a server or to its starter, one healthy server is left."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import sleep

import psutil
import pytest

import modelyard.adapters.cluster.local as cluster_of_this_machine
import serving.hanging_server
from adapters.cluster.test_local import CANARY, DEV, PRODUCTION, Yard, answers, ready
from modelyard.adapters.cluster import local_servers
from modelyard.adapters.cluster.claim import hold_claim, remove_claim
from modelyard.adapters.cluster.local_servers import LocalServers
from modelyard.adapters.processes.process_table import Started, find_processes_in
from modelyard.adapters.processes.start import start_command
from modelyard.domain.server_fault import Blame
from modelyard.domain.specs.environment import Environment
from modelyard.errors import VersionFault
from serving.running import preloaded_socket, until


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    yard = Yard(tmp_path)
    yield yard
    yard.cluster.stop_all()


@pytest.fixture
def real(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> Yard:
    """Its servers are real ones, forked."""
    monkeypatch.setenv("MODELYARD_PRELOADED", str(preloaded_socket()))
    return yard


# A server that hangs


@pytest.fixture
def hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Servers are stand-ins; a call says how they hang from now on, also those started later."""
    file = tmp_path / "hang"

    def start(args: Sequence[str], *, cwd: Path, log: Path, **_: object) -> Started:
        command = ["python", serving.hanging_server.__file__, str(file), *args]
        running = start_command(
            command, cwd=cwd, environment=os.environ, output=log, followed=False
        )
        running.release()
        return running.started

    monkeypatch.setattr(local_servers, "start_modelyard", start)
    monkeypatch.setattr(local_servers, "_READY_SECONDS", 0.2)
    monkeypatch.setattr(local_servers, "_LAST_SECONDS", 0.2)
    return file.write_text


def processes(yard: Yard, environment: Environment) -> list[int]:
    """The processes that run in an environment's folder, whatever they are."""
    folder = yard.root / ".modelyard" / "cluster" / environment.name / "late"
    return [each.pid for each in find_processes_in(folder)]


def restart_hung(yard: Yard, environment: Environment) -> None:
    """Let the time pass after which a server that is not ready is taken for one that hangs."""
    yard.sync("v1", environment)
    yard.clock.passes(91)
    yard.sync("v1", environment)


HANGS = ["never answers", "listens no more", "says 503", "answers nonsense", "hangs up"]


@pytest.mark.sample(1)
@pytest.mark.parametrize("how", HANGS)
def test_a_server_that_hangs_is_ended_and_started_again(
    yard: Yard, hang: Callable[[str], None], how: str, caplog: pytest.LogCaptureFixture
):
    release = yard.sync("v1", DEV)
    first = yard.process(release)
    hang(how)
    yard.cluster._patience = 0.0
    for _ in range(4):  # at 0, 30, 60 and 90 s: it may only be busy
        yard.sync("v1", DEV)
        assert yard.process(release) == first
        yard.clock.passes(30)
    hang("")
    yard.cluster._patience = 30.0

    yard.sync("v1", DEV)

    assert yard.observe(DEV) == ready(release)
    assert yard.process(release) != first
    assert len(processes(yard, DEV)) == 1
    assert "dev: the server of late v1 ran and was not ready for 90 s" in caplog.text


@pytest.mark.long
@pytest.mark.parametrize("how", ["never takes its claim", "never listens", *HANGS[:2]])
def test_a_server_that_hangs_after_each_start_is_started_later_each_time_and_never_given_up(
    yard: Yard, hang: Callable[[str], None], how: str
):
    release = yard.sync("v1", DEV)
    for pid in processes(yard, DEV):
        os.kill(pid, signal.SIGKILL)
    until(lambda: not processes(yard, DEV))
    hang(how)
    yard.cluster._patience, seen, starts = 0.0, set[int](), list[float]()
    began = yard.clock.now()
    for _ in range(24):
        yard.sync("v1", DEV)
        found = set(processes(yard, DEV))
        assert len(found) <= 1
        if found - seen:
            starts.append((yard.clock.now() - began).total_seconds())
            seen |= found
        yard.clock.passes(20)

    # 90 s of silence, and at first 5, then 10, 20, 40 s of waiting, seen every 20 s.
    assert starts == [0.0, 120.0, 240.0, 360.0]
    state = yard.observe(DEV)
    assert state is not None
    assert (state.release, state.ready, state.aborted) == (release.identity, False, None)
    assert state.fault is not None
    assert state.fault.blame is Blame.INFRASTRUCTURE
    assert state.fault.why.startswith("its process ran and was not ready for too long")
    hang("")
    restart_hung(yard, DEV)
    yard.clock.passes(60)
    yard.cluster._patience = 30.0
    yard.sync("v1", DEV)
    assert yard.observe(DEV) == ready(release)


@pytest.mark.long
def test_a_canary_that_hangs_leaves_traffic_until_it_is_ready_again(
    yard: Yard, hang: Callable[[str], None]
):
    yard.sync("v1", PRODUCTION)
    canary = yard.sync("v2", CANARY)
    (pid,) = processes(yard, CANARY)
    os.kill(pid, signal.SIGSTOP)
    yard.sync("v2", CANARY)
    yard.clock.passes(91)
    yard.cluster._patience = -1.0

    yard.sync("v2", CANARY)

    assert yard.shares(PRODUCTION) == {"v1": 1.0}
    until(lambda: yard.observe(CANARY) == ready(canary, 0.2))
    assert yard.shares(PRODUCTION) == {"v1": 0.8, "v2": 0.2}
    assert not psutil.pid_exists(pid)


def test_a_server_that_is_only_busy_is_not_ended(yard: Yard, hang: Callable[[str], None]):
    release = yard.sync("v1", DEV)
    first = yard.process(release)
    hang("is busy")
    yard.cluster._patience = -1.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local_servers, "_LAST_SECONDS", 10.0)
        restart_hung(yard, DEV)
        assert yard.process(release) == first


def test_a_clock_that_was_set_back_or_ahead_ends_no_server(yard: Yard, hang: Callable[[str], None]):
    release = yard.sync("v1", DEV)
    first = yard.process(release)
    for seconds in (86_400, -2 * 86_400):
        yard.clock.passes(seconds)
        yard.sync("v1", DEV)
    hang("says 503")
    yard.sync("v1", DEV)
    yard.clock.passes(-3600)
    yard.sync("v1", DEV)
    yard.clock.passes(60)
    yard.sync("v1", DEV)
    assert yard.process(release) == first


def test_a_model_server_that_the_kernel_stopped_serves_again(real: Yard):
    real.cluster._patience = 0.0
    release = real.sync("v1", DEV)
    # Only one that was ready before is started at once, and a busy machine takes its time.
    until(lambda: real.observe(DEV) == ready(release))
    (pid,) = processes(real, DEV)
    os.kill(pid, signal.SIGSTOP)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local_servers, "_READY_SECONDS", 0.2)
        real.sync("v1", DEV)
        real.clock.passes(91)
        patch.setattr(local_servers, "_LAST_SECONDS", 0.2)
        real.sync("v1", DEV)

    until(lambda: real.observe(DEV) == ready(release))

    assert answers(real, DEV) == {"v1"}
    assert len(processes(real, DEV)) == 1


# A server or its starter that is killed


STARTER = [
    (cluster_of_this_machine, "write_state", 1),
    (cluster_of_this_machine, "write_state", 2),
    (cluster_of_this_machine, "write_state", 3),
    (cluster_of_this_machine, "write_endpoints", 1),
    (cluster_of_this_machine, "free_port", 1),
    (LocalServers, "start_server", 1),
    (LocalServers, "ask_readiness", 1),
    (LocalServers, "stop_server", 1),
    (LocalServers, "stop_others", 1),
    (Yard, "fetch", 1),
]


def kill_in(place: object, name: str, time: int, call: Callable[[], object]) -> None:
    """Make the call in a process that is killed right after the given call of a function."""
    child = os.fork()
    if child == 0:
        real, calls = getattr(place, name), []

        def killed(*args: object, **options: object) -> object:
            result = real(*args, **options)
            calls.append(name)
            if len(calls) == time:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        setattr(place, name, killed)
        try:
            call()
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] in (signal.SIGKILL, 1 << 8)


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("place", "name", "time"), STARTER, ids=[f"{name} {time}" for _, name, time in STARTER]
)
@pytest.mark.parametrize("before", [None, "v1"])
def test_a_starter_that_is_killed_leaves_one_server_after_the_next_pass(
    yard: Yard, hang: Callable[[str], None], place: object, name: str, time: int, before: str | None
):
    if before is not None:
        yard.sync(before, DEV)
    if place is Yard:  # the cluster has the bound method
        place, name = yard.cluster, "_fetch"
    kill_in(place, name, time, lambda: yard.sync("v2", DEV))
    yard.clock.passes(3600)

    release = yard.sync("v2", DEV)

    assert yard.observe(DEV) == ready(release)
    assert yard.shares(DEV) == {"v2": 1.0}
    # A second process for the same release ends by itself once it finds the claim taken.
    until(lambda: len(processes(yard, DEV)) == 1)
    held = yard.process(release)
    assert held is not None
    assert processes(yard, DEV) == [held.pid]


SERVER = ["never takes its claim", "never listens", "says 503"]


@pytest.mark.long
@pytest.mark.parametrize("where", [DEV, CANARY], ids=["dev", "canary"])
@pytest.mark.parametrize("point", SERVER)
def test_a_server_that_is_killed_while_it_starts_is_started_again_and_blames_nobody(
    yard: Yard, hang: Callable[[str], None], point: str, where: Environment
):
    yard.cluster._patience = 0.5
    hang(point)
    release = yard.sync("v1", where)
    for _ in range(3):
        (pid,) = processes(yard, where)
        os.kill(pid, signal.SIGKILL)
        until(lambda: not processes(yard, where))
        state = yard.observe(where)
        assert state is not None
        assert (state.ready, state.aborted) == (False, None)
        assert state.fault is not None
        assert state.fault.blame is Blame.INFRASTRUCTURE
        yard.clock.passes(85)
        yard.sync("v1", where)
        state = yard.observe(where)
        assert state is not None
        assert (state.ready, state.aborted) == (False, None)
    (pid,) = processes(yard, where)
    os.kill(pid, signal.SIGKILL)
    until(lambda: not processes(yard, where))
    hang("")
    yard.clock.passes(85)
    yard.cluster._patience = 30.0

    yard.sync("v1", where)

    assert yard.observe(where) == ready(release, 0.2 if where is CANARY else 1.0)
    assert len(processes(yard, where)) == 1


def test_a_server_that_is_killed_before_it_took_its_claim_is_not_blamed_for_the_one_before_it(
    yard: Yard, hang: Callable[[str], None]
):
    release = yard.sync("v1", DEV)
    (pid,) = processes(yard, DEV)
    os.kill(pid, signal.SIGKILL)
    until(lambda: not processes(yard, DEV))
    claim = yard.root / ".modelyard" / "cluster" / "dev" / "late" / f"{release.identity}.claim"
    with pytest.raises(VersionFault), hold_claim(claim, port=1):
        raise VersionFault("model late: its golden rows fail")
    hang("never takes its claim")
    yard.cluster._patience = -1.0
    yard.sync("v1", DEV)
    (pid,) = processes(yard, DEV)
    os.kill(pid, signal.SIGKILL)
    until(lambda: not processes(yard, DEV))

    state = yard.observe(DEV)

    assert state is not None
    assert state.fault is not None
    assert state.fault.blame is Blame.INFRASTRUCTURE


@pytest.mark.sample(2)
@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.0, 0.2, 0.6, 1.2, 2.0])
def test_a_model_server_that_is_killed_at_any_moment_of_its_start_serves_after_the_next_pass(
    real: Yard, delay: float
):
    real.cluster._patience = -1.0
    release = real.sync("v1", DEV)
    sleep(delay)
    for pid in processes(real, DEV):
        os.kill(pid, signal.SIGKILL)
    until(lambda: not processes(real, DEV))
    real.clock.passes(3600)
    state = real.observe(DEV)
    assert state is not None
    assert state.aborted is None
    real.cluster._patience = 30.0

    real.sync("v1", DEV)

    assert real.observe(DEV) == ready(release)
    assert answers(real, DEV) == {"v1"}
    assert len(processes(real, DEV)) == 1


def test_a_claim_is_never_removed_while_a_process_holds_it(tmp_path: Path):
    claim = tmp_path / "one.claim"
    with hold_claim(claim, port=1):
        claim.write_bytes(b"")  # its holder is just about to write it
        remove_claim(claim)
        assert claim.exists()
    remove_claim(claim)
    assert not claim.exists()
    remove_claim(claim)
