"""The metrics role on one machine: scrapes every local server, and keeps the samples."""

from __future__ import annotations

import fcntl
import http.client
import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from modelyard.adapters.cluster.endpoints import Endpoint, read_endpoints
from modelyard.adapters.replaced_file import write_whole
from modelyard.domain.canary.latency import bound_name
from modelyard.domain.canary.traffic import Counts, Sample
from modelyard.domain.specs.repository import Repository
from modelyard.ports import Clock

MAX_BYTES = 4 * 2**20
"""When the file of samples is longer, every second sample of its older half is dropped."""

_LABELLED = {
    "modelyard_requests_total": ("requests", "code_class"),
    "modelyard_input_nulls_total": ("nulls", "column"),
    "modelyard_input_unseen_total": ("unseen", "column"),
    "modelyard_request_row_pairs_total": ("pairs", "measure"),
    "modelyard_input_cells_total": ("inputs", "cell"),
    "modelyard_segment_predictions_total": ("segments", "cell"),
    "modelyard_shadow_rows_total": ("shadow", "pair"),
    "modelyard_shadow_lost_total": ("lost", "why"),
}

# A server on loopback answers in milliseconds, or it hangs.
_SECONDS = 2.0


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

    def samples(self, model: str, *, since: datetime, keep: bool = True) -> tuple[Sample, ...]:
        """Scrape every server that takes traffic now; returns all samples since then.

        Without `keep` the sample of now is not written: who only reads adds no look.

        A server that does not answer is absent from the sample, and without any answer there is no
        sample: missing data is never zero.
        """
        counts = self._scrape(model)
        path = self._state / "cluster" / "samples" / f"{model}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        # The judge and a person's `modelyard judge` may scrape at the same time.
        with path.with_suffix(".lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            text = path.read_bytes() if path.exists() else b""
            lines = [line for line in text.splitlines() if line]
            if counts:
                lines.append(_line(Sample(at=self._clock.now(), counts=counts)))
                if keep:
                    _append(path, lines)
        known = (sample for line in lines if (sample := _sample(line)) is not None)
        return tuple(sorted((s for s in known if s.at >= since), key=lambda sample: sample.at))

    def _scrape(self, model: str) -> dict[str, Counts]:
        tallies: dict[str, _Tally] = defaultdict(_Tally)
        for endpoint in self._endpoints(model):
            if (text := _fetch(endpoint.url)) is not None:
                _add(text, model, tallies)
        return {release: tally.counts() for release, tally in tallies.items()}

    def _endpoints(self, model: str) -> list[Endpoint]:
        paths = sorted((self._state / "cluster" / "endpoints").glob(f"*/{model}.json"))
        listed = [
            read_endpoints(self._state, environment=path.parent.name, model=model) for path in paths
        ]
        return [endpoint for endpoints in listed for endpoint in endpoints]


@dataclass
class _Tally:
    """Counts being added up."""

    requests: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    rows: int = 0
    predictions: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    nulls: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    unseen: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    pairs: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    refused: int | None = None
    within: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    inputs: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    segments: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    shadow: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    lost: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    servers: int = 0
    started: list[float] = field(default_factory=list)

    def add(self, name: str, labels: Mapping[str, str], value: int) -> None:
        """Add one sample of the exposition; other metrics are left out."""
        if name in _LABELLED:
            kind, label = _LABELLED[name]
            getattr(self, kind)[labels[label]] += value
        elif name == "modelyard_rows_total":
            self.rows += value
        elif name == "modelyard_predictions_total":
            self.predictions[int(labels["bin"])] += value
        elif name == "modelyard_requests_refused_total":
            self.refused = (self.refused or 0) + value
        elif name == "modelyard_request_seconds_bucket":
            self.within[bound_name(float(labels["le"]))] += value

    def counts(self) -> Counts:
        """The sums."""
        bins = max(self.predictions, default=-1) + 1
        return Counts(
            requests=dict(self.requests),
            rows=self.rows,
            predictions=tuple(self.predictions.get(at, 0) for at in range(bins)),
            nulls=dict(self.nulls),
            unseen=dict(self.unseen),
            pairs=dict(self.pairs),
            refused=self.refused,
            within=dict(self.within),
            inputs=dict(self.inputs),
            segments=dict(self.segments),
            shadow=dict(self.shadow),
            lost={why: count for why, count in self.lost.items() if count},
            servers=self.servers,
            process=" ".join(f"{at:.6f}" for at in self.started) if self.servers == 1 else "",
        )


def _add(text: str, model: str, tallies: dict[str, _Tally]) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    releases = set()
    for family in text_string_to_metric_families(text):
        if not family.name.startswith("modelyard_"):
            continue
        for name, labels, value, *_ in family.samples:
            if labels.get("model") == model:
                tally = tallies[labels["release"]]
                if name == "modelyard_start_time_seconds":
                    tally.started.append(value)
                tally.add(name, labels, int(value))
                releases.add(labels["release"])
    for release in releases:
        tallies[release].servers += 1


def _fetch(url: str) -> str | None:
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.netloc, timeout=_SECONDS)
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        text = answer.read().decode()
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    return text if answer.status == http.client.OK else None


def _append(path: Path, lines: list[bytes]) -> None:
    """Append the last line, after a newline that ends a line that was cut short."""
    if sum(map(len, lines)) > MAX_BYTES:
        # The older half alone: the judge needs recent samples close together.
        half = len(lines) // 2
        lines[:half] = lines[:half:2]
        write_whole(path, b"".join(line + b"\n" for line in lines))
        return
    with path.open("ab") as file:
        file.write(b"\n" + lines[-1] + b"\n")


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
