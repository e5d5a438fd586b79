from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.adapters.cluster.claim import claim_holder, hold_claim
from modelyard.adapters.cluster.endpoints import Endpoint, read_endpoints
from modelyard.adapters.cluster.local import LocalCluster
from modelyard.adapters.cluster.local_servers import LocalServers, Readiness
from modelyard.adapters.cluster.local_state import (
    Aborted,
    Server,
    State,
    abort_newest,
    add_release,
    advance_step,
    mark_dead,
    mark_ready,
    split_traffic,
)
from modelyard.adapters.metrics.scrape import ScrapeMetrics
from modelyard.adapters.processes.process_table import Started
from modelyard.adapters.processes.start import is_process_alive
from modelyard.domain.canary.shadow.pairs import is_pair_of
from modelyard.domain.canary.traffic import Counts, RolloutState
from modelyard.domain.server_fault import Blame, ServerFault
from modelyard.domain.specs.environment import Environment, Rollout, Step
from modelyard.domain.specs.model import Server as ServerPolicy
from modelyard.domain.specs.release import Release
from modelyard.domain.specs.repository import Repository
from modelyard.errors import CannotAnswer, Conflict
from serving.artifacts import MODEL, shared_artifact
from serving.grpc.calls import connected, infer_request, scores, stub
from serving.running import preloaded_socket, request, until

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DEV = Environment(name="dev", description="", namespace="dev")
PRODUCTION = Environment(
    name="production",
    description="",
    namespace="production",
    rollout=Rollout(steps=(Step(share=0.25), Step(share=0.5)), ready_within_seconds=60),
)
CANARY = Environment(
    name="canary",
    description="",
    namespace="production",
    joins="production",
    rollout=Rollout(steps=(Step(share=0.2),)),
)


class FixedClock:
    def __init__(self) -> None:
        self.moment = NOW
        self.jumped_at: datetime | None = None

    def now(self) -> datetime:
        return self.moment

    def even_since(self) -> datetime | None:
        return self.jumped_at

    def jump(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)
        self.jumped_at = self.moment

    def passes(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


class Yard:
    """A cluster in a folder of its own, and what a test asks of it."""

    def __init__(self, root: Path, patience: float = 30.0) -> None:
        self.root = root
        self.clock = FixedClock()
        self.artifacts = {digest: folder for folder, digest in (shared_artifact(),)}
        self.cluster = LocalCluster(
            root, Repository(), self.fetch, self.clock, patience_seconds=patience
        )

    def fetch(self, digest: str, folder: Path, asked: object) -> Path:
        del asked
        if digest not in self.artifacts:
            raise CannotAnswer(f"no artifact {digest}")
        if not folder.exists():
            shutil.copytree(self.artifacts[digest], folder)
        return folder

    def release(self, version: str, environment: Environment, artifact: str = "") -> Release:
        return Release(
            model="late",
            environment=environment.name,
            version=version,
            artifact=artifact or next(iter(self.artifacts)),
            server_image="image",
            renderer=1,
            manifests="",
        )

    def sync(self, version: str, environment: Environment, artifact: str = "") -> Release:
        release = self.release(version, environment, artifact)
        self.cluster.sync(release, model=MODEL, environment=environment)
        return release

    def observe(self, environment: Environment) -> RolloutState | None:
        return self.cluster.observe(model="late", environment=environment)

    def shares(self, environment: Environment) -> dict[str, float]:
        return {e.version: e.share for e in self.endpoints(environment)}

    def endpoints(self, environment: Environment) -> tuple[Endpoint, ...]:
        state = self.root / ".modelyard"
        return read_endpoints(state, environment=environment.name, model="late")

    def process(self, release: Release) -> Started | None:
        folder = self.root / ".modelyard" / "cluster" / release.environment / "late"
        held = claim_holder(folder / f"{release.identity}.claim")
        return held.process if held else None


@pytest.fixture
def yard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    monkeypatch.setenv("MODELYARD_PRELOADED", str(preloaded_socket()))
    yard = Yard(tmp_path)
    yield yard
    yard.cluster.stop_all()


def ready(release: Release, share: float = 1.0) -> RolloutState:
    return RolloutState(release=release.identity, ready=True, share=share)


def answers(yard: Yard, environment: Environment) -> set[str]:
    """Versions that answer at the addresses the endpoints name."""
    found = set()
    for endpoint in yard.endpoints(environment):
        answer = httpx.post(f"{endpoint.url}/v2/models/late/infer", json=request(), timeout=30)
        assert answer.status_code == 200
        assert answer.headers["x-modelyard-release"] == endpoint.release
        found.add(answer.json()["model_version"])
    return found


def test_a_release_without_steps_replaces_the_one_before_it(yard: Yard):
    first = yard.sync("v1", DEV)
    assert yard.observe(DEV) == ready(first)
    old = yard.process(first)
    yard.sync("v1", DEV)
    assert yard.process(first) == old
    second = yard.sync("v2", DEV)
    assert yard.observe(DEV) == ready(second)
    assert yard.shares(DEV) == {"v2": 1.0}
    assert answers(yard, DEV) == {"v2"}
    assert yard.process(first) is None


def test_a_model_that_asks_for_grpc_has_an_address_more(yard: Yard):
    asked = replace(MODEL, server=ServerPolicy(grpc=True))
    yard.cluster.sync(yard.release("v1", DEV), model=asked, environment=DEV)
    assert yard.observe(DEV) is not None

    http, grpc = yard.cluster.addresses(model="late", environment=DEV)
    assert http.startswith("http://127.0.0.1:")
    with connected(int(grpc.removeprefix("gRPC at 127.0.0.1:"))) as channel:
        assert len(scores(stub(channel).ModelInfer(infer_request(request(2))))) == 2
    yard.sync("v2", DEV)
    assert [each[:7] for each in yard.cluster.addresses(model="late", environment=DEV)] == [
        "http://"
    ]


def test_a_release_with_steps_shares_the_traffic_until_it_is_alone(yard: Yard):
    first = yard.sync("v1", PRODUCTION)
    assert yard.observe(PRODUCTION) == ready(first)
    second = yard.sync("v2", PRODUCTION)
    assert yard.observe(PRODUCTION) == ready(second, 0.25)
    assert yard.shares(PRODUCTION) == {"v1": 0.75, "v2": 0.25}
    assert answers(yard, PRODUCTION) == {"v1", "v2"}
    yard.cluster.advance(second, environment=PRODUCTION)
    yard.cluster.advance(first, environment=PRODUCTION)
    assert yard.shares(PRODUCTION) == {"v1": 0.5, "v2": 0.5}
    yard.cluster.advance(second, environment=PRODUCTION)
    assert yard.observe(PRODUCTION) == ready(second)
    assert yard.shares(PRODUCTION) == {"v2": 1.0}
    assert yard.process(first) is None


def test_a_canary_takes_its_share_of_what_production_answers(yard: Yard):
    canary = yard.sync("v2", CANARY)
    assert yard.shares(PRODUCTION) == {"v2": 1.0}
    stable = yard.sync("v1", PRODUCTION)
    assert yard.shares(PRODUCTION) == {"v1": 0.8, "v2": 0.2}
    assert yard.observe(CANARY) == ready(canary, 0.2)
    assert yard.observe(PRODUCTION) == ready(stable)
    yard.sync("v3", PRODUCTION)
    expected = {"v1": 0.8 * 0.75, "v2": 0.2, "v3": 0.8 * 0.25}
    assert yard.shares(PRODUCTION) == pytest.approx(expected)
    yard.cluster.remove(model="late", environment=CANARY)
    assert yard.shares(PRODUCTION) == {"v1": 0.75, "v3": 0.25}
    assert yard.observe(CANARY) is None


def test_a_canary_answers_copies_of_what_production_answers(yard: Yard):
    model = replace(MODEL, canary=replace(MODEL.canary, shadow=1.0))
    stable, canary = yard.release("v1", PRODUCTION), yard.release("v2", CANARY)
    yard.cluster.sync(stable, model=model, environment=PRODUCTION)
    yard.cluster.sync(canary, model=model, environment=CANARY)
    metrics = ScrapeMetrics(yard.root, Repository(), yard.clock)
    first, *_ = yard.endpoints(PRODUCTION)
    assert first.release == stable.identity
    answer = httpx.post(f"{first.url}/v2/models/late/infer", json=request(), timeout=30)
    assert answer.json()["model_version"] == "v1"

    def compared() -> dict[str, Counts]:
        (sample,) = metrics.samples("late", since=NOW, keep=False)
        return dict(sample.counts)

    until(lambda: compared()[stable.identity].shadow)
    counts = compared()
    (pair,) = counts[stable.identity].shadow
    assert is_pair_of(pair, canary.identity)
    assert sum(counts[canary.identity].requests.values()) == 0
    assert counts[canary.identity].rows == 0
    assert counts[canary.identity].shadow == {}


def test_an_aborted_candidate_leaves_traffic_and_is_remembered(yard: Yard):
    first = yard.sync("v1", PRODUCTION)
    second = yard.sync("v2", PRODUCTION)
    yard.cluster.abort(first, environment=PRODUCTION, reason="not what runs")
    yard.cluster.abort(second, environment=PRODUCTION, reason="too many errors")
    gone = RolloutState(release=second.identity, ready=False, share=0.0, aborted="too many errors")
    assert yard.observe(PRODUCTION) == gone
    assert yard.shares(PRODUCTION) == {"v1": 1.0}
    assert yard.process(second) is None
    yard.sync("v2", PRODUCTION)
    assert yard.observe(PRODUCTION) == gone
    assert yard.sync("v1", PRODUCTION) == first
    assert yard.observe(PRODUCTION) == ready(first)


def test_aborting_what_already_took_over_brings_the_release_before_it_back(yard: Yard):
    first = yard.sync("v1", DEV)
    second = yard.sync("v2", DEV)
    yard.cluster.abort(second, environment=DEV, reason="judged bad")
    assert yard.observe(DEV) == RolloutState(
        release=second.identity, ready=False, share=0.0, aborted="judged bad"
    )
    yard.sync("v1", DEV)
    assert yard.observe(DEV) == ready(first)
    assert yard.shares(DEV) == {"v1": 1.0}
    assert yard.process(second) is None


def test_a_server_that_dies_is_not_ready_and_is_started_again(yard: Yard):
    release = yard.sync("v1", DEV)
    process = yard.process(release)
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    until(lambda: not is_process_alive(process))
    assert yard.observe(DEV) == RolloutState(release=release.identity, ready=False, share=1.0)
    yard.sync("v1", DEV)
    assert yard.observe(DEV) == ready(release)
    assert yard.process(release) != process


def test_a_canary_that_dies_leaves_traffic_until_it_is_ready_again(yard: Yard):
    yard.sync("v1", PRODUCTION)
    canary = yard.sync("v2", CANARY)
    process = yard.process(canary)
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    until(lambda: not is_process_alive(process))
    yard.cluster._patience = -1.0
    yard.sync("v2", CANARY)
    assert yard.observe(CANARY) == RolloutState(release=canary.identity, ready=False, share=0.0)
    assert yard.shares(PRODUCTION) == {"v1": 1.0}
    until(lambda: yard.observe(CANARY) == ready(canary, 0.2))
    assert yard.shares(PRODUCTION) == {"v1": 0.8, "v2": 0.2}


def without_fault(state: RolloutState | None) -> RolloutState | None:
    return replace(state, fault=None) if state else None


def test_a_server_whose_bytes_are_wrong_is_tried_again_and_the_old_one_stays(yard: Yard):
    stable = yard.sync("v1", PRODUCTION)
    folder = yard.root / "tampered"
    shutil.copytree(shared_artifact()[0], folder)
    (folder / "extra").write_bytes(b"")
    pin = "sha256:" + "1" * 64
    yard.artifacts[pin] = folder
    release = yard.sync("v2", PRODUCTION, pin)
    waiting = RolloutState(release=release.identity, ready=False, share=0.0)
    assert without_fault(yard.observe(PRODUCTION)) == waiting
    yard.clock.passes(30)
    yard.sync("v2", PRODUCTION, pin)
    assert without_fault(yard.observe(PRODUCTION)) == waiting
    yard.clock.passes(31)
    state = yard.observe(PRODUCTION)
    assert state is not None
    assert state.aborted is None
    assert state.fault is not None
    assert state.fault.blame is Blame.INFRASTRUCTURE
    assert state.fault.why.startswith("error: artifact")
    assert pin in state.fault.why
    assert yard.shares(PRODUCTION) == {"v1": 1.0}
    assert answers(yard, PRODUCTION) == {"v1"}
    assert yard.sync("v1", PRODUCTION) == stable
    assert yard.observe(PRODUCTION) == ready(stable)


def test_an_artifact_out_of_reach_is_tried_again_and_its_release_is_not_given_up(yard: Yard):
    pin = "sha256:" + "2" * 64
    for _ in range(2):
        with pytest.raises(CannotAnswer, match=f"no artifact {pin}"):
            yard.sync("v1", DEV, pin)
        yard.clock.passes(91)
    assert yard.observe(DEV) == RolloutState(
        release=yard.release("v1", DEV, pin).identity,
        ready=False,
        share=0.0,
        fault=ServerFault(blame=Blame.INFRASTRUCTURE, why=f"no artifact {pin}"),
    )


@pytest.mark.parametrize("seconds", [3600, -3600])
def test_a_clock_that_jumps_aborts_no_release_that_starts(
    yard: Yard, monkeypatch: pytest.MonkeyPatch, seconds: float
):
    yard.cluster._patience = 0
    monkeypatch.setattr(LocalServers, "ask_readiness", lambda *_, **__: Readiness(ready=False))
    release = yard.sync("v1", DEV)
    yard.clock.jump(seconds)
    waits = RolloutState(release=release.identity, ready=False, share=0.0)
    assert yard.observe(DEV) == waits
    yard.clock.passes(80)
    assert yard.observe(DEV) == waits

    yard.clock.passes(20)
    late = yard.observe(DEV)
    assert late is not None
    assert late.aborted == "not ready within 90 s"


def test_a_clock_that_jumps_ends_no_server_that_is_slow_to_answer(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
):
    release = yard.sync("v1", DEV)
    assert yard.observe(DEV) == ready(release)
    process = yard.process(release)
    with monkeypatch.context() as patched:
        patched.setattr(LocalServers, "ask_readiness", lambda *_, **__: Readiness(ready=False))
        yard.sync("v1", DEV)
        yard.clock.jump(3600)
        yard.sync("v1", DEV)
        assert yard.process(release) == process
        yard.clock.passes(100)
        yard.sync("v1", DEV)
        assert yard.process(release) != process


def test_after_remove_no_server_runs_and_no_state_is_left(yard: Yard):
    release = yard.sync("v1", DEV)
    for _ in range(2):
        yard.cluster.remove(model="late", environment=DEV)
        assert yard.observe(DEV) is None
        assert yard.endpoints(DEV) == ()
        assert yard.process(release) is None


def test_two_calls_at_once_start_one_server(yard: Yard):
    threads = [threading.Thread(target=yard.sync, args=("v1", DEV)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    logs = list((yard.root / ".modelyard" / "cluster" / "dev" / "late").glob("*.log"))
    assert len(logs) == 1
    assert "another process holds this claim" not in logs[0].read_text()
    assert yard.observe(DEV) == ready(yard.release("v1", DEV))


class KilledError(BaseException):
    """The process that called was killed here."""


@pytest.mark.sample(2)
@pytest.mark.parametrize("step", ["start_server", "write_state", "write_endpoints", "stop_server"])
@pytest.mark.parametrize("time", [1, 2])
@pytest.mark.slow
def test_a_call_that_was_killed_ends_the_same_when_it_runs_again(
    yard: Yard, monkeypatch: pytest.MonkeyPatch, step: str, time: int
):
    import modelyard.adapters.cluster.local as under_test
    from modelyard.adapters.cluster.local_servers import LocalServers

    first = yard.sync("v1", DEV)
    where = LocalServers if hasattr(LocalServers, step) else under_test
    real, calls = getattr(where, step), []

    def killed(*args: object, **kwargs: object) -> object:
        calls.append(args)
        result = real(*args, **kwargs)
        if len(calls) == time:
            raise KilledError
        return result

    with monkeypatch.context() as patch:
        patch.setattr(where, step, killed)
        with suppress(KilledError):
            yard.sync("v2", DEV)
    second = yard.sync("v2", DEV)
    assert yard.observe(DEV) == ready(second)
    assert yard.shares(DEV) == {"v2": 1.0}
    assert answers(yard, DEV) == {"v2"}
    assert yard.process(first) is None
    folder = yard.root / ".modelyard" / "cluster" / "dev" / "late"
    assert [path.stem for path in folder.glob("*.claim")] == [second.identity]


def test_stopping_all_leaves_no_process_and_sync_brings_them_back(yard: Yard):
    one, two = yard.sync("v1", DEV), yard.sync("v1", PRODUCTION)
    yard.cluster.stop_all()
    assert (yard.process(one), yard.process(two)) == (None, None)
    assert yard.endpoints(DEV) == ()
    yard.sync("v1", DEV)
    assert yard.observe(DEV) == ready(one)
    assert yard.shares(DEV) == {"v1": 1.0}


def test_refuses_a_joined_environment_without_a_step(yard: Yard):
    joined = Environment(name="canary", description="", namespace="x", joins="production")
    with pytest.raises(CannotAnswer, match="joins production, but its rollout has no step"):
        yard.sync("v1", joined)


def test_a_claim_has_one_holder_at_a_time(tmp_path: Path):
    path = tmp_path / "claims" / "one.claim"
    assert claim_holder(path) is None
    with hold_claim(path, port=8080):
        held = claim_holder(path)
        assert held is not None
        assert (held.process.pid, held.port) == (os.getpid(), 8080)
        with (
            pytest.raises(Conflict, match="another process holds this claim"),
            hold_claim(path, port=1),
        ):
            pass
    assert claim_holder(path) is None


def server(name: str) -> Server:
    return Server(
        release=name,
        version=name,
        artifact="",
        trusted_types=(),
        formats=(),
        port=1,
        since=NOW,
        tried=NOW,
    )


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("sync"), st.sampled_from("abc")),
        st.tuples(st.just("arrive"), st.just("")),
        st.tuples(st.just("advance"), st.sampled_from("abc")),
        st.tuples(st.just("abort"), st.just("")),
        st.tuples(st.just("fall"), st.sampled_from("abc")),
    ),
    max_size=12,
)


def after(state: State, events: list[tuple[str, str]]) -> State:
    for kind, release in events:
        if kind == "sync":
            state = add_release(state, server(release))
        elif kind == "arrive":
            state = mark_ready(state)
        elif kind == "advance":
            state = advance_step(state, release)
        elif kind == "fall":
            state = mark_dead(state, [release], NOW)
        else:
            state = abort_newest(state, "bad", NOW)
    return state


@pytest.mark.long
@given(
    events=EVENTS,
    joined_events=EVENTS,
    steps=st.lists(st.sampled_from([0.1, 0.3, 0.6]), unique=True).map(sorted),
)
def test_shares_add_up_and_an_aborted_release_gets_nothing_new(
    events: list[tuple[str, str]], joined_events: list[tuple[str, str]], steps: list[float]
):
    production = after(State(model="m", environment="o", steps=tuple(steps)), events)
    joined = State(model="m", environment="g", joins="o", steps=(0.2,))
    parts = split_traffic(production, [after(joined, joined_events)])
    assert sum(share for _, share in parts) == pytest.approx(1.0 if parts else 0.0)
    assert all(share > 0 and each.step is not None for each, share in parts)
    if production.aborted is not None:
        assert (
            production.candidate is None
            or production.candidate.release != production.aborted.release
        )
    assert add_release(production, server("z")).aborted is None
    again = add_release(production, server("a"))
    assert add_release(again, server("a")) == again


def test_a_release_that_is_aborted_twice_keeps_its_first_reason():
    state = after(State(model="m", environment="o"), [("sync", "a"), ("arrive", "")])
    once = abort_newest(state, "first", NOW)
    assert once.aborted == Aborted(release="a", reason="first")
    assert abort_newest(once, "second", NOW) == once
