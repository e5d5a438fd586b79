"""The model server's metrics, under the names that Prometheus and the local scraper read."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from modelyard.domain.canary.design_effect import MEASURES, pair_measures
from modelyard.domain.canary.latency import LATENCY_BOUNDS_MS
from modelyard.domain.canary.prediction_grid import prediction_grid
from modelyard.domain.canary.segments.cells import segment_grid
from modelyard.domain.canary.shadow.pairs import FAILED
from modelyard.serving.counts.bins import bin_counts, row_bins
from modelyard.serving.counts.cells import InputCells, SegmentCells
from modelyard.serving.counts.tallies import Tally
from modelyard.serving.documents import Serving
from modelyard.serving.shadow.pair_counts import PairCounts

if TYPE_CHECKING:
    from modelyard.serving.inputs import InferenceRequest
    from modelyard.serving.predictor import Scores

LABELS = ("model", "version", "release", "digest")
_M = TypeVar("_M", Counter, Gauge, Histogram)

STARTED = "start_time_seconds"
"""The name of the gauge that tells two processes of one release apart."""

CODE_CLASSES = ("2xx", "4xx", "5xx")
SECONDS = tuple(bound / 1000 for bound in LATENCY_BOUNDS_MS)

OVERLOADED_SECONDS = 2 * SECONDS[-1]
"""The latency of a request that was not let in: slow by every threshold of the judge."""

LOST = ("full", "busy", "silent", "refused", "contract", "kinds")
"""Why a copy of a request has no answer to compare; see `shadow.copies.Shadow`. `kinds` is one that
would be of one kind of pairs too many; see `shadow.pair_counts`."""

_CLIENT_ERRORS = range(400, 500)
NO_REFUSALS = frozenset({401, 403, 404, 408, 429, 499})
"""4xx that say nothing about what a request contains; each other 4xx is a refusal.

408 and 499 are requests that never arrived whole.
"""


@dataclass
class Outcome:
    """The status of one request: 500 until it is set, so that a crash counts as one.

    One that is overloaded found too many others waiting. That is no error of the model and no
    refusal: it counts as a slow answer, for it would have waited. `given_id` is the id that the
    server gave to a request without one. One for another model is none of this model's.
    """

    status: int = 500
    is_overloaded: bool = False
    given_id: str | None = None
    is_for_another_model: bool = False

    @property
    def code_class(self) -> str:
        """The class that it is counted in; overload is with 429, too many requests."""
        return "4xx" if self.is_overloaded else f"{self.status // 100}xx"

    @property
    def is_refusal(self) -> bool:
        """Whether the request was refused for what it contains."""
        return self.status in _CLIENT_ERRORS and self.status not in NO_REFUSALS


class Counters:
    """The metrics of one server, or of one of its workers.

    Args:
        labels: Values of `LABELS`, constant in a process.
        serving: The inputs, training levels and output to count by.
        registry: What `/metrics` exposes.
    """

    def __init__(
        self, labels: Mapping[str, str], serving: Serving, registry: CollectorRegistry = REGISTRY
    ) -> None:
        self._labels = {name: labels[name] for name in LABELS}
        self._grid = prediction_grid(serving.output)
        self._registry = registry
        names = [column.name for column in serving.inputs]
        self._requests = self._counters("requests", "Requests.", "code_class", CODE_CLASSES)
        self._predictions = Tally(
            "predictions",
            "Rows by bin.",
            labels=self._labels,
            label="bin",
            values=[str(at) for at in range(self._grid.bins)],
            registry=registry,
        )
        self._predictions.begin()
        self._pairs = self._counters(
            "request_row_pairs",
            "Ordered pairs of a request's rows: all, in other bins or tenths, squared bins apart.",
            "measure",
            MEASURES,
        )
        self._nulls = self._counters("input_nulls", "Rows with a missing value.", "column", names)
        self._unseen = self._counters(
            "input_unseen",
            "Rows with a level not seen in training.",
            "column",
            [*serving.training.levels],
        )
        self._cells = InputCells(serving, self._labels, registry)
        self._segments = SegmentCells(serving, self._labels, registry)
        copied = Counter(
            "modelyard_shadow_rows",
            "Rows of copied requests by both answers.",
            (*LABELS, "pair"),
            registry=registry,
        )
        self._segment_grid = segment_grid(serving.output)
        self._shadow = PairCounts(copied, self._labels, self._segment_grid)
        self._lost = self._counters("shadow_lost", "Copies without an answer.", "why", LOST)
        self._copies = self._counters(
            "shadow_answers", "Copies of another release's requests.", "code_class", CODE_CLASSES
        )
        # Labelled now: series exist before their first event, and no request looks one up.
        self._rows = self._labelled(Counter, "rows", "Rows answered.")
        self._refused = self._labelled(Counter, "requests_refused", "Refused for their content.")
        self._overloaded = self._labelled(Counter, "requests_overloaded", "Answered 503: full.")
        self._stuck = self._labelled(Counter, "workers_stuck", "Workers ended: they were stuck.")
        self._dropped = self._labelled(Counter, "payload_dropped_rows", "Rows not logged.")
        self._seconds = self._labelled(Histogram, "request_seconds", "Latency.", buckets=SECONDS)
        self._in_flight = self._gauge("requests_in_flight", "Requests being answered.", "sum")
        self._gauge("model_info", "1 for the model that is served.", "max").set(1)
        # Names the process: counters that rise again past what they were do not show a restart.
        started = self._gauge(STARTED, "Unix time of the start.", "min")
        if not _value(started):  # a worker goes on in the counters of the one before it
            started.set(time.time())
        self._count_unanswered(int(_value(self._in_flight)))

    @contextmanager
    def count_request(self) -> Iterator[Outcome]:
        """Count one request: as in flight now, by latency and code class when it ends."""
        outcome, before = Outcome(), time.perf_counter()
        self._in_flight.inc()
        try:
            yield outcome
        finally:
            self._in_flight.dec()
            if not outcome.is_for_another_model:
                self._count_outcome(outcome, time.perf_counter() - before)

    def _count_outcome(self, outcome: Outcome, seconds: float) -> None:
        self._seconds.observe(OVERLOADED_SECONDS if outcome.is_overloaded else seconds)
        self._requests[outcome.code_class].inc()
        if outcome.is_overloaded:
            self._overloaded.inc()
        if outcome.is_refusal:
            self._refused.inc()

    def count_answer(self, request: InferenceRequest, scores: Scores) -> None:
        """Count the rows of one answer, whose scores have the shape (rows,) or (rows, classes)."""
        self._rows.inc(request.rows)
        for column, count in request.nulls.items():
            if count:
                self._nulls[column].inc(count)
        for column, count in self._cells.count(request).items():
            self._unseen[column].inc(count)
        self._segments.count(request, scores)
        bins = bin_counts(scores, self._grid)
        self._predictions.add_all(0, bins)
        if request.rows == 1:
            return  # one row is no pair
        for measure, amount in pair_measures(bins).items():
            if amount:
                self._pairs[measure].inc(int(amount))

    def count_pair(self, release: str, mine: Scores, theirs: Scores | None) -> None:
        """Count one row that a canary answered too, or None if it failed; shape as in an answer."""
        grid = self._segment_grid
        place = FAILED if theirs is None else int(row_bins(theirs, grid)[0])
        if not self._shadow.count(release, int(row_bins(mine, grid)[0]), place):
            self.count_lost("kinds")

    def count_lost(self, why: str) -> None:
        """Count a copy without an answer, by one of `LOST`."""
        self._lost[why].inc()

    def count_copy(self, status: int) -> None:
        """Count what was answered to a copy of another release's request, and nothing else."""
        self._copies[f"{status // 100}xx"].inc()

    def _count_unanswered(self, requests: int) -> None:
        """Count what the worker before this one had not answered when it died."""
        self._in_flight.set(0)
        self._requests["5xx"].inc(requests)
        for _ in range(requests):
            self._seconds.observe(OVERLOADED_SECONDS)

    def count_stuck(self) -> None:
        """Count a worker that was ended because it, or its model, was stuck."""
        self._stuck.inc()

    def count_dropped(self, rows: int) -> None:
        """Count rows that the payload log dropped."""
        self._dropped.inc(rows)

    def _gauge(self, name: str, text: str, of_workers: str) -> Gauge:
        return self._labelled(Gauge, name, text, multiprocess_mode=of_workers)

    def _labelled(self, kind: type[_M], name: str, text: str, **options: Any) -> _M:
        metric = kind(f"modelyard_{name}", text, LABELS, registry=self._registry, **options)
        return metric.labels(**self._labels)

    def _counters(
        self, name: str, text: str, label: str, values: list[str] | tuple[str, ...]
    ) -> dict[str, Counter]:
        counter = Counter(f"modelyard_{name}", text, (*LABELS, label), registry=self._registry)
        return {value: counter.labels(**self._labels, **{label: value}) for value in values}


def _value(gauge: Gauge) -> float:
    return next(iter(gauge.collect())).samples[0].value
