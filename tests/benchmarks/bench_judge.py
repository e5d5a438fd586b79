"""How long the judge takes for a day of samples, as a cluster keeps them.

    python tests/benchmarks/bench_judge.py [REPEATS]

Prints JSON with the CPU seconds of one verdict, the median of some.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.random import Generator

from modelyard.domain.canary.design_effect import MEASURES
from modelyard.domain.canary.fleet import STEP_SECONDS, STEPS_KEPT
from modelyard.domain.canary.judge import CanaryEvidence, judge_canary
from modelyard.domain.canary.latency import ALL_REQUESTS, bound_name
from modelyard.domain.canary.prediction_grid import Grid, prediction_grid
from modelyard.domain.canary.prediction_shift import expect_predictions
from modelyard.domain.canary.segments.cells import segment_cell, segment_grid, segment_name
from modelyard.domain.canary.segments.findings import segment_promises
from modelyard.domain.canary.traffic import Counts, Sample
from modelyard.domain.specs.model import CanaryPolicy, Output, OutputKind
from modelyard.domain.verdict import Outcome

OUTPUT = Output(name="late", kind=OutputKind.PROBABILITY, primary=True)
DAY, START = 86_400, datetime(2013, 5, 1, tzinfo=UTC)
SLOW_MS, REQUESTS_A_SECOND = 100.0, {"v1": 8.0, "v2": 2.0}
COLUMNS, LEVELS, HELD_OUT = 5, 8, 20_000


def seconds_of_samples() -> list[int]:
    """When a day's samples were taken: the older, the further apart."""
    step, age, kept = STEP_SECONDS, 0, [0]
    while age < DAY:
        kept.append(DAY - age)
        age += step
        step *= 2 if age > STEPS_KEPT * step else 1
    return sorted(kept)


def predictions_of(
    random: Generator, rows: int, *, is_new: bool, moved: float = 0.0
) -> np.ndarray[Any, Any]:
    """Chances that both releases spread alike, unless the new one's odds are moved."""
    odds = random.normal(size=rows) - 1 + is_new * (moved + 0.1 * random.normal(size=rows))
    return np.asarray(1 / (1 + np.exp(-odds)))


def levels_of(random: Generator, rows: int) -> dict[str, np.ndarray[Any, Any]]:
    """A level of each row, by column."""
    names = np.array([f"level {place}" for place in range(LEVELS)])
    return {f"column_{n}": names[random.integers(LEVELS, size=rows)] for n in range(COLUMNS)}


def look(
    random: Generator, release: str, seconds: int, *, by_segments: bool, moved: float
) -> Counts:
    """What a release counts in so many seconds."""
    rows = int(random.poisson(REQUESTS_A_SECOND[release] * seconds))
    said = predictions_of(random, rows, is_new=release == "v2", moved=moved)
    errors, bound = int(random.binomial(rows, 0.002)), bound_name(SLOW_MS / 1000)
    return Counts(
        requests={"2xx": rows, "5xx": errors},
        rows=rows,
        predictions=tuple(_histogram(said, prediction_grid(OUTPUT))),
        pairs=dict.fromkeys(MEASURES, 0),
        refused=int(random.binomial(rows, 0.01)),
        segments=_segments(random, said) if by_segments else {},
        within={bound: rows - int(random.binomial(rows, 0.03)), ALL_REQUESTS: rows},
    )


def _histogram(said: np.ndarray[Any, Any], grid: Grid) -> list[int]:
    places = np.searchsorted(grid.edges, said, side="right")
    return np.bincount(places, minlength=grid.bins).tolist()


def _segments(random: Generator, said: np.ndarray[Any, Any]) -> dict[str, int]:
    grid, found = segment_grid(OUTPUT), dict[str, int]()
    for column, levels in levels_of(random, len(said)).items():
        for level in np.unique(levels):
            counts = _histogram(said[levels == level], grid)
            cell = segment_cell(str(level))
            for place, count in enumerate(counts):
                name = segment_name(column, cell, place)
                found[name] = found.get(name, 0) + count
    return found


def sum_of(before: Counts, added: Counts) -> Counts:
    """Both together; a counter that was there stays, as a server's do."""
    sums: dict[str, Any] = {
        kind: _sums(getattr(before, kind), getattr(added, kind))
        for kind in ("requests", "pairs", "segments", "within")
    }
    known = before.predictions or (0,) * len(added.predictions)
    return replace(
        added,
        rows=before.rows + added.rows,
        refused=(before.refused or 0) + (added.refused or 0),
        predictions=tuple(a + b for a, b in zip(known, added.predictions, strict=True)),
        **sums,
    )


def _sums(before: Mapping[str, int], added: Mapping[str, int]) -> dict[str, int]:
    # Sorted, and each name is one object in all samples: so the cluster's metrics give them.
    names = map(sys.intern, sorted({**before, **added}))
    return {name: before.get(name, 0) + added.get(name, 0) for name in names}


def evidence_of(*, by_segments: bool, moved: float = 0.0) -> CanaryEvidence:
    """A day of a canary."""
    random, counts = np.random.default_rng(1), {"v1": Counts()}
    samples, times = [Sample(at=START, counts=dict(counts))], seconds_of_samples()
    for before, now in pairwise(times):
        for release in REQUESTS_A_SECOND:
            added = look(random, release, now - before, by_segments=by_segments, moved=moved)
            counts[release] = sum_of(counts.get(release, Counts()), added)
        samples.append(Sample(at=START + timedelta(seconds=now), counts=dict(counts)))
    held_out = [predictions_of(random, HELD_OUT, is_new=is_new) for is_new in (False, True)]
    levels = levels_of(random, HELD_OUT)
    return CanaryEvidence(
        samples=tuple(samples),
        canary="v2",
        stable="v1",
        expected=expect_predictions(*held_out, prediction_grid(OUTPUT)),
        slow_ms=SLOW_MS,
        share=0.2,
        segments=segment_promises(*held_out, levels, segment_grid(OUTPUT)) if by_segments else (),
    )


CASES = (
    ("healthy", False, 0.0, Outcome.PASS),
    ("healthy, five segment columns", True, 0.0, Outcome.PASS),
    ("moved", False, 1.0, Outcome.FAIL),
    ("moved, five segment columns", True, 1.0, Outcome.FAIL),
)


def main(repeats: int) -> dict[str, object]:
    """All figures."""
    found: dict[str, object] = {"samples": len(seconds_of_samples())}
    for name, by_segments, moved, outcome in CASES:
        evidence, spent = evidence_of(by_segments=by_segments, moved=moved), []
        columns = tuple(f"column_{n}" for n in range(COLUMNS)) if by_segments else ()
        for _ in range(repeats + 1):
            started = time.process_time()
            verdict = judge_canary(evidence, CanaryPolicy(segments=columns))
            spent.append(time.process_time() - started)
        if verdict.outcome is not outcome:
            raise AssertionError(verdict.reason)  # another one may take less time
        found[f"cpu_seconds, {name}"] = round(statistics.median(spent[1:]), 3)
    return found


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5), indent=2))
