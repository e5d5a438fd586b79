"""The local cluster's state of one model in one environment, and its transitions; pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from modelyard.adapters.cluster.endpoints import hint_of_state
from modelyard.adapters.processes.process_table import Started
from modelyard.adapters.replaced_file import Write, write_if_changed, write_whole
from modelyard.adapters.specs.json_documents import dump_json, parse_json
from modelyard.domain.server_fault import Blame
from modelyard.domain.specs.environment import Environment
from modelyard.domain.specs.model import DEFAULT_QUEUE, STUCK_SECONDS
from modelyard.domain.specs.paths import environment_file
from modelyard.errors import CannotAnswer

FIRST_RETRY_SECONDS = 5.0
"""After this a server that did not come up is started again for the first time."""

LAST_RETRY_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Server:
    """One release's server.

    Args:
        release: Identity of the release.
        version: Its version.
        artifact: Digest of its artifact.
        trusted_types: Types its model file may name.
        formats: Accepted model formats.
        port: Where it listens.
        queue: Requests that may wait while its model is busy.
        workers: Its processes.
        stuck_after: Seconds after which a call of its model is taken for one that never returns.
        since: When this release was first started here.
        tried: When it was started last.
        step: The rollout step it is at; None until it was ready for the first time.
        process: The process that was started last.
        at_once: Whether it becomes stable as soon as it is ready, without steps.
        failures: Starts in a row after which it was not ready.
        served: Whether it was ever ready here.
        fault: What kept its process from being started at all, the last time.
        silent_since: Since when its process runs without being ready; None while it is ready.
        hung: How often in a row it was ended because it ran and was not ready.
        signed_by: Public keys, one of which must have signed its artifact; none for no signature.
        lock: SHA-256 of the lock of its runtime; None for this interpreter, unmeasured.
        shadow: The share of its requests of which a canary answers a copy too.
        grpc_port: Where it listens for gRPC; None for HTTP alone.
    """

    release: str
    version: str
    artifact: str
    trusted_types: tuple[str, ...]
    formats: tuple[str, ...]
    port: int
    since: datetime
    tried: datetime
    step: int | None = None
    process: Started | None = None
    queue: int = DEFAULT_QUEUE
    workers: int = 1
    stuck_after: float = STUCK_SECONDS
    at_once: bool = False
    failures: int = 0
    served: bool = False
    fault: str | None = None
    silent_since: datetime | None = None
    hung: int = 0
    lock: str | None = None
    signed_by: tuple[str, ...] = ()
    shadow: float = 0.0
    grpc_port: int | None = None


@dataclass(frozen=True, kw_only=True)
class Aborted:
    """A release that was taken out of traffic.

    Args:
        release: Its identity.
        reason: Why.
        blame: Whose fault it is, where its server was to say; None if a judge or a person said so.
    """

    release: str
    reason: str
    blame: Blame | None = None


@dataclass(frozen=True, kw_only=True)
class State:
    """One model in one environment.

    Args:
        model: The model's name.
        environment: The environment's name.
        joins: The production it joins, or None where this environment is production itself.
        steps: Shares of the rollout's steps, growing.
        ready_within_seconds: After this a release that is not ready is aborted.
        stable: The release that answers all requests the others do not.
        candidate: The release that will replace it.
        previous: The release the stable one replaced; it does not run.
        aborted: The release that was taken out of traffic last, until another one is synced.
    """

    model: str
    environment: str
    joins: str | None = None
    steps: tuple[float, ...] = ()
    ready_within_seconds: int = 90
    stable: Server | None = None
    candidate: Server | None = None
    previous: Server | None = None
    aborted: Aborted | None = None

    @property
    def production(self) -> str:
        """The environment that owns the traffic."""
        return self.joins or self.environment

    @property
    def servers(self) -> tuple[Server, ...]:
        """The servers that should run."""
        return tuple(server for server in (self.stable, self.candidate) if server)

    @property
    def share(self) -> float:
        """The newest release's part of the requests: of production's where it joins that."""
        newest = self.stable if self.joins is not None else self.candidate
        if newest is not None and newest.step is not None:
            return self.steps[min(newest.step, len(self.steps) - 1)] if self.steps else 1.0
        return 1.0 if self.stable is not None and self.joins is None else 0.0


def apply_policy(state: State | None, *, model: str, environment: Environment) -> State:
    """The state under the environment's present policy; a new one where there is none.

    Raises:
        CannotAnswer: The environment joins production without a step.
    """
    steps = tuple(step.share for step in environment.rollout.steps)
    if environment.joins is not None and not steps:
        raise CannotAnswer(
            f"environment {environment.name} joins {environment.joins}, but its rollout has no step"
            " that says with which share",
            hint=f"add rollout.steps to {environment_file(environment.name)}",
        )
    return replace(
        state or State(model=model, environment=environment.name),
        joins=environment.joins,
        steps=steps,
        ready_within_seconds=environment.rollout.ready_within_seconds,
    )


def apply_keys(state: State, keys: tuple[str, ...]) -> State:
    """The state under the present policy on signatures, which holds for each next start."""
    stable, candidate, previous = (
        replace(each, signed_by=keys) if each else None
        for each in (state.stable, state.candidate, state.previous)
    )
    return replace(state, stable=stable, candidate=candidate, previous=previous)


def add_release(state: State, server: Server) -> State:
    """The state with this release as candidate, unless it is in it already.

    An aborted release stays out until another one is synced.
    """
    if state.aborted is not None:
        if state.aborted.release == server.release:
            return state
        state = replace(state, aborted=None)
    if state.candidate is not None and state.candidate.release == server.release:
        return state
    if state.stable is not None and state.stable.release == server.release:
        return replace(state, candidate=None)
    return replace(state, candidate=server)


def mark_ready(state: State) -> State:
    """The state after the candidate became ready: at its first step, or stable at once."""
    if state.candidate is None or state.candidate.step is not None:
        return state
    came = replace(mark_answer(state.candidate, is_ready=True, now=state.candidate.tried), step=0)
    first = replace(state, candidate=replace(came, served=True, fault=None))
    at_once = state.candidate.at_once or not state.steps
    # With nothing beside it there is no traffic to share; a joined release shares production's.
    at_once = at_once or state.stable is None or state.joins is not None
    return _promote(first) if at_once else first


def mark_dead(state: State, dead: Collection[str], now: datetime) -> State:
    """The state after some releases' processes ended by themselves.

    A candidate or a joined release leaves traffic until it is ready again, within a new deadline.
    Production's stable release keeps its traffic, as no other could answer it.
    """
    is_joined = state.joins is not None and state.candidate is None
    one = state.stable if is_joined else state.candidate
    if one is None or one.step is None or one.release not in dead:
        return state
    restarted = replace(one, step=None, since=now, process=None)
    return replace(state, stable=None if is_joined else state.stable, candidate=restarted)


def mark_answer(server: Server, *, is_ready: bool, now: datetime) -> Server:
    """A server whose process runs, after it was asked whether it is ready."""
    if is_ready:
        return replace(server, silent_since=None, failures=0, hung=0)
    # A clock that was set back starts the silence anew.
    is_known = server.silent_since is not None and server.silent_since <= now
    return server if is_known else replace(server, silent_since=now)


def has_hung(server: Server, silent_seconds: float, most: float) -> bool:
    """Whether it ran for so long without being ready that it must be started again.

    Not a release that was never ready here: that is aborted instead.
    """
    if server.silent_since is None or not (server.served or server.process is None):
        return False
    return silent_seconds > most


def mark_hung(server: Server, now: datetime) -> Server:
    """The server after its process was ended because it hung.

    The first time it is started at once, after that later each time.
    """
    tried = now if server.failures else server.tried
    return replace(server, process=None, silent_since=None, tried=tried, hung=server.hung + 1)


def advance_step(state: State, release: str) -> State:
    """The state one step later; after the last step the candidate is stable.

    Nothing changes unless this release is in the middle of its steps.
    """
    if state.joins is not None:
        return _advance_joined(state, release)
    candidate = state.candidate
    if candidate is None or candidate.release != release or candidate.step is None:
        return state
    if candidate.step + 1 < len(state.steps):
        return replace(state, candidate=replace(candidate, step=candidate.step + 1))
    return _promote(state)


def abort_newest(state: State, reason: str, now: datetime, *, blame: Blame | None = None) -> State:
    """The state without the newest release; the one before it answers all requests.

    If the newest one is stable already, the release before it is started again, and the aborted one
    keeps its traffic until then. A joined release leaves at once, and so does one that has no
    release before it.
    """
    newest = state.candidate or state.stable
    if newest is None or state.aborted is not None:
        return state
    after = replace(state, aborted=Aborted(release=newest.release, reason=reason, blame=blame))
    if state.candidate is not None:
        return replace(after, candidate=None)
    if state.joins is not None or state.previous is None:
        return replace(after, stable=None, previous=None)
    back = replace(state.previous, since=now, tried=now, step=None, process=None, at_once=True)
    return replace(after, candidate=back, previous=None)


def retry_seconds(failures: int) -> float:
    """How long to wait after that many failed starts: twice as long each time, up to a minute."""
    return min(FIRST_RETRY_SECONDS * 2.0 ** max(0, failures - 1), LAST_RETRY_SECONDS)


def split_traffic(
    production: State | None, joined: Iterable[State]
) -> tuple[tuple[Server, float], ...]:
    """Each server's part of the requests: joined ones take their share, production the rest.

    Joined ones answer all requests while production has no server in traffic.
    """
    parts = [(each.stable, each.share) for each in joined if each.stable and each.share > 0]
    rest = 1.0 - sum(share for _, share in parts)
    if production is not None and production.stable is not None:
        candidate = production.candidate
        newest = production.share if candidate and candidate.step is not None else 0.0
        parts.append((production.stable, rest * (1.0 - newest)))
        if candidate is not None:
            parts.append((candidate, rest * newest))
    # Without a server of production the shares add up to less than 1.
    whole = sum(share for _, share in parts)
    return tuple((server, share / whole) for server, share in parts if share > 0)


def read_state(path: Path) -> State | None:
    """The state in a file, or None when there is no such file.

    Raises:
        CannotAnswer: The file is not of the form this version writes.
    """
    try:
        return parse_json(path.read_bytes(), State, str(path), hint=hint_of_state(path))
    except FileNotFoundError:
        return None


def write_state(path: Path, state: State, *, write: Write = write_whole) -> None:
    """Replace the state in one step, if it is another one."""
    write_if_changed(path, dump_json(state, State), write)


def _promote(state: State) -> State:
    previous = state.stable if state.aborted is None else None
    return replace(state, stable=state.candidate, candidate=None, previous=previous)


def _advance_joined(state: State, release: str) -> State:
    server = state.stable
    if server is None or server.release != release or server.step is None:
        return state
    step = min(server.step + 1, len(state.steps) - 1)
    return replace(state, stable=replace(server, step=step))
