"""Counters of many servers, read at different times, as counts of releases at common times."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from modelyard.domain.canary.counters.table import Counters, Key
from modelyard.domain.canary.traffic import Counts, Sample

STEP_SECONDS = 5
"""Time between two recent samples."""

FRESH_SECONDS = 15.0
"""A server without a reading for this long, three scrapes, is gone."""

EARLIER_SECONDS = 300.0
"""A server with a reading in this time before the window existed before the window."""

STEPS_KEPT = 48
"""A sample older than this many steps is kept only if it is also on a grid of doubled steps."""

REQUIRED_COUNTERS: tuple[Key, ...] = (("rows", ""), ("requests", "2xx"), ("requests", "5xx"))
"""Every server exports these; a reading without one of them is incomplete and left out."""


@dataclass(frozen=True, kw_only=True)
class ServerReading:
    """The counters of one server at one time.

    Args:
        at: The time, in seconds since the epoch.
        server: Names the server and what it runs.
        release: The release it runs.
        counters: Its cumulative counts, by kind and name.
        started: When its process started, in seconds since the epoch; None if it does not say.
    """

    at: float
    server: str
    release: str
    counters: Counters
    started: float | None = None


@dataclass(frozen=True, kw_only=True)
class _Server:
    """One server: the counts of its earlier processes, and the last ones of its current process."""

    release: str
    at: float
    last: Counters
    earlier: Counters = field(default_factory=dict)
    started: float | None = None


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """All servers of a model, as of the last reading.

    Args:
        servers: By name. A server that is gone stays here, so that no sum falls.
    """

    servers: Mapping[str, _Server] = field(default_factory=dict)

    def sum_by_release(self) -> dict[str, dict[Key, float]]:
        """The counts of each release, over all its servers and their restarts."""
        sums: dict[str, dict[Key, float]] = {}
        for server in self.servers.values():
            total = sums.setdefault(server.release, {})
            for part in (server.earlier, server.last):
                for key, count in part.items():
                    total[key] = total.get(key, 0.0) + count
        return sums

    def fresh_releases(self, at: float) -> set[str]:
        """The releases with a server that had a recent reading."""
        return {each.release for each in self.servers.values() if each.at > at - FRESH_SECONDS}


@dataclass(frozen=True, kw_only=True)
class Window:
    """A model's counts since some time.

    Args:
        since: The time, in seconds since the epoch.
        until: Readings until this time are included.
        fleet: The servers.
        opening: The time of the first sample, once known. A server read by then is counted from
            the opening on. A server first read later started later, so all it counted is included.
        before: The counts of each release at the opening.
        samples: The samples since the opening, oldest first.
    """

    since: float
    until: float
    fleet: Fleet = field(default_factory=Fleet)
    opening: float | None = None
    before: Mapping[str, Counters] = field(default_factory=dict)
    samples: tuple[Sample, ...] = ()


def open_window(since: datetime) -> Window:
    """An empty window, which asks for readings early enough to know the servers that exist."""
    moment = since.timestamp()
    return Window(since=moment, until=moment - EARLIER_SECONDS)


def advance_window(
    window: Window, readings: Iterable[ServerReading], until: float, *, now: float
) -> Window:
    """The window with later readings added.

    The result is the same however readings are split into pieces and ordered within a piece, as
    long as each piece has all readings up to its `until`.

    Args:
        window: The window so far.
        readings: Readings after `window.until` and up to `until`.
        until: The end of this piece.
        now: The current time, which gives the age of a sample.
    """
    # Sorted here, so that a caller may read servers in any order, or in parallel.
    waiting = sorted(
        (reading for reading in readings if _is_complete(reading)),
        key=lambda reading: (reading.at, reading.server),
    )
    opening = window.opening
    if opening is None:
        opening = _opening(window, waiting)
    fleet, before, samples, at = window.fleet, window.before, list(window.samples), 0
    for moment in _sample_times(window, opening, until, now):
        rest = at
        while rest < len(waiting) and waiting[rest].at <= moment:
            rest += 1
        fleet, at = _apply_readings(fleet, waiting[at:rest]), rest
        if not samples:
            before = fleet.sum_by_release()
        samples.append(_sample(fleet, before, moment))
    return Window(
        since=window.since,
        until=until,
        fleet=_apply_readings(fleet, waiting[at:]),
        opening=opening,
        before=before,
        samples=_thin_out(samples, now),
    )


def window_samples(window: Window, now: float) -> tuple[Sample, ...]:
    """The samples, with a last one taken now; none before the opening."""
    if window.opening is None or window.opening > now:
        return ()
    last = _sample(window.fleet, window.before, now)
    return (*(sample for sample in window.samples if sample.at < last.at), last)


def _opening(window: Window, readings: Sequence[ServerReading]) -> float | None:
    """The time of the first sample: `since` if a server exists by then, else after a first scrape.

    One step after the first reading, every server that existed at that time has been read.
    """
    times = [server.at for server in window.fleet.servers.values()]
    times += [reading.at for reading in readings]
    if any(window.since - FRESH_SECONDS < at <= window.since for at in times):
        return window.since
    later = [at for at in times if at > window.since]
    return min(later) + STEP_SECONDS if later else None


def _sample_times(window: Window, opening: float | None, end: float, now: float) -> Iterator[float]:
    """The times of samples after the window and until `end`; the first of all is the opening."""
    if opening is None or opening > end:
        return
    if not window.samples:
        yield opening
    moment = math.floor(max(opening, window.until) / STEP_SECONDS + 1) * STEP_SECONDS
    while moment <= end:
        if _is_kept(moment, now):
            yield float(moment)
        moment += STEP_SECONDS


def _is_kept(moment: float, now: float) -> bool:
    """Whether a sample of this age is kept."""
    # Steps double with age. A time on a wide grid is on every narrower one too, so which samples
    # are left does not depend on when they were thinned out.
    step = STEP_SECONDS
    while now - moment > STEPS_KEPT * step:
        step *= 2
    return moment % step == 0


def _thin_out(samples: Sequence[Sample], now: float) -> tuple[Sample, ...]:
    return (*samples[:1], *(s for s in samples[1:] if _is_kept(s.at.timestamp(), now)))


def _apply_readings(fleet: Fleet, readings: Sequence[ServerReading]) -> Fleet:
    """The fleet after readings, which are in the order of time."""
    servers = dict(fleet.servers)
    for reading in readings:
        known = servers.get(reading.server)
        servers[reading.server] = _updated_server(known, reading)
    return Fleet(servers=servers)


def _is_complete(reading: ServerReading) -> bool:
    return all(key in reading.counters for key in REQUIRED_COUNTERS)


def _updated_server(server: _Server | None, reading: ServerReading) -> _Server:
    """The server after a reading, or unchanged if the reading is old or lacks counters."""
    counters = reading.counters
    if server is None:
        return _Server(
            release=reading.release, at=reading.at, last=counters, started=reading.started
        )
    last = server.last
    if reading.at <= server.at:
        return server
    # A counter that fell means a new process, and so does another start. All its counters began
    # at zero, also those that are above their old value already.
    started = server.started if reading.started is None else reading.started
    is_other = server.started is not None and started != server.started
    if is_other or any(count < last.get(key, 0.0) for key, count in counters.items()):
        keys = {**server.earlier, **last}
        earlier = {key: server.earlier.get(key, 0.0) + last.get(key, 0.0) for key in keys}
        return replace(server, at=reading.at, last=counters, earlier=earlier, started=started)
    if last.keys() - counters.keys():
        return server
    return replace(server, at=reading.at, last=counters, started=started)


def _sample(fleet: Fleet, before: Mapping[str, Counters], at: float) -> Sample:
    seen = fleet.fresh_releases(at)
    counts = {
        release: counts_of(total, before.get(release, {}))
        for release, total in sorted(fleet.sum_by_release().items())
        if release in seen
    }
    return Sample(at=datetime.fromtimestamp(at, UTC), counts=counts)


def counts_of(total: Counters, before: Counters) -> Counts:
    """Counters by kind and name as counts, less what they were before."""
    by_kind: dict[str, dict[str, int]] = defaultdict(dict)
    for (kind, name), count in sorted(total.items()):
        by_kind[kind][name] = int(count - before.get((kind, name), 0.0))
    bins = {int(place): count for place, count in by_kind["predictions"].items()}
    return Counts(
        requests=by_kind["requests"],
        rows=by_kind["rows"].get("", 0),
        predictions=tuple(bins.get(place, 0) for place in range(max(bins, default=-1) + 1)),
        nulls=by_kind["nulls"],
        unseen=by_kind["unseen"],
        pairs=by_kind["pairs"],
        refused=by_kind["refused"].get(""),
        within=by_kind["within"],
        inputs=by_kind["inputs"],
        segments=by_kind["segments"],
        shadow=by_kind["shadow"],
        lost=by_kind["lost"],
        servers=0,
    )
