"""Counters of servers that restart, as counts of one arm that only grow."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from modelyard.domain.canary.traffic import Counts, Sample

Key = tuple[str, str]
Counters = Mapping[Key, float]


@dataclass(frozen=True, kw_only=True)
class Arm:
    """What one release did from the first sample on; each series is by sample and never falls.

    Args:
        answered: Requests answered, but for 4xx.
        errors: Those answered 5xx.
        predictions: Rows by bin of the grid, shape (samples, bins); no bins when none is known.
        rows: Rows answered until the last sample.
        nulls: Of these, null by input column.
        unseen: Of these, of an unseen level by input column.
        pairs: How the rows of one request differed, by measure, shape (samples,); see
            `Counts.pairs`.
        seconds: From the first to the last sample the release was seen in.
        is_fresh: Whether the last sample could be read and has the release.
    """

    answered: tuple[float, ...]
    errors: tuple[float, ...]
    predictions: tuple[tuple[float, ...], ...]
    rows: float
    nulls: Mapping[str, float]
    unseen: Mapping[str, float]
    pairs: tuple[Mapping[str, float], ...]
    seconds: float
    is_fresh: bool


def drop_out_of_order(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """The samples without those that are not later than all before them."""
    kept: list[Sample] = []
    for sample in samples:
        if not kept or sample.at > kept[-1].at:
            kept.append(sample)
    return tuple(kept)


def count_arm(samples: Sequence[Sample], release: str, *, is_new: bool) -> Arm:
    """What a release did from the first sample on.

    Args:
        samples: At growing times.
        release: Its identity.
        is_new: Whether it began during the samples: what it counted before it was first seen
            belongs to it, if a sample without it came before. An old one is counted from when it
            is first seen.
    """
    readings = [_reading(sample.counts.get(release)) for sample in samples]
    totals = _accumulate(
        readings, is_new=is_new and bool(samples) and release not in samples[0].counts
    )
    seen = [
        sample.at for sample, reading in zip(samples, readings, strict=True) if reading is not None
    ]
    last = totals[-1] if totals else {}
    return Arm(
        answered=tuple(_sum(total, "requests", but="4xx") for total in totals),
        errors=tuple(total.get(("requests", "5xx"), 0.0) for total in totals),
        predictions=_histograms(totals),
        rows=last.get(("rows", ""), 0.0),
        nulls=_by_name(last, "nulls"),
        unseen=_by_name(last, "unseen"),
        pairs=tuple(_by_name(total, "pairs") for total in totals),
        seconds=(seen[-1] - seen[0]).total_seconds() if seen else 0.0,
        is_fresh=bool(readings) and readings[-1] is not None,
    )


def _reading(counts: Counts | None) -> Counters | None:
    """All counters by kind and name; None where one of them is not a count."""
    if counts is None:
        return None
    counters: dict[Key, float] = {("rows", ""): counts.rows}
    counters |= {("requests", code): count for code, count in counts.requests.items()}
    counters |= {("predictions", str(place)): n for place, n in enumerate(counts.predictions)}
    counters |= {("nulls", column): count for column, count in counts.nulls.items()}
    counters |= {("unseen", column): count for column, count in counts.unseen.items()}
    counters |= {("pairs", measure): count for measure, count in counts.pairs.items()}
    if all(math.isfinite(count) and count >= 0 for count in counters.values()):
        return counters
    return None


def _accumulate(readings: Sequence[Counters | None], *, is_new: bool) -> list[dict[Key, float]]:
    """Sums of increments, by sample. Nothing is added by an unreadable sample or after a fall.

    A fall means that of the servers summed over some went or started again, so how much of the
    lower number is new cannot be known; taking all of it would count the others twice.
    """
    before: Counters | None = {} if is_new else None
    total: dict[Key, float] = {}
    totals = []
    for reading in readings:
        if reading is not None:
            if before is not None and all(reading.get(key, 0) >= before[key] for key in before):
                added = {key: count - before.get(key, 0) for key, count in reading.items()}
                total = total | {key: total.get(key, 0.0) + count for key, count in added.items()}
            before = reading
        totals.append(total)
    return totals


def _sum(total: Counters, kind: str, *, but: str) -> float:
    return sum(count for (found, name), count in total.items() if found == kind and name != but)


def _by_name(total: Counters, kind: str) -> dict[str, float]:
    return {name: count for (found, name), count in total.items() if found == kind}


def _histograms(totals: Sequence[Counters]) -> tuple[tuple[float, ...], ...]:
    bins = sum(kind == "predictions" for kind, _ in totals[-1]) if totals else 0
    places = [("predictions", str(place)) for place in range(bins)]
    return tuple(tuple(total.get(place, 0.0) for place in places) for total in totals)
