"""The metrics role on one machine: scrapes every local server, and keeps the samples."""

from __future__ import annotations

import fcntl
import http.client
import json
import logging
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from modelyard.adapters.cluster.endpoints import Endpoint, read_endpoints
from modelyard.adapters.metrics.series import KINDS, STARTED, count_of, key_of
from modelyard.adapters.replaced_file import write_whole
from modelyard.domain.canary.counters.table import Key
from modelyard.domain.canary.fleet import REQUIRED_COUNTERS, counts_of
from modelyard.domain.canary.traffic import Counts, Sample
from modelyard.domain.specs.repository import Repository
from modelyard.errors import CannotAnswer
from modelyard.ports import Clock

MAX_BYTES = 4 * 2**20
"""When the file of samples is longer, every second sample of its older half is dropped."""

# A server on loopback answers in milliseconds, or it hangs.
_SECONDS, _PIECE = 2.0, 2**16

MOST_OF_A_PAGE = 32 * 2**20
"""A longer page is not read to its end: thousands of cells and pairs are a few megabytes."""

logger = logging.getLogger(__name__)


class ScrapeMetrics:
    """Reads `/metrics` of the model's servers on this machine.

    Args:
        root: The checkout's root.
        repository: Where the state is.
        clock: What time it is.
    """

    def __init__(self, root: Path, repository: Repository, clock: Clock) -> None:
        self._state = root.absolute() / repository.state
        self._clock = clock
        self._unwritten: dict[str, list[bytes]] = {}

    def samples(self, model: str, *, since: datetime, keep: bool = True) -> tuple[Sample, ...]:
        """Scrape every server that takes traffic now; returns all samples since then.

        Without `keep` nothing is written: who only reads adds no look.

        A server that does not answer is absent from the sample, and without any answer there is no
        sample: missing data is never zero. A release with a page that cannot be read is absent too.

        Raises:
            CannotAnswer: The page of each release cannot be read.
        """
        counts = self._scrape(model)
        path = self._state / "cluster" / "samples" / f"{model}.jsonl"
        # The judge and a person's `modelyard judge` may scrape at the same time.
        with _locked(path.with_suffix(".lock")):
            text = path.read_bytes() if path.exists() else b""
            taken = {line: _sample(line) for line in text.splitlines() if line}
            taken = self._without_future(path, taken, keep=keep)
            # A write may have failed after the first of them.
            new = [line for line in self._unwritten.get(model, ()) if line not in taken]
            if counts:
                new.append(_line(Sample(at=self._clock.now(), counts=counts)))
                if keep:
                    self._keep(model, path, list(taken), new)
            taken |= {line: _sample(line) for line in new}
        found = (sample for sample in taken.values() if sample is not None)
        return tuple(sorted((s for s in found if s.at >= since), key=lambda sample: sample.at))

    def _without_future(
        self, path: Path, taken: dict[bytes, Sample | None], *, keep: bool
    ) -> dict[bytes, Sample | None]:
        """The samples without those that a clock left which was set back since.

        Once their time comes they would be between samples of later, whose counts are higher.
        """
        now = self._clock.now()
        kept = {line: each for line, each in taken.items() if each is None or each.at <= now}
        if keep and len(kept) < len(taken):
            with suppress(OSError):  # then they are left out in each look
                write_whole(path, b"".join(line + b"\n" for line in kept))
        return kept

    def _keep(self, model: str, path: Path, lines: list[bytes], new: list[bytes]) -> None:
        """Append new lines; what a full disk does not take is kept here until it does."""
        try:
            _append(path, lines, new)
        except OSError as error:
            if model not in self._unwritten:
                logger.warning("%s: %s; what it lacks is judged all the same", path, error.strerror)
            self._unwritten[model] = _thinned(new)
        else:
            self._unwritten.pop(model, None)

    def _scrape(self, model: str) -> dict[str, Counts]:
        tallies, faults = dict[str, _Tally](), dict[str, str]()
        for endpoint in self._endpoints(model):
            try:
                if (text := _fetch(endpoint.url)) is not None:
                    counters = _read_page(text, model, endpoint.release)
                    tallies.setdefault(endpoint.release, _Tally()).add(counters)
            except ValueError as error:
                faults[endpoint.release] = f"{endpoint.url}/metrics cannot be read: {error}"
                logger.warning(faults[endpoint.release])
        # Part of a release is not the release: what broke one page may be what is wrong with it.
        found = {name: each.counts() for name, each in tallies.items() if name not in faults}
        if faults and not found:
            page, _, _ = (said := next(iter(faults.values()))).partition(" ")
            raise CannotAnswer(said, hint=f"curl {page}")
        return found

    def _endpoints(self, model: str) -> list[Endpoint]:
        paths = sorted((self._state / "cluster" / "endpoints").glob(f"*/{model}.json"))
        listed = [
            read_endpoints(self._state, environment=path.parent.name, model=model) for path in paths
        ]
        return [endpoint for endpoints in listed for endpoint in endpoints]


@dataclass
class _Tally:
    """The counters of a release's servers, being added up."""

    counters: dict[Key, float] = field(default_factory=lambda: defaultdict(float))
    started: list[float] = field(default_factory=list)

    def add(self, counters: dict[Key, float]) -> None:
        """Add those of one server."""
        self.started.append(counters.pop(STARTED, 0.0))  # 0 of a server that does not say it
        for key, count in counters.items():
            self.counters[key] += count

    def counts(self) -> Counts:
        """The sums."""
        counts, is_alone = counts_of(self.counters, {}), len(self.started) == 1
        return replace(
            counts,
            lost={why: count for why, count in counts.lost.items() if count},
            servers=len(self.started),
            process=f"{self.started[0]:.6f}" if is_alone and self.started[0] else "",
        )


def _read_page(text: str, model: str, release: str) -> dict[Key, float]:
    """The counters on a page.

    Raises:
        ValueError: The page is not one of a server of this model and release.
    """
    counters: dict[Key, float] = {}
    for name, labels, value in _samples(text):
        if name not in KINDS or labels.get("model") != model:
            continue
        key = key_of(name, dict(labels))
        # A page that counts for another release would change what its servers counted.
        if key is None or labels.get("release") != release:
            raise ValueError(f"{name} has the labels {labels}")
        if key in counters:
            raise ValueError(f"{name} is there twice with the labels {labels}")
        if (count := count_of(value)) < 0:
            raise ValueError(f"{name} is {value:g}, which is no count")
        counters[key] = count
    missing = [key for key in REQUIRED_COUNTERS if key not in counters]
    if missing:
        lacking = " of ".join(filter(None, reversed(missing[0]))) if counters else "anything"
        raise ValueError(f"it does not count {lacking} of {model}")
    return counters


def _samples(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """The name, the labels and the value of each series on a page."""
    from prometheus_client.parser import text_string_to_metric_families

    try:
        for family in text_string_to_metric_families(text):
            for name, labels, value, *_ in family.samples:
                yield name, labels, value
    except IndexError as error:  # the parser looks beyond the end of some lines
        raise ValueError("it has a line that is no series") from error


def _fetch(url: str) -> str | None:
    """The page of a server; None if it does not answer.

    Raises:
        ValueError: What it answers has no end, or is no text.
    """
    address, deadline = urlsplit(url), time.monotonic() + _SECONDS
    connection = http.client.HTTPConnection(address.netloc, timeout=_SECONDS)
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        text = bytearray()
        while piece := answer.read1(_PIECE):
            text += piece
            if len(text) > MOST_OF_A_PAGE:
                raise ValueError(f"it is longer than {MOST_OF_A_PAGE >> 20} MB")
            if time.monotonic() > deadline:
                return None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return text.decode() if answer.status == http.client.OK else None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Alone with the file of samples; without a lock where a full disk has no room for one."""
    with ExitStack() as stack:
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            fcntl.flock(stack.enter_context(path.open("ab")), fcntl.LOCK_EX)
        yield


def _append(path: Path, lines: list[bytes], new: list[bytes]) -> None:
    """Append new lines, after a newline that ends a line that was cut short."""
    every = [*lines, *new]
    if len(thinned := _thinned(every)) < len(every):
        write_whole(path, b"".join(line + b"\n" for line in thinned))
        return
    with path.open("ab") as file:
        file.write(b"".join(b"\n" + line + b"\n" for line in new))


def _thinned(lines: list[bytes]) -> list[bytes]:
    """The lines; without every second one of the older half where they are too long."""
    if sum(map(len, lines)) <= MAX_BYTES:
        return lines
    # The older half alone: the judge needs recent samples close together.
    half = len(lines) // 2
    return [*lines[:half:2], *lines[half:]]


def _line(sample: Sample) -> bytes:
    counts = {release: asdict(counted) for release, counted in sample.counts.items()}
    document = {"at": sample.at.isoformat(), "counts": counts}
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _sample(line: bytes) -> Sample | None:
    """The sample of one line; None for one that a full disk or a kill cut short."""
    try:
        document = json.loads(line)
        counts = {release: _counts(each) for release, each in document["counts"].items()}
        return Sample(at=datetime.fromisoformat(document["at"]), counts=counts)
    except (ValueError, KeyError, TypeError):
        return None


def _counts(document: Mapping[str, Any]) -> Counts:
    # Lines of version 0.1 do not have the number of servers.
    known = {"servers": 0, **document}
    return Counts(**{**known, "predictions": tuple(document["predictions"])})
