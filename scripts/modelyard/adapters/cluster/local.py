"""The cluster role on one machine: one server process on loopback for each release."""

from __future__ import annotations

import fcntl
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from modelyard.adapters.cluster.endpoints import (
    Endpoint,
    endpoints_path,
    read_endpoints,
    with_known,
    write_endpoints,
)
from modelyard.adapters.cluster.local_servers import HOST, LocalServers, free_port
from modelyard.adapters.cluster.local_site import found_site, read_site
from modelyard.adapters.cluster.local_state import (
    Server,
    State,
    abort_newest,
    add_release,
    advance_step,
    apply_keys,
    apply_policy,
    has_hung,
    mark_answer,
    mark_dead,
    mark_hung,
    mark_ready,
    read_state,
    retry_seconds,
    split_traffic,
    write_state,
)
from modelyard.adapters.kept_room import KeptRoom
from modelyard.adapters.replaced_file import Write, write_whole
from modelyard.adapters.runtimes.environments import Runtime
from modelyard.adapters.runtimes.find import find_runtime
from modelyard.domain.canary.traffic import RolloutState
from modelyard.domain.machines.durations import seconds_since
from modelyard.domain.promotion.world import PastRelease
from modelyard.domain.server_fault import Blame, ServerFault
from modelyard.domain.signatures import Asked
from modelyard.domain.sites import Site
from modelyard.domain.specs.environment import Environment
from modelyard.domain.specs.model import Model
from modelyard.domain.specs.release import Release
from modelyard.domain.specs.repository import Repository
from modelyard.errors import CannotAnswer, YardError
from modelyard.ports import Clock

_LOGGER = logging.getLogger(__name__)
_POLL_SECONDS = 0.05


class LocalCluster:
    """Runs each release as one process and splits the requests by `endpoints.py`.

    - An environment without `joins` is production: it owns the model's traffic. A joined
      environment adds its server to production's endpoints, with its step's share.
    - Every call reads the state, decides, writes the new state, and only then acts; the next call
      completes what a killed one left undone. A lock per model and production serialises calls.
    - A release takes traffic only after it was ready. It is one process, whatever its replicas.
    - A server that cannot start, or that runs and does not answer any more, is started again, later
      each time; its release stays. It is aborted only for a fault of its own, or if it runs and was
      never ready in time.

    Args:
        root: The checkout's root.
        repository: Where the state is.
        store_fetch: Brings the artifact of a digest into a folder, once the signature that is asked
            for is checked, and returns where it is.
        clock: What time it is.
        patience_seconds: How long `sync` waits for a server it started; later `observe` checks it.
    """

    def __init__(
        self,
        root: Path,
        repository: Repository,
        store_fetch: Callable[[str, Path, Asked | None], Path],
        clock: Clock,
        *,
        patience_seconds: float = 2.0,
    ) -> None:
        self._root = root
        self._state = root.absolute() / repository.state
        self._fetch = store_fetch
        self._clock = clock
        self._patience = patience_seconds

    def site(self, *, create: bool = False) -> Site | None:
        """The state folder as a site."""
        return found_site(self._state) if create else read_site(self._state)

    def sync(
        self,
        release: Release,
        *,
        model: Model,
        environment: Environment,
        origin: PastRelease | None = None,
    ) -> None:
        """Run this release, and the one before it as long as its steps last.

        Raises:
            CannotAnswer: A server cannot be started now, or a joining environment has no step.
        """
        del origin  # for people who inspect a cluster; here they ask `modelyard history`
        with self._locked(environment.joins or environment.name, model.name):
            state = self._read(environment.name, model.name)
            before = apply_policy(state, model=model.name, environment=environment)
            before = apply_keys(before, model.artifact.signed_by)
            state, error = self._start_servers(add_release(before, self._server(release, model)))
            self._settle(state, before)
        if error is not None:
            raise error
        # Outside of the lock: waiting must not block other environments of the model.
        mine = [server for server in state.servers if server.release == release.identity]
        if mine:
            self._wait_for_word(state, mine[0])
            self._read_settled(environment.name, model.name)

    def remove(self, *, model: str, environment: Environment) -> None:
        """Stop this model's servers in this environment, and delete their state."""
        where = environment.name
        state = self._read(where, model)
        if state is None:
            return
        with self._locked(state.production, model):
            gone = State(model=model, environment=where, joins=state.joins)
            self._settle(gone, state)
            self._path(where, model).unlink(missing_ok=True)

    def observe(self, *, model: str, environment: Environment) -> RolloutState | None:
        """What the newest release's server reports; None when none runs.

        Production's share is of its own requests: a joined canary takes none of them.
        """
        state = self._read_settled(environment.name, model)
        if state is None:
            return None
        if state.aborted is not None:
            out = state.aborted
            fault = None if out.blame is None else ServerFault(blame=out.blame, why=out.reason)
            return RolloutState(
                release=out.release, ready=False, share=0.0, aborted=out.reason, fault=fault
            )
        newest = state.candidate or state.stable
        if newest is None:
            return None
        found = self._servers(state).ask_readiness(newest)
        share = state.share if newest.step is not None else 0.0
        return RolloutState(
            release=newest.release, ready=found.ready, share=share, fault=found.fault
        )

    def advance(self, release: Release, *, environment: Environment) -> bool:
        """Take the release's next step; after the last one it is stable."""
        with self._locked(environment.joins or environment.name, release.model):
            state = self._read(environment.name, release.model)
            if state is not None:
                self._settle(advance_step(state, release.identity), state)
        return True

    def abort(self, release: Release, *, environment: Environment, reason: str) -> None:
        """Take the release out of traffic until another one is synced."""
        with self._locked(environment.joins or environment.name, release.model):
            state = self._read(environment.name, release.model)
            newest = (state.candidate or state.stable) if state else None
            if state is None or newest is None or newest.release != release.identity:
                return
            after, error = self._start_servers(abort_newest(state, reason, self._clock.now()))
            self._settle(after, state)
        if error is not None:
            raise error

    def hurry(self, *, model: str, environment: Environment) -> None:
        """Do nothing: only `sync` brings releases here."""

    def note(self, release: Release, *, environment: Environment, what: str, is_good: bool) -> None:
        """Do nothing: `modelyard history` has all of it here."""

    def tells_changes(self) -> bool:
        """False: a server that dies sends no notice, so each is asked in every pass."""
        return False

    def changed(self, environments: Iterable[Environment], *, seconds: float) -> frozenset[str]:
        """Wait for all of it: processes send no notice of a change."""
        del environments
        time.sleep(seconds)
        return frozenset()

    def stop_all(self) -> tuple[YardError, ...]:
        """Stop every server; the next `sync` of each starts it again.

        Returns:
            Why a state cannot be read. Its servers are stopped, too: their claims name them.
        """
        states, errors = self._read_all("*/*.json")
        for state in states:
            with self._locked(state.production, state.model):
                write_endpoints(self._state, (), environment=state.production, model=state.model)
                for server in state.servers:
                    self._servers(state).stop_server(server)
                self._servers(state).stop_others(())
        for folder in sorted((self._state / "cluster").glob("*/*/")):
            left = State(model=folder.name, environment=folder.parent.name)
            write_endpoints(self._state, (), environment=left.environment, model=left.model)
            self._servers(left).stop_others(())
        return tuple(errors)

    def addresses(self, *, model: str, environment: Environment) -> tuple[str, ...]:
        """Where the servers of this model in this environment take requests, the newest last."""
        state = self._read(environment.name, model)
        if state is None:
            return ()
        alive = self._servers(state).is_server_alive
        return tuple(
            address
            for server in state.servers
            if alive(server)
            for address in _addresses(server, model)
        )

    def _read_settled(self, environment: str, model: str) -> State | None:
        """The state, after a candidate that became ready or late was handled."""
        state = self._read(environment, model)
        if state is None or state == self._next_state(state):
            return state
        with self._locked(state.production, model):
            state = self._read(environment, model)
            return None if state is None else self._settle(self._next_state(state), state)

    def _next_state(self, state: State) -> State:
        candidate = state.candidate
        if candidate is None or candidate.step is not None:
            return state
        found = self._servers(state).ask_readiness(candidate)
        if found.ready:
            return mark_ready(state)
        now = self._clock.now()
        if found.fault is not None:
            is_own = found.fault.blame is Blame.VERSION and not candidate.served
            why = found.fault.why
            return abort_newest(state, why, now, blame=Blame.VERSION) if is_own else state
        # Each start has the whole time: one that was killed must not shorten that of the next.
        began = max(candidate.since, candidate.tried)
        late = self._seconds_since(began, now) > state.ready_within_seconds
        # One that was ready before has shown that it can be; a busy machine takes its time.
        if not late or candidate.served or candidate.process is None:
            return state
        why = f"not ready within {state.ready_within_seconds} s"
        return abort_newest(state, why, now, blame=Blame.INFRASTRUCTURE)

    def _settle(self, state: State, before: State) -> State:
        """Write the state, split requests by it, and stop servers it no longer names."""
        self._write(state)
        write_endpoints(
            self._state,
            self._endpoints(state, before),
            environment=state.production,
            model=state.model,
            write=self._writer(state),
        )
        kept = {server.release for server in state.servers}
        for server in before.servers:
            if server.release not in kept:
                self._servers(state).stop_server(server)
        self._servers(state).stop_others(state.servers)
        return state

    def _endpoints(self, state: State, before: State) -> Sequence[Endpoint]:
        """Who takes the model's requests, by the states of all that share them."""
        found, errors = self._read_all(f"*/{state.model}.json")
        sharing = [each for each in found if each.production == state.production]
        production = next((s for s in sharing if s.joins is None), None)
        joined = [s for s in sharing if s.joins is not None]
        if not errors:
            return [_endpoint(*part) for part in split_traffic(production, joined)]
        # What cannot be read keeps its traffic, and keeps nothing else from being taken out.
        own = {server.release for server in (*before.servers, *state.servers)}
        known = read_endpoints(self._state, environment=state.production, model=state.model)
        is_joined = state.joins is not None
        parts = split_traffic(None, [state]) if is_joined else split_traffic(state, [])
        return with_known(
            [_endpoint(*part) for part in parts],
            [each for each in known if each.release not in own],
            own_share=state.share if is_joined else None,
        )

    def _start_servers(self, state: State) -> tuple[State, YardError | None]:
        """The state after every server of it that does not run was started, and what failed."""
        stable, candidate = (self._asked(state, s) for s in (state.stable, state.candidate))
        state = replace(state, stable=stable, candidate=candidate)
        dead = [s.release for s in state.servers if not self._servers(state).is_server_alive(s)]
        state = mark_dead(state, dead, self._clock.now())
        stable, candidate = (self._to_run(state, s) for s in (state.stable, state.candidate))
        due = [each.release for each in (stable, candidate) if each and self._is_due(state, each)]
        state = replace(state, stable=stable, candidate=candidate)
        # Written before the start, so that the next call finds what a killed call started.
        self._write(state)
        # One that cannot start keeps no other from its start.
        (stable, first), (candidate, second) = (
            self._start(state, each) if each and each.release in due else (each, None)
            for each in (stable, candidate)
        )
        return replace(state, stable=stable, candidate=candidate), first or second

    def _asked(self, state: State, server: Server | None) -> Server | None:
        """The server after it was asked whether it is ready; one that hangs is ended."""
        servers, now = self._servers(state), self._clock.now()
        if server is None or not servers.is_server_alive(server):
            return server
        server = servers.with_known_ports(server)
        server = mark_answer(server, is_ready=servers.ask_readiness(server).ready, now=now)
        silent = self._seconds_since(server.silent_since or now, now)
        if not has_hung(server, silent, state.ready_within_seconds):
            return server
        if not servers.end_if_hung(server):
            return mark_answer(server, is_ready=True, now=now)
        _LOGGER.warning(
            "%s: the server of %s %s ran and was not ready for %s s: it is started again",
            *(state.environment, state.model, server.version, state.ready_within_seconds),
        )
        return mark_hung(server, now)

    def _seconds_since(self, moment: datetime, now: datetime) -> float:
        return seconds_since(moment, now=now, even_since=self._clock.even_since())

    def _to_run(self, state: State, server: Server | None) -> Server | None:
        """The server as it is; without a process if it is to be started."""
        if server is None:
            return None
        if self._is_due(state, server):
            has_grpc = server.grpc_port is not None
            return self._on_free_ports(replace(server, process=None), has_grpc=has_grpc)
        return server

    def _is_due(self, state: State, server: Server) -> bool:
        """Whether a server does not run, and has waited long enough since its last start."""
        if self._servers(state).is_server_alive(server):
            return False
        # It may still be starting; a second process would fight for the port.
        waited = (self._clock.now() - server.tried).total_seconds()
        # A clock that was set back must not keep it from being started for as long.
        return not server.failures or not 0 <= waited < retry_seconds(server.failures)

    def _start(self, state: State, server: Server) -> tuple[Server, YardError | None]:
        """The server with its process, or with the fault that kept it from being started."""
        now = self._clock.now()
        tried = replace(server, tried=now, failures=server.failures + 1, silent_since=now)
        try:
            folder = self._fetch_artifact(state.model, server)
            runtime = self._runtime(state.model, server)
            process = self._servers(state).start_server(server, folder, runtime)
        except (YardError, OSError) as error:
            known = error if isinstance(error, YardError) else CannotAnswer(str(error))
            return replace(tried, fault=known.message), known
        return replace(tried, process=process, fault=None), None

    def _runtime(self, model: str, server: Server) -> Runtime | None:
        if server.lock is None:
            return None
        return find_runtime(self._root, server.lock, commit="HEAD", model=model)

    def _fetch_artifact(self, model: str, server: Server) -> Path:
        folder = self._state / "cluster" / "artifacts" / server.artifact.removeprefix("sha256:")
        keys = server.signed_by
        asked = Asked(model=model, version=server.version, keys=keys) if keys else None
        return self._fetch(server.artifact, folder, asked)

    def _wait_for_word(self, state: State, server: Server) -> None:
        """Wait until the server is ready, says why not, or ends; at most for the patience."""
        servers, deadline = self._servers(state), time.monotonic() + self._patience
        while not (found := servers.ask_readiness(server)).ready:
            # What hung before has its fault until it is ready.
            if found.fault is not None and not server.hung:
                return
            if not servers.is_server_alive(server) or time.monotonic() > deadline:
                return
            time.sleep(_POLL_SECONDS)

    def _server(self, release: Release, model: Model) -> Server:
        now = self._clock.now()
        server = Server(
            release=release.identity,
            version=release.version,
            artifact=release.artifact,
            trusted_types=model.artifact.trusted_types,
            formats=model.artifact.accepted_formats,
            signed_by=model.artifact.signed_by,
            queue=model.server.queue,
            shadow=model.canary.shadow,
            workers=model.server.workers,
            stuck_after=model.server.stuck_after_seconds,
            lock=release.lock,
            port=0,  # chosen now
            since=now,
            tried=now,
        )
        return self._on_free_ports(server, has_grpc=model.server.grpc)

    def _on_free_ports(self, server: Server, *, has_grpc: bool) -> Server:
        # Two yards of one machine may run the same release, and start it at the same moment.
        whose = f"{server.release} {self._state}"
        port = free_port(whose)
        second = free_port(f"{whose} grpc", but=port) if has_grpc else None
        return replace(server, port=port, grpc_port=second)

    def _servers(self, state: State) -> LocalServers:
        return LocalServers(
            self._state / "cluster" / state.environment / state.model,
            model=state.model,
            payloads=self._state / "payloads" / state.environment / state.model,
            shadow_to=None
            if state.joins is not None
            else endpoints_path(self._state, environment=state.environment, model=state.model),
        )

    def _read_all(self, pattern: str) -> tuple[list[State], list[YardError]]:
        """The states in these files, and why others cannot be read."""
        found: list[State] = []
        errors: list[YardError] = []
        for path in sorted((self._state / "cluster").glob(pattern)):
            try:
                found += filter(None, [read_state(path)])
            except YardError as error:
                errors.append(error)
        return found, errors

    def _read(self, environment: str, model: str) -> State | None:
        return read_state(self._path(environment, model))

    def _write(self, state: State) -> None:
        path = self._path(state.environment, state.model)
        write_state(path, state, write=self._writer(state))

    def _writer(self, state: State) -> Write:
        """How a state is written: one that takes a release out of traffic on a full disk, too."""
        return KeptRoom(self._state).write_whole if state.aborted is not None else write_whole

    def _path(self, environment: str, model: str) -> Path:
        return self._state / "cluster" / environment / f"{model}.json"

    # A file lock: calls come from several processes, and the kernel frees it if one dies.
    @contextmanager
    def _locked(self, production: str, model: str) -> Iterator[None]:
        path = self._state / "cluster" / "locks" / f"{production}.{model}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _addresses(server: Server, model: str) -> Iterator[str]:
    yield f"http://{HOST}:{server.port}/v2/models/{model}/infer"
    if server.grpc_port is not None:
        yield f"gRPC at {HOST}:{server.grpc_port}"


def _endpoint(server: Server, share: float) -> Endpoint:
    url = f"http://{HOST}:{server.port}"
    return Endpoint(url=url, release=server.release, version=server.version, share=share)
