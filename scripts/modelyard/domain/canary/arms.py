"""Counts of one arm that never fall, from counters of servers that restart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from modelyard.domain.canary.traffic import Counts, Sample

Key = tuple[str, str]
"""Kind and name of a counter, such as `("requests", "5xx")`."""

Counters = Mapping[Key, float]

_ABSENT = Counts()

_ASKED, _REFUSED = ("refusals", "asked"), ("refusals", "refused")


@dataclass(frozen=True, kw_only=True)
class Arm:
    """What one release counted since the first sample; no series ever falls.

    Args:
        answered: Requests answered, without those answered 4xx; shape (samples,).
        errors: Requests answered 5xx; shape (samples,).
        predictions: Rows by bin of the grid, shape (samples, bins); no bins if none is known.
        rows: Rows answered until the last sample.
        nulls: How many of these rows had a null, by input column.
        unseen: How many of these rows had an unseen level, by input column.
        pairs: How the rows of one request differ, by measure, shape (samples,); see
            `Counts.pairs`.
        seconds: Time between the first and the last sample that has the release.
        is_fresh: Whether the last sample has the release and is readable.
        refusals: Requests asked, answered or refused, and how many of them were refused; shape
            (2, samples). None if its servers do not count refusals.
        within: Requests answered within a time, by bound, shape (samples,); see `Counts.within`.
        client_errors: Requests answered 4xx; shape (samples,).
        inputs: Rows until the last sample by cell of each input; see `Counts.inputs`.
        segments: Rows by segment and bin, shape (samples,); see `Counts.segments`.
        shadow: Rows by both answers, shape (samples,); see `Counts.shadow`.
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
    refusals: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    within: tuple[Mapping[str, float], ...] = ()
    client_errors: tuple[float, ...] = ()
    inputs: Mapping[str, float] = field(default_factory=dict)
    segments: tuple[Mapping[str, float], ...] = ()
    shadow: tuple[Mapping[str, float], ...] = ()

    @property
    def looks(self) -> int:
        """The number of intervals between samples in which it answered."""
        return sum(now > before for before, now in pairwise((0.0, *self.answered)))


def drop_out_of_order(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """The samples that are later than all samples before them."""
    kept: list[Sample] = []
    for sample in samples:
        if not kept or sample.at > kept[-1].at:
            kept.append(sample)
    return tuple(kept)


def count_arm(samples: Sequence[Sample], release: str, *, is_new: bool) -> Arm:
    """What a release counted since the first sample.

    Args:
        samples: In the order of time.
        release: The release's identity.
        is_new: Whether the release started during the samples. If a sample without it came first,
            everything its counters show counts; otherwise only what is added after the first
            sample that has it.
    """
    readings = [_counters(sample.counts.get(release)) for sample in samples]
    # A release that is in the first sample may have counted before it; that part is not known.
    from_zero = is_new and bool(samples) and release not in samples[0].counts
    totals = _accumulate(
        readings, [sample.counts.get(release, _ABSENT) for sample in samples], from_zero=from_zero
    )
    seen = [s.at for s, reading in zip(samples, readings, strict=True) if reading is not None]
    last = totals[-1] if totals else {}
    return Arm(
        answered=tuple(_answered(total) for total in totals),
        errors=tuple(total.get(("requests", "5xx"), 0.0) for total in totals),
        client_errors=tuple(total.get(("requests", "4xx"), 0.0) for total in totals),
        predictions=_histograms(totals),
        rows=last.get(("rows", ""), 0.0),
        nulls=_by_name(last, "nulls"),
        unseen=_by_name(last, "unseen"),
        inputs=_by_name(last, "inputs"),
        segments=_series(totals, "segments") if _by_name(last, "segments") else (),
        shadow=_series(totals, "shadow") if _by_name(last, "shadow") else (),
        pairs=_series(totals, "pairs"),
        refusals=_refusals(readings, totals),
        within=_series(totals, "within") if _by_name(last, "within") else (),
        seconds=(seen[-1] - seen[0]).total_seconds() if seen else 0.0,
        is_fresh=bool(readings) and readings[-1] is not None,
    )


def with_every_4xx_refused(samples: Sequence[Sample], release: str) -> tuple[Sample, ...]:
    """The samples, as if each 4xx of a release were a refusal; for servers that do not tell.

    That is more than it refused. For stable it only makes a canary look better.
    """
    return tuple(
        replace(sample, counts={**sample.counts, release: _with_4xx_refused(counts)})
        if (counts := sample.counts.get(release)) is not None
        else sample
        for sample in samples
    )


def _with_4xx_refused(counts: Counts) -> Counts:
    return replace(counts, refused=counts.requests.get("4xx"))


def _counters(counts: Counts | None) -> Counters | None:
    """All counters by kind and name; None if one of them is negative or not finite."""
    if counts is None:
        return None
    counters: dict[Key, float] = {("rows", ""): counts.rows}
    counters |= {("requests", code): count for code, count in counts.requests.items()}
    counters |= {("predictions", str(place)): n for place, n in enumerate(counts.predictions)}
    counters |= {("nulls", column): count for column, count in counts.nulls.items()}
    counters |= {("unseen", column): count for column, count in counts.unseen.items()}
    counters |= {("pairs", measure): count for measure, count in counts.pairs.items()}
    counters |= {("within", bound): count for bound, count in counts.within.items()}
    counters |= {("inputs", cell): count for cell, count in counts.inputs.items()}
    counters |= {("segments", name): count for name, count in counts.segments.items()}
    counters |= {("shadow", name): count for name, count in counts.shadow.items()}
    if counts.refused is not None:
        # Together, so that no request counts as asked while refusals were not counted.
        counters[_REFUSED] = counts.refused
        counters[_ASKED] = counts.refused + _answered(counters)
    if all(math.isfinite(count) and count >= 0 for count in counters.values()):
        return counters
    return None


def _accumulate(
    readings: Sequence[Counters | None], counts: Sequence[Counts], *, from_zero: bool
) -> list[dict[Key, float]]:
    """The sum of increments at each sample; an unreadable sample adds nothing.

    A counter falls when a server stops or restarts, unless the new process counted more by then;
    servers that tell their process show that too. Of one server alone, all that it counts then is
    new. Of a sum over servers it is not known how much of it is new, and counting all would count
    other servers twice: such a fall adds nothing.

    Args:
        readings: The counters at each sample.
        counts: What they are of.
        from_zero: Whether all of the first reading is new.
    """
    before: Counters | None = {} if from_zero else None
    last, total = _ABSENT, dict[Key, float]()
    totals = []
    for reading, now in zip(readings, counts, strict=True):
        if reading is not None:
            is_alone = now.servers == last.servers == 1
            is_other = is_alone and bool(last.process) and last.process != now.process
            if before is not None and (is_other or _has_fallen(before, reading)):
                before = {} if is_alone else None
            if before is not None:
                added = {key: count - before.get(key, 0) for key, count in reading.items()}
                total = total | {key: total.get(key, 0.0) + count for key, count in added.items()}
            before, last = reading, now
        totals.append(total)
    return totals


def _has_fallen(before: Counters, reading: Counters) -> bool:
    return any(reading.get(key, 0) < before[key] for key in before)


def _refusals(
    readings: Sequence[Counters | None], totals: Sequence[Counters]
) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    if not any(reading is not None and _REFUSED in reading for reading in readings):
        return None
    asked, refused = (tuple(total.get(key, 0.0) for total in totals) for key in (_ASKED, _REFUSED))
    return asked, refused


def _answered(total: Counters) -> float:
    # A 4xx is the client's error: as an answer it would hide errors, as an error blame the model.
    return sum(
        count for (kind, code), count in total.items() if kind == "requests" and code != "4xx"
    )


def _series(totals: Sequence[Counters], kind: str) -> tuple[dict[str, float], ...]:
    """The counts of one kind by name, at each sample; no name ever goes away."""
    # Found once: there are hundreds of counters, and a day has hundreds of samples.
    keys = [key for key in totals[-1] if key[0] == kind] if totals else []
    return tuple({key[1]: total[key] for key in keys if key in total} for total in totals)


def _by_name(total: Counters, kind: str) -> dict[str, float]:
    return {name: count for (found, name), count in total.items() if found == kind}


def _histograms(totals: Sequence[Counters]) -> tuple[tuple[float, ...], ...]:
    bins = sum(kind == "predictions" for kind, _ in totals[-1]) if totals else 0
    places = [("predictions", str(place)) for place in range(bins)]
    return tuple(tuple(total.get(place, 0.0) for place in places) for total in totals)
