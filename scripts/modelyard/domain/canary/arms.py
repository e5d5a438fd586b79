"""Counts of one arm that never fall, from counters of servers that restart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from modelyard.domain.canary.counters.table import (
    ASKED,
    CLIENT_ERROR,
    REFUSED,
    CounterTable,
    CountSeries,
    read_counters,
)
from modelyard.domain.canary.traffic import Counts, Sample

Histograms = Sequence[Sequence[float]] | NDArray[np.float64]
"""Rows by bin at each sample, shape (samples, bins)."""

_ABSENT = Counts()


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
        segments: Rows by segment and bin; see `Counts.segments`.
        shadow: Rows by both answers; see `Counts.shadow`.
        lost: Copies until the last sample that have no answer, by why.
        unknown: Samples since the reading before which it is not known what was counted.
    """

    answered: tuple[float, ...]
    errors: tuple[float, ...]
    predictions: Histograms
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
    segments: CountSeries = field(default_factory=CountSeries)
    shadow: CountSeries = field(default_factory=CountSeries)
    lost: Mapping[str, float] = field(default_factory=dict)
    unknown: frozenset[int] = frozenset()

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
    counts = [sample.counts.get(release) for sample in samples]
    readings = read_counters(counts)
    # A release that is in the first sample may have counted before it; that part is not known.
    from_zero = is_new and bool(samples) and release not in samples[0].counts
    totals, unknown = _accumulate(readings, counts, from_zero=from_zero)
    seen = [s.at for s, known in zip(samples, readings.is_readable, strict=True) if known]
    within = totals.series("within")
    return Arm(
        answered=_answered(totals),
        errors=totals.counter(("requests", "5xx")),
        client_errors=totals.counter(("requests", "4xx")),
        predictions=totals.histograms(),
        rows=totals.last("rows").get("", 0.0),
        nulls=totals.last("nulls"),
        unseen=totals.last("unseen"),
        inputs=totals.last("inputs"),
        segments=totals.from_zero("segments"),
        shadow=totals.from_zero("shadow"),
        lost=totals.last("lost"),
        unknown=unknown,
        pairs=totals.series("pairs"),
        refusals=_refusals(readings, totals),
        within=within if within and within[-1] else (),
        seconds=(seen[-1] - seen[0]).total_seconds() if seen else 0.0,
        is_fresh=bool(readings.is_readable and readings.is_readable[-1]),
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


def _accumulate(
    readings: CounterTable, counts: Sequence[Counts | None], *, from_zero: bool
) -> tuple[CounterTable, frozenset[int]]:
    """The sum of increments at each sample, and `Arm.unknown`; an unreadable sample adds nothing.

    A counter falls when a server stops or restarts, unless the new process counted more by then;
    servers that tell their process show that too. Of one server alone, all that it counts then is
    new. Of a sum over servers it is not known how much of it is new, and counting all would count
    other servers twice: such a fall adds nothing. Nor does one in a process that goes on: its
    counters are broken.

    Args:
        readings: The counters at each sample.
        counts: What they are of.
        from_zero: Whether all of the first reading is new.
    """
    size = readings.values.shape[1]
    nothing = np.zeros(size)
    before = nothing if from_zero else None
    last, total, known = _ABSENT, nothing, np.zeros(size, dtype=np.bool_)
    last_row, unknown = 0, set[int]()
    totals, names = np.zeros_like(readings.values), np.zeros_like(readings.known)
    for row, now in enumerate(counts):
        if now is not None and readings.is_readable[row]:
            reading = readings.values[row]
            is_alone = now.servers == last.servers == 1
            is_other = is_alone and bool(last.process) and last.process != now.process
            is_same = is_alone and bool(last.process) and last.process == now.process
            if before is not None and (is_other or bool((reading < before).any())):
                before = nothing if is_alone and not is_same else None
                unknown |= {*range(last_row + 1, row + 1)} if before is None else set()
            if before is not None:
                total, known = total + (reading - before), known | readings.known[row]
            before, last, last_row = reading, now, row
        totals[row], names[row] = total, known
    return replace(readings, values=totals, known=names), frozenset(unknown)


def _refusals(
    readings: CounterTable, totals: CounterTable
) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    kind, name = REFUSED
    is_counted = readings.known[:, readings.columns[kind][name]]
    if not (is_counted & np.array(readings.is_readable, dtype=np.bool_)).any():
        return None
    return totals.counter(ASKED), totals.counter(REFUSED)


def _answered(totals: CounterTable) -> tuple[float, ...]:
    # A 4xx is the client's error: as an answer it would hide errors, as an error blame the model.
    places = [at for code, at in totals.columns["requests"].items() if code != CLIENT_ERROR]
    found: list[float] = totals.values[:, places].sum(axis=1).tolist()
    return tuple(found)
