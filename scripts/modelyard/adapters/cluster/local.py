"""The cluster role on one machine: server processes on loopback, one a release."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from modelyard.adapters.cluster.endpoints import Endpoint, write_endpoints
from modelyard.adapters.cluster.local_servers import HOST, LocalServers, Readiness, free_port
from modelyard.adapters.cluster.local_state import (
    Server,
    State,
    aborted,
    advanced,
    arrived,
    fallen,
    read_state,
    synced,
    traffic,
    write_state,
)
from modelyard.domain.canary.traffic import RolloutState
from modelyard.domain.promotion.world import PastRelease
from modelyard.domain.specs.environment import Environment
from modelyard.domain.specs.model import Model
from modelyard.domain.specs.paths import environment_file
from modelyard.domain.specs.release import Release
from modelyard.domain.specs.repository import Repository
from modelyard.errors import CannotAnswer
from modelyard.ports import Clock

_RETRY_SECONDS = 5.0
_POLL_SECONDS = 0.05


class LocalCluster:
    """Runs each release as one process and splits the requests by `endpoints.py`.

    - An environment without `joins` owns the model's traffic there; one that joins another adds its
      server to that one's endpoints, with its step's share.
    - Every call reads the state, decides, writes it down, and only then acts; what a killed call
      left undone the next one does. A lock a model and owner of traffic makes calls take turns.
    - A release takes traffic only once it was ready. It is one process, whatever its replicas.

    Args:
        root: The checkout's root.
        repository: Where the state is.
        store_fetch: Brings the artifact of a digest to a folder, and says where it is.
        clock: What time it is.
        patience_seconds: How long `sync` waits for a server it started; `observe` sees to the rest.
    """

    def __init__(
        self,
        root: Path,
        repository: Repository,
        store_fetch: Callable[[str, Path], Path],
        clock: Clock,
        *,
        patience_seconds: float = 2.0,
    ) -> None:
        self._state = root.absolute() / repository.state
        self._fetch = store_fetch
        self._clock = clock
        self._patience = patience_seconds

    def sync(
        self,
        release: Release,
        *,
        model: Model,
        environment: Environment,
        origin: PastRelease | None = None,
    ) -> None:
        """Make this release run, beside the one before it as long as its steps last.

        Raises:
            CannotAnswer: Its artifact is out of reach, or a joining environment has no step.
        """
        del origin  # `modelyard history` tells it here
        with self._locked(environment.joins or environment.name, model.name):
            before = self._adopted(self._read(environment.name, model.name), model, environment)
            state = self._running(synced(before, self._server(release, model)))
            self._settle(state, before)
        mine = [server for server in state.servers if server.release == release.identity]
        if mine and self._waited(state, mine[0]):
            self._look(environment.name, model.name)

    def remove(self, *, model: str, environment: Environment) -> None:
        """Stop what runs of this model in this environment, and forget it."""
        where = environment.name
        state = self._read(where, model)
        if state is None:
            return
        with self._locked(state.owner, model):
            gone = State(model=model, environment=where, joins=state.joins)
            self._settle(gone, state)
            self._path(where, model).unlink(missing_ok=True)

    def observe(self, *, model: str, environment: Environment) -> RolloutState | None:
        """What runs, as the newest release's server says itself; None when nothing does.

        An owner's share is that of its own requests: a canary that joins it takes none of it.
        """
        state = self._look(environment.name, model)
        if state is None:
            return None
        if state.aborted is not None:
            gone = state.aborted
            return RolloutState(release=gone.release, ready=False, share=0.0, aborted=gone.reason)
        newest = state.candidate or state.stable
        if newest is None:
            return None
        ready = self._servers(state).readiness(newest).ready
        share = state.share if newest.step is not None else 0.0
        return RolloutState(release=newest.release, ready=ready, share=share)

    def advance(self, release: Release, *, environment: Environment) -> bool:
        """Take the release's next step; after the last one it is the stable one."""
        with self._locked(environment.joins or environment.name, release.model):
            state = self._read(environment.name, release.model)
            if state is not None:
                self._settle(advanced(state, release.identity), state)
        return True

    def abort(self, release: Release, *, environment: Environment, reason: str) -> None:
        """Take the release out of traffic; remembered until another one is synced."""
        with self._locked(environment.joins or environment.name, release.model):
            state = self._read(environment.name, release.model)
            newest = (state.candidate or state.stable) if state else None
            if state is None or newest is None or newest.release != release.identity:
                return
            after = aborted(state, reason, self._clock.now())
            self._settle(self._running(after), state)

    def hurry(self, *, model: str, environment: Environment) -> None:
        """Do nothing: nobody but `sync` brings releases here."""

    def note(self, release: Release, *, environment: Environment, what: str, is_good: bool) -> None:
        """Say nothing: `modelyard history` tells all of it here."""

    def changed(self, environments: Iterable[Environment], *, seconds: float) -> frozenset[str]:
        """Wait: processes tell nobody that they changed."""
        del environments
        time.sleep(seconds)
        return frozenset()

    def stop_all(self) -> None:
        """Stop every server; the next `sync` of each starts it again."""
        for state in self._states():
            with self._locked(state.owner, state.model):
                write_endpoints(self._state, (), environment=state.owner, model=state.model)
                for server in state.servers:
                    self._servers(state).stop(server)
                self._servers(state).stop_others(())

    def _look(self, environment: str, model: str) -> State | None:
        """The state, after a candidate that turned out ready or late was dealt with."""
        state = self._read(environment, model)
        if state is None or state == self._decided(state):
            return state
        with self._locked(state.owner, model):
            state = self._read(environment, model)
            return None if state is None else self._settle(self._decided(state), state)

    def _decided(self, state: State) -> State:
        candidate = state.candidate
        if candidate is None or candidate.step is not None:
            return state
        found = self._servers(state).readiness(candidate)
        if found.ready:
            return arrived(state)
        now = self._clock.now()
        late = (now - candidate.since).total_seconds() > state.ready_within_seconds
        return aborted(state, _late(state, found), now) if late else state

    def _settle(self, state: State, before: State) -> State:
        """Write the state down, send requests by it, and stop what it does not name any more."""
        write_state(self._path(state.environment, state.model), state)
        everybody = [s for s in self._states() if s.model == state.model and s.owner == state.owner]
        owner = next((s for s in everybody if s.joins is None), None)
        guests = [s for s in everybody if s.joins is not None]
        parts = traffic(owner, guests)
        write_endpoints(
            self._state,
            [_endpoint(server, share) for server, share in parts],
            environment=state.owner,
            model=state.model,
        )
        kept = {server.release for server in state.servers}
        for server in before.servers:
            if server.release not in kept:
                self._servers(state).stop(server)
        self._servers(state).stop_others(state.servers)
        return state

    def _running(self, state: State) -> State:
        """The state with each of its servers started that does not run."""
        dead = [s.release for s in state.servers if not self._servers(state).is_alive(s)]
        state = fallen(state, dead, self._clock.now())
        stable, candidate = (self._to_run(state, s) for s in (state.stable, state.candidate))
        state = replace(state, stable=stable, candidate=candidate)
        # Named before it is started: what a killed call started, the next one finds and takes.
        write_state(self._path(state.environment, state.model), state)
        stable, candidate = (self._started(state, s) for s in (stable, candidate))
        return replace(state, stable=stable, candidate=candidate)

    def _to_run(self, state: State, server: Server | None) -> Server | None:
        """The server as it runs; without a process where it is to be started."""
        if server is None:
            return None
        servers, now = self._servers(state), self._clock.now()
        if servers.is_alive(server):
            return replace(server, port=servers.port(server))
        waited = (now - server.tried).total_seconds()
        if server.process is not None and server.step is None and waited < _RETRY_SECONDS:
            return server
        return replace(server, port=free_port(server.release), tried=now, process=None)

    def _started(self, state: State, server: Server | None) -> Server | None:
        if server is None or server.process is not None or self._servers(state).is_alive(server):
            return server
        process = self._servers(state).start(server, self._fetched(server.artifact))
        return replace(server, process=process)

    def _fetched(self, digest: str) -> Path:
        folder = self._state / "cluster" / "artifacts" / digest.removeprefix("sha256:")
        return self._fetch(digest, folder)

    def _waited(self, state: State, server: Server) -> bool:
        """Whether the server is ready before patience or its process ends."""
        servers, deadline = self._servers(state), time.monotonic() + self._patience
        while not (ready := servers.readiness(server).ready) and servers.is_alive(server):
            if time.monotonic() > deadline:
                break
            time.sleep(_POLL_SECONDS)
        return ready

    def _server(self, release: Release, model: Model) -> Server:
        now = self._clock.now()
        return Server(
            release=release.identity,
            version=release.version,
            artifact=release.artifact,
            trusted_types=model.artifact.trusted_types,
            formats=model.artifact.formats,
            port=free_port(release.identity),
            since=now,
            tried=now,
        )

    def _adopted(self, state: State | None, model: Model, environment: Environment) -> State:
        """The state under the environment's policy of now."""
        steps = tuple(step.share for step in environment.rollout.steps)
        if environment.joins is not None and not steps:
            raise CannotAnswer(
                f"environment {environment.name} joins {environment.joins}, but its rollout has no"
                " step that says with which share",
                hint=f"add rollout.steps to {environment_file(environment.name)}",
            )
        return replace(
            state or State(model=model.name, environment=environment.name),
            joins=environment.joins,
            steps=steps,
            ready_within_seconds=environment.rollout.ready_within_seconds,
        )

    def _servers(self, state: State) -> LocalServers:
        return LocalServers(
            self._state / "cluster" / state.environment / state.model,
            model=state.model,
            payloads=self._state / "payloads" / state.environment / state.model,
        )

    def _states(self) -> list[State]:
        paths = sorted((self._state / "cluster").glob("*/*.json"))
        return [state for path in paths if (state := read_state(path))]

    def _read(self, environment: str, model: str) -> State | None:
        return read_state(self._path(environment, model))

    def _path(self, environment: str, model: str) -> Path:
        return self._state / "cluster" / environment / f"{model}.json"

    @contextmanager
    def _locked(self, owner: str, model: str) -> Iterator[None]:
        path = self._state / "cluster" / "locks" / f"{owner}.{model}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _endpoint(server: Server, share: float) -> Endpoint:
    url = f"http://{HOST}:{server.port}"
    return Endpoint(url=url, release=server.release, version=server.version, share=share)


def _late(state: State, found: Readiness) -> str:
    why = f": {found.why}" if found.why else ""
    return f"not ready within {state.ready_within_seconds} s{why}"
