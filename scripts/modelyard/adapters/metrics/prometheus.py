"""The metrics role in a cluster: counts from the raw samples that Prometheus keeps.

The first call for 24 hours (5 s scrapes, 250 series, 4.3 million raw samples) reads them once, in
blocks of ten minutes, which takes about 10 s of one core and 40 MB in all. The sums are kept, so
that each later call reads only the last seconds, in 10 ms.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import TypeAlias

from modelyard.adapters.metrics.prometheus_query import Prometheus, Series
from modelyard.adapters.metrics.series import KINDS, STARTED, count_of, key_of
from modelyard.domain.canary.counters.table import Key
from modelyard.domain.canary.fleet import (
    ServerReading,
    Window,
    advance_window,
    open_window,
    window_samples,
)
from modelyard.domain.canary.traffic import Sample
from modelyard.domain.specs.names import NAME, is_name
from modelyard.errors import Refused
from modelyard.ports import Clock

BLOCK_SECONDS = 600.0
"""How much one query asks for."""

SETTLED_SECONDS = 15.0
"""Prometheus stores a scrape only when it is over, so younger samples may be incomplete."""

MOST_WINDOWS = 64
"""How many windows are cached; the least recently used one is dropped first."""

_Columns: TypeAlias = dict[Key, list[float]]
"""Counts of one server by kind and name, one per scrape."""


class PrometheusMetrics:
    """Counts the raw samples of a model's servers, across their restarts.

    It does not use `increase()`, which extrapolates and misses the first value of a new series.

    Args:
        uri: Prometheus's address.
        clock: What time it is.
    """

    def __init__(self, uri: str, clock: Clock) -> None:
        self._prometheus = Prometheus(uri)
        self._clock = clock
        self._windows: OrderedDict[tuple[str, datetime], Window] = OrderedDict()
        self._lock = threading.Lock()

    def samples(
        self,
        model: str,
        *,
        since: datetime,
        keep: bool = True,  # noqa: ARG002 - Prometheus looks on its own
    ) -> tuple[Sample, ...]:
        """What the servers counted since then, by release; see `domain.canary.fleet`.

        Recent samples are 5 s apart, older ones further. The last one is of now, and holds the
        releases that were scraped recently.

        Raises:
            CannotAnswer: Prometheus is out of reach, or its answer is not understood.
            Refused: The model's name is not one.
        """
        selector, now = _selector(model), self._clock.now().timestamp()
        with self._lock:
            window = self._windows.get((model, since)) or open_window(since)
            # Samples younger than SETTLED_SECONDS count now, and are read again the next time.
            late: list[ServerReading] = []
            for until in _block_ends(window.until, now):
                found = self._readings(selector, window.until, until)
                settled = min(until, now - SETTLED_SECONDS)
                late = [reading for reading in found if reading.at > settled]
                if settled > window.until:
                    done = [reading for reading in found if reading.at <= settled]
                    window = advance_window(window, done, settled, now=now)
                    self._remember((model, since), window)
            return window_samples(advance_window(window, late, now, now=now), now)

    def _readings(self, selector: str, after: float, until: float) -> list[ServerReading]:
        found = self._prometheus.read_raw_samples(selector, after=after, until=until)
        try:
            return [each for each in parse_readings(found) if after < each.at <= until]
        except (AttributeError, TypeError, ValueError) as error:
            raise self._prometheus.no_answer("answered with no samples") from error

    def _remember(self, key: tuple[str, datetime], window: Window) -> None:
        self._windows[key] = window
        self._windows.move_to_end(key)
        while len(self._windows) > MOST_WINDOWS:
            self._windows.popitem(last=False)


def parse_readings(found: Iterable[Series]) -> Iterator[ServerReading]:
    """What each server counted at each scrape; a scrape with an unreadable value is left out."""
    # By server, then by the times of a series' scrapes, which nearly all series of a server share.
    columns: dict[tuple[str, str], dict[tuple[float, ...], _Columns]] = {}
    for series in found:
        labels = dict(series.labels)
        key = key_of(labels.pop("__name__", ""), labels)
        if key is None or "release" not in labels:
            continue
        server = (str(sorted(labels.items())), labels["release"])
        times = tuple(at for at, _ in series.values)
        same = columns.setdefault(server, {}).setdefault(times, {})
        same[key] = [count_of(text) for _, text in series.values]
    for (server_name, release), by_scrapes in columns.items():
        for at, counters in _rows(by_scrapes).items():
            # One bad value would make a counter seem to restart.
            if all(count >= 0 for count in counters.values()):
                started = counters.pop(STARTED, 0.0) or None  # 0 before it is set
                yield ServerReading(
                    at=at,
                    server=server_name,
                    release=release,
                    counters=counters,
                    started=started,
                )


def _rows(by_scrapes: Mapping[tuple[float, ...], _Columns]) -> dict[float, dict[Key, float]]:
    """The columns of one server, by the time of the scrape."""
    rows: dict[float, dict[Key, float]] = {}
    for times, columns in by_scrapes.items():
        keys = tuple(columns)
        for at, counts in zip(times, zip(*columns.values(), strict=True), strict=True):
            rows.setdefault(at, {}).update(zip(keys, counts, strict=True))
    return rows


def _block_ends(start: float, now: float) -> Iterator[float]:
    """The ends of the blocks from `start` to now; none if there is no time between."""
    if start >= now:
        return
    end = start + BLOCK_SECONDS
    while end < now:
        yield end
        end += BLOCK_SECONDS
    yield now


def _selector(model: str) -> str:
    if not is_name(model):
        raise Refused(f"{model!r} is not a name: it must match {NAME.pattern}")
    return f'{{__name__=~"{"|".join(KINDS)}",model="{model}"}}'
