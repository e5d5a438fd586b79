"""What the local cluster remembers of one model in one environment, and what follows from it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from modelyard.adapters.cluster.endpoints import write_whole
from modelyard.adapters.processes.process_table import Started
from modelyard.adapters.specs.json_documents import dump_json, parse_json


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
        since: When this release was first started here.
        tried: When it was started last.
        step: The rollout step it is at; None until it was ready for the first time.
        process: The process that was started last.
        at_once: Whether it takes over as soon as it is ready, whatever the steps.
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
    at_once: bool = False


@dataclass(frozen=True, kw_only=True)
class Aborted:
    """A release that was taken out of traffic."""

    release: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class State:
    """One model in one environment.

    Args:
        model: The model's name.
        environment: The environment's name.
        joins: The environment whose traffic it shares, or None when it owns its own.
        steps: Shares of the rollout's steps, growing.
        ready_within_seconds: When a release that is not ready is given up.
        stable: The release that answers everything nobody else is given.
        candidate: The release that is to replace it.
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
    def owner(self) -> str:
        """The environment whose traffic this is."""
        return self.joins or self.environment

    @property
    def servers(self) -> tuple[Server, ...]:
        """The servers that should run."""
        return tuple(server for server in (self.stable, self.candidate) if server)

    @property
    def share(self) -> float:
        """Part of the environment's requests the newest release in traffic is given.

        Where the environment joins another: part of that one's requests.
        """
        newest = self.stable if self.joins is not None else self.candidate
        if newest is not None and newest.step is not None:
            return self.steps[min(newest.step, len(self.steps) - 1)] if self.steps else 1.0
        return 1.0 if self.stable is not None and self.joins is None else 0.0


def synced(state: State, server: Server) -> State:
    """The state in which this release is on its way, or here already.

    A release that was aborted stays out until another one is synced.
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


def arrived(state: State) -> State:
    """The state once the candidate is ready for the first time: at its first step, or in charge."""
    if state.candidate is None or state.candidate.step is not None:
        return state
    first = replace(state, candidate=replace(state.candidate, step=0))
    at_once = state.candidate.at_once or not state.steps
    at_once = at_once or state.stable is None or state.joins is not None
    return _in_charge(first) if at_once else first


def fallen(state: State, dead: Collection[str], now: datetime) -> State:
    """The state once some releases' processes ended by themselves.

    A candidate or a guest leaves traffic until it is ready again, and has its time for that anew;
    an owner's stable release keeps its place, as nobody else could answer.
    """
    is_guest = state.joins is not None and state.candidate is None
    one = state.stable if is_guest else state.candidate
    if one is None or one.step is None or one.release not in dead:
        return state
    again = replace(one, step=None, since=now, process=None)
    return replace(state, stable=None if is_guest else state.stable, candidate=again)


def advanced(state: State, release: str) -> State:
    """The state one step on; after the last step the candidate is the stable one.

    Anything but the release that is in the middle of its steps stays where it is.
    """
    if state.joins is not None:
        return _advanced_guest(state, release)
    candidate = state.candidate
    if candidate is None or candidate.release != release or candidate.step is None:
        return state
    if candidate.step + 1 < len(state.steps):
        return replace(state, candidate=replace(candidate, step=candidate.step + 1))
    return _in_charge(state)


def aborted(state: State, reason: str, now: datetime) -> State:
    """The state without the newest release; the one before it answers everything.

    Where the newest one is the stable one already, the release before it is started again, and the
    aborted one stays in traffic until that one is ready. A guest leaves at once, and so does a
    release that has none before it.
    """
    newest = state.candidate or state.stable
    if newest is None or state.aborted is not None:
        return state
    told = replace(state, aborted=Aborted(release=newest.release, reason=reason))
    if state.candidate is not None:
        return replace(told, candidate=None)
    if state.joins is not None or state.previous is None:
        return replace(told, stable=None, previous=None)
    back = replace(state.previous, since=now, tried=now, step=None, process=None, at_once=True)
    return replace(told, candidate=back, previous=None)


def traffic(owner: State | None, guests: Iterable[State]) -> tuple[tuple[Server, float], ...]:
    """Who answers which part of the requests: guests their share, the owner the rest.

    Guests answer everything where the owner has nothing that answers yet.
    """
    parts = [(guest.stable, guest.share) for guest in guests if guest.stable and guest.share > 0]
    rest = 1.0 - sum(share for _, share in parts)
    if owner is not None and owner.stable is not None:
        newest = owner.share if owner.candidate and owner.candidate.step is not None else 0.0
        parts.append((owner.stable, rest * (1.0 - newest)))
        if owner.candidate is not None:
            parts.append((owner.candidate, rest * newest))
    whole = sum(share for _, share in parts)
    return tuple((server, share / whole) for server, share in parts if share > 0)


def read_state(path: Path) -> State | None:
    """The state a file holds, or None when there is no such file.

    Raises:
        CannotAnswer: The file is not of the form this version writes.
    """
    try:
        return parse_json(path.read_bytes(), State, str(path))
    except FileNotFoundError:
        return None


def write_state(path: Path, state: State) -> None:
    """Make this the state, in one step."""
    write_whole(path, dump_json(state, State))


def _in_charge(state: State) -> State:
    previous = state.stable if state.aborted is None else None
    return replace(state, stable=state.candidate, candidate=None, previous=previous)


def _advanced_guest(state: State, release: str) -> State:
    guest = state.stable
    if guest is None or guest.release != release or guest.step is None:
        return state
    step = min(guest.step + 1, len(state.steps) - 1)
    return replace(state, stable=replace(guest, step=step))
