"""The gate's error rates: how often a challenger that is worse by exactly the margin passes.

Each case draws the rows, the clusters and both models' predictions anew in each run. The margin is
the true difference, so every pass is a false one. Equal models show what the gate still decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial

import numpy as np
from numpy.random import Generator

from error_rates.gate_cases import CASES, QUICK_CASES
from error_rates.gate_worlds import Case, clusters_of, logistic, shared_noise
from error_rates.rates import Rate
from error_rates.running import Task
from error_rates.stopping import FixedRuns
from modelyard.domain.gate.delong import PairedDifference
from modelyard.domain.gate.paired import non_inferiority, paired_difference, superiority
from modelyard.domain.gate.slices import slice_verdicts
from modelyard.domain.specs.model import GatePolicy, Slice
from modelyard.domain.verdict import Outcome

ALPHA = 0.05
RUNS, QUICK_RUNS = 150, 60
AGAIN = 10
"""Times as many runs, drawn anew, decide about a case that looks broken."""

SLICE_MARGIN = 0.02536
"""What noise of 1 in the log odds costs in Brier score beyond noise of .5, in 20,000,000 rows."""


def tasks(*, quick: bool) -> list[Task]:
    """What is simulated."""
    runs = QUICK_RUNS if quick else RUNS
    found = [
        Task(name=case.title, run=partial(_rates, case, runs))
        for case in (QUICK_CASES if quick else CASES)
    ]
    return [
        *found,
        Task(name="constants", run=lambda: [constants(60 if quick else 1000)]),
        Task(name="slices", run=lambda: list(slices(20 if quick else 300))),
    ]


def constants(runs: int) -> Rate:
    """How often a constant is better than the best constant."""
    random, hits = np.random.default_rng(4), 0
    for _ in range(runs):
        labels = random.random(int(random.integers(100, 2000))) < 0.3
        best = np.full(labels.size, labels.mean())
        found = paired_difference(
            "log_loss", labels, best, best * (1 + 2e-16), np.arange(labels.size)
        )
        hits += superiority(found, alpha=ALPHA).passed
    return Rate(case="a constant against the best one", what="pass", hits=hits, runs=runs, most=0.0)


def slices(runs: int) -> Iterator[Rate]:
    """How often slices are failed or passed wrongly: 40 in 100 days of 200 rows, by Brier score."""
    random, clusters, places = np.random.default_rng(5), np.repeat(np.arange(100), 200), 40
    of_row = np.arange(clusters.size) % places
    names = {"by place": np.char.add("place = ", of_row.astype(str))}
    failed, alone, passed = 0, 0, 0
    for _ in range(runs):
        odds = random.normal(size=clusters.size)
        labels = (random.random(clusters.size) < logistic(odds)).astype(int)
        noise = [shared_noise(clusters, random, 0.1) for _ in range(3)]
        before, equal = (logistic(odds + 0.5 * each) for each in noise[:2])
        first = logistic(odds + noise[2])[of_row == 0]
        worse = equal.copy()
        worse[of_row == 0] = first
        for challenger, margin in ((equal, 0.0), (worse, SLICE_MARGIN)):
            policy = GatePolicy(
                metric="brier", margin=0, slices=(Slice(by="place", margin=margin),)
            )
            found = slice_verdicts(
                policy, labels, (before, challenger), clusters, names, classes=()
            )
            if margin:
                passed += sum(each.verdict.passed for each in found if each.name == "place = 0")
                continue
            failed += any(each.verdict.outcome is Outcome.FAIL for each in found)
            alone += any(each.verdict.numbers["upper"] < 0 for each in found)
    yield Rate(
        case="40 slices, equal models, margin 0",
        what="a slice fails",
        hits=failed,
        runs=runs,
        most=ALPHA,
        beside=(("if all clusters counted alike", f"{alone / runs:.0%} without Holm"),),
    )
    yield Rate(
        case="one slice of 40 is worse by the margin",
        what="it passes",
        hits=passed,
        runs=runs,
        most=ALPHA,
    )


def _rates(case: Case, planned: int) -> list[Rate]:
    margin = case.margin if case.margin is not None else _true_difference(case)
    rate = _rate(case, margin, planned, seed=1)
    if not rate.is_kept:
        # Of so many cases some look broken by chance: one that is broken looks so again.
        rate = _rate(case, margin, AGAIN * planned, seed=2)
    return [rate]


def _rate(case: Case, margin: float, planned: int, *, seed: int) -> Rate:
    random, counts = np.random.default_rng(seed), dict.fromkeys(Outcome, 0)
    beside = {"as before": 0, "equal": 0}

    def outcomes() -> Iterator[bool]:
        while True:
            clusters = clusters_of(case, random)
            found = _difference(case, clusters, random)
            outcome = non_inferiority(found, margin=margin, alpha=ALPHA).outcome
            before = non_inferiority(found.with_equal_clusters(), margin=margin, alpha=ALPHA)
            equal = _difference(case, clusters, random, worse=False)
            counts[outcome] += 1
            beside["as before"] += before.passed
            beside["equal"] += non_inferiority(equal, margin=margin, alpha=ALPHA).passed
            yield outcome is Outcome.PASS

    hits, runs = FixedRuns(promised=ALPHA, runs=planned).draw(outcomes())
    return Rate(
        case=case.title,
        what="false pass",
        hits=hits,
        runs=runs,
        planned=planned,
        most=ALPHA,
        beside=(
            ("inconclusive", f"{counts[Outcome.INCONCLUSIVE] / runs:.0%}"),
            ("if all clusters counted alike", f"{beside['as before'] / runs:.1%}"),
            ("equal models pass", f"{beside['equal'] / runs:.0%}"),
        ),
    )


def _difference(
    case: Case, clusters: np.ndarray, random: Generator, *, worse: bool = True
) -> PairedDifference:
    drawn = case.world(clusters, random, worse=worse)
    return paired_difference(case.metric, *drawn, clusters, classes=case.classes)


@cache
def _true_difference_of(name: str, metric: str) -> float:
    case = next(each for each in CASES if (each.name, each.metric) == (name, metric))
    return -_difference(case, np.arange(1_000_000), np.random.default_rng(99)).difference


def _true_difference(case: Case) -> float:
    # Once for a world that many cases have with other clusters.
    return _true_difference_of(case.name, case.metric)
