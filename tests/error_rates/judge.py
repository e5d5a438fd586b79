"""The judge's error rates: healthy canaries that fail, and bad ones that fail within 20 looks.

A look is 200 requests of the canary and 800 of stable in 30 seconds, one row each unless said. Both
releases score rows of the same kind, or of clients of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache, partial

import numpy as np
from numpy.random import Generator

from error_rates.judge_cases import CASES, QUICK, Case
from error_rates.judge_traffic import (
    COPIED,
    SLOW_MS,
    Arm,
    World,
    add_look,
    everybody,
    labels_of,
    levels_of,
)
from error_rates.judge_unseen import UNSEEN
from error_rates.rates import Rate
from error_rates.running import Task
from error_rates.stopping import FixedRuns
from modelyard.domain.canary.judge import CanaryEvidence, judge_canary
from modelyard.domain.canary.prediction_shift import ExpectedPredictions, expect_predictions
from modelyard.domain.canary.segments.cells import segment_grid
from modelyard.domain.canary.segments.findings import SegmentPromise, segment_promises
from modelyard.domain.canary.shadow.promise import PairPromise, promise_pairs
from modelyard.domain.canary.traffic import Counts, Sample
from modelyard.domain.specs.model import CanaryPolicy
from modelyard.domain.verdict import Outcome, Verdict

LOOKS, QUICK_LOOKS, DETECTED_BY = 60, 30, 20
ALARM_RUNS, BAD_RUNS, QUICK_RUNS = 28, 28, 20
"""Of a case that must not fail, and of one that must be found out: the fewest of which none that
goes wrong has a Monte Carlo error of at most half of the promised 5 %."""
FALSE_ALARMS, DETECTED = 0.05, 0.95

ASKED_AFTER = (2, 4, 6, 10, 16, 25)
"""Looks after something happened at which the judge is asked too."""
START = datetime(2013, 5, 1, tzinfo=UTC)
POLICY = CanaryPolicy()


def tasks(*, quick: bool) -> list[Task]:
    """What is simulated."""
    looks = QUICK_LOOKS if quick else LOOKS
    return [
        Task(name=case.name, run=partial(_rates, case, QUICK_RUNS if quick else _runs(case), looks))
        for case in (*CASES, *UNSEEN)
        if not quick or case.name in QUICK
    ]


def _runs(case: Case) -> int:
    return BAD_RUNS if case.is_bad or case.says else ALARM_RUNS


def _rates(case: Case, planned: int, looks: int) -> list[Rate]:
    random, found = np.random.default_rng(1), list[Verdict]()
    looks = case.since + DETECTED_BY if case.is_bad else looks

    def outcomes() -> Iterator[bool]:
        while True:
            found.append(verdict_of(case, random, looks))
            is_failed = found[-1].outcome is Outcome.FAIL
            yield not is_failed and case.says in found[-1].reason if case.says else is_failed

    is_wanted = case.is_bad or bool(case.says)
    promised = DETECTED if is_wanted else FALSE_ALARMS
    fixed = FixedRuns(promised=promised, runs=planned, is_least=is_wanted)
    hits, runs = fixed.draw(outcomes())
    passes = sum(each.outcome is Outcome.PASS for each in found)
    return [
        Rate(
            case=case.name,
            what=f'no fail, and it says "{case.says}"'
            if case.says
            else f"fail within {looks} looks",
            hits=hits,
            runs=runs,
            planned=planned,
            most=None if is_wanted else promised,
            least=promised if is_wanted else None,
            beside=(("pass at the end", f"{passes / runs:.0%}"),),
        )
    ]


def verdict_of(case: Case, random: Generator, looks: int) -> Verdict:
    """The verdict after all looks, or the first fail on the way."""
    world = case.world
    stable = Arm(800, lambda rows, _: world.stable(rows), everybody)
    canary = Arm(200, lambda rows, _: world.canary(rows), everybody)
    case.change(canary, stable, random)
    counts = {"v2": Counts(within={})}
    counts["v1"] = add_look(Counts(), replace(stable, rate=lambda _: 0), world, random, 0)
    samples = [Sample(at=START, counts={"v1": counts["v1"]})]
    for look in range(1, looks + 1):
        for name, arm in (("v2", canary), ("v1", stable)):
            counts[name] = add_look(
                counts[name],
                arm,
                world,
                random,
                look,
                by_segments=case.by_segments,
                answered_too=canary if case.is_shadowed and arm is stable else None,
            )
        samples.append(Sample(at=START + look * timedelta(seconds=30), counts=dict(counts)))
        if case.is_excused and look - case.since in ASKED_AFTER:
            found = _ask(case, samples)
            if found.outcome is Outcome.FAIL:
                return found
    return _ask(case, samples)


def _ask(case: Case, samples: list[Sample]) -> Verdict:
    evidence = CanaryEvidence(
        samples=tuple(samples),
        canary="v2",
        stable="v1",
        expected=_expected(case.world),
        slow_ms=SLOW_MS,
        share=case.share,
        segments=_promises(case.world) if case.by_segments else (),
        pairs=_pair_promise(case.world) if case.is_shadowed else None,
    )
    policy = replace(POLICY, shadow=COPIED) if case.is_shadowed else POLICY
    return judge_canary(evidence, policy)


@cache
def _held_out(world: World) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, and what stable and the canary answer."""
    rows = everybody(np.random.default_rng(0), 0, 4000)
    return rows, *(labels_of(score(rows), world) for score in (world.stable, world.canary))


@cache
def _expected(world: World) -> ExpectedPredictions:
    return expect_predictions(*_held_out(world)[1:], world.grid)


@cache
def _promises(world: World) -> tuple[SegmentPromise, ...]:
    rows, stable, canary = _held_out(world)
    return segment_promises(stable, canary, levels_of(rows), segment_grid(world.output))


@cache
def _pair_promise(world: World) -> PairPromise:
    return promise_pairs(*_held_out(world)[1:], segment_grid(world.output))
