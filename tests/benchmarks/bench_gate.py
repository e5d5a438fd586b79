"""How long the gate takes: guards and slices on one held-out set, and reading both models' scores.

    python tests/benchmarks/bench_gate.py [ROWS]

Prints JSON with the CPU seconds of each verdict, of 1,000,000 rows by default: from the bytes of
two tables of scores to the verdict.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from typing import Any

import numpy as np

from modelyard.adapters.tables.frames import scores_from_parquet, scores_to_parquet
from modelyard.domain.gate.gate import Comparison, compare_on_set
from modelyard.domain.specs.model import (
    DataContract,
    GatePolicy,
    Guard,
    Model,
    Output,
    OutputKind,
    Owner,
    Slice,
    Target,
    Task,
    Trainer,
)

ROWS, MANY = 1_000_000, 100_000
CLUSTERS = (30, 300, 1000)
LEVELS, FAR = 8, 0.4
SLICES = (Slice(by="carrier", margin=0.05), Slice(where="distance > 1000", margin=0.05))

REGRESSION = Model(
    name="minutes",
    description="",
    owner=Owner(team="t", contact="c"),
    task=Task.REGRESSION,
    target=Target(column="delay"),
    outputs=(Output(name="delay", kind=OutputKind.VALUE, primary=True, minimum=-500, maximum=500),),
    trainer=Trainer(command=("train",)),
    data=DataContract(columns=()),
    gate=GatePolicy(
        metric="mae", margin=0.05, guards=(Guard(metric="rmse", margin=0.05),), slices=SLICES
    ),
)
CLASSIFICATION = replace(
    REGRESSION,
    name="late",
    task=Task.BINARY,
    target=Target(column="delay", above=15),
    outputs=(Output(name="late", kind=OutputKind.PROBABILITY, primary=True),),
    gate=GatePolicy(
        metric="auc",
        margin=0.01,
        guards=(Guard(metric="log_loss", margin=0.01), Guard(metric="calibration", margin=0.01)),
        slices=SLICES,
    ),
)


def tables_of(model: Model, rows: int, clusters: int) -> tuple[bytes, bytes]:
    """Scores of two models that differ a little, on rows that share an effect of their cluster."""
    random = np.random.default_rng(1)
    codes = np.arange(rows) if clusters == rows else random.integers(clusters, size=rows)
    truth = random.normal(size=rows) + 0.3 * random.normal(size=clusters)[codes]
    said = [truth + spread * random.normal(size=rows) for spread in (0.5, 0.45)]
    labels: Any = truth + random.normal(size=rows)
    if model.task is Task.BINARY:
        labels = (labels > 1).astype(np.int64)
        said = [1 / (1 + np.exp(1 - each)) for each in said]
    carriers = np.array([f"carrier = {place}" for place in range(LEVELS)])
    slices = {
        SLICES[0].title: carriers[random.integers(LEVELS, size=rows)],
        SLICES[1].title: np.where(random.random(rows) < FAR, SLICES[1].title, ""),
    }
    names = codes.astype(str)
    before, after = (scores_to_parquet(labels, names, each, slices=slices) for each in said)
    return before, after


def comparison_of(before: bytes, after: bytes) -> Comparison:
    """Both models' scores, read."""
    champion, challenger = (scores_from_parquet(each, digest="rows") for each in (before, after))
    return Comparison(name="recent", challenger=challenger, champion=champion, look=1, max_looks=3)


def cpu_seconds(model: Model, rows: int, clusters: int) -> float:
    """CPU seconds of one verdict."""
    tables = tables_of(model, rows, clusters)
    started = time.process_time()
    found = compare_on_set(model, comparison_of(*tables))
    spent = time.process_time() - started
    if not found.verdict.passed or len(found.slices) != LEVELS + 1:
        raise AssertionError(found.verdict.reason)  # one that is refused takes no time
    return spent


def main(rows: int) -> dict[str, object]:
    """All figures."""
    cpu_seconds(CLASSIFICATION, MANY, CLUSTERS[0])  # imports what the verdict needs
    return {
        "rows": rows,
        "cpu_seconds": {
            f"{model.gate.metric}, {clusters} clusters": round(
                cpu_seconds(model, rows, clusters), 2
            )
            for model in (REGRESSION, CLASSIFICATION)
            for clusters in (*CLUSTERS, rows)
        },
    }


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]) if len(sys.argv) > 1 else ROWS), indent=2))
