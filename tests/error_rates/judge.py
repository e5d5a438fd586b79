"""The judge's error rates: healthy canaries that fail, and bad ones that fail within 20 looks.

A look is 200 requests of the canary and 800 of stable in 30 seconds, one row each unless said. Both
releases score rows of the same kind, or of clients of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np
from numpy.random import Generator

from error_rates.rates import Rate
from modelyard.domain.canary.design_effect import pair_measures
from modelyard.domain.canary.input_mix import SIZE_EDGES, cell_name
from modelyard.domain.canary.judge import CanaryEvidence, judge_canary
from modelyard.domain.canary.latency import ALL_REQUESTS, bound_name
from modelyard.domain.canary.prediction_grid import Grid, prediction_grid
from modelyard.domain.canary.prediction_shift import ExpectedPredictions, expect_predictions
from modelyard.domain.canary.segments.cells import segment_cell, segment_grid, segment_name
from modelyard.domain.canary.segments.findings import SegmentPromise, segment_promises
from modelyard.domain.canary.shadow.findings import PairPromise, promise_pairs
from modelyard.domain.canary.shadow.pairs import grid_key, pair_name
from modelyard.domain.canary.traffic import Counts, Sample
from modelyard.domain.specs.model import CanaryPolicy, Output, OutputKind
from modelyard.domain.verdict import Outcome

LOOKS, QUICK_LOOKS, DETECTED_BY = 60, 30, 20
RUNS, QUICK_RUNS = 60, 20
LEVEL_EDGES = (-1.036, -0.4, 0.2, 1.0)
"""Cuts of the second input, of which 15 % are below the first."""

ASKED_AT = (4, 5, 6, 8, 10, 13, 17, 20, 22, 24, 26, 28, 30, 35, 45)
SHARE, SLOW_MS, COPIED = 0.2, 100.0, 0.1
START = datetime(2013, 5, 1, tzinfo=UTC)
POLICY = CanaryPolicy()

Rows = np.ndarray
"""Rows of two inputs and a segment, shape (n, 3)."""


@dataclass
class Arm:
    """One release in traffic: what each look adds to its counters.

    Args:
        requests: Requests a look.
        score: Its predictions for rows; the second argument is the look.
        rows: Draws the rows of a look.
        size: Rows a request.
        errors: Share of errors at a look.
        slow: Share of requests slower than the threshold.
        refused: Share of refused requests.
        hung: Share of requests that are never answered.
    """

    requests: int
    score: Callable[[Rows, int], np.ndarray]
    rows: Callable[[Generator, int, int], Rows]
    size: int = 1
    errors: Callable[[Generator, int], float] = lambda _, __: 0.002
    slow: float = 0.03
    refused: float = 0.0
    hung: float = 0.0


@dataclass(frozen=True, kw_only=True)
class World:
    """A kind of model: its output, and both releases' scores."""

    output: Output
    stable: Callable[[Rows], np.ndarray]
    canary: Callable[[Rows], np.ndarray]

    @property
    def grid(self) -> Grid:
        """The grid of its predictions."""
        return prediction_grid(self.output)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A case of the judge.

    Args:
        name: What happens.
        is_bad: Whether the canary must fail, within 20 looks.
        change: Changes the two arms at the beginning of a run.
        world: The model.
        by_segments: Whether two columns are declared as segments: the level of the second input,
            15 % of the rows and more, and the segment.
        is_excused: Whether something else than the canary may explain its predictions. The judge is
            then asked along the way too: otherwise a fail keeps its evidence until the end.
        is_shadowed: Whether the canary also answers a copy of `COPIED` of stable's requests.
    """

    name: str
    is_bad: bool = False
    change: Callable[[Arm, Arm, Generator], None] = lambda *_: None
    world: World = field(default_factory=lambda: ORDINARY)
    is_excused: bool = False
    by_segments: bool = False
    is_shadowed: bool = False


def rates(*, quick: bool) -> Iterator[Rate]:
    """The rate of each case."""
    for case in CASES:
        if not quick or case.name in QUICK:
            yield _rate(case, QUICK_RUNS if quick else RUNS, QUICK_LOOKS if quick else LOOKS)


def _rate(case: Case, runs: int, looks: int) -> Rate:
    random = np.random.default_rng(1)
    looks = DETECTED_BY if case.is_bad else looks
    found = [_outcome(case, random, looks) for _ in range(runs)]
    hits = found.count(Outcome.FAIL)
    return Rate(
        case=case.name,
        what=f"fail within {looks} looks",
        hits=hits,
        runs=runs,
        most=None if case.is_bad else 0.05,
        least=0.95 if case.is_bad else None,
        beside=(("pass at the end", f"{found.count(Outcome.PASS) / runs:.0%}"),),
    )


def _outcome(case: Case, random: Generator, looks: int) -> Outcome:
    world = case.world
    stable = Arm(800, lambda rows, _: world.stable(rows), everybody)
    canary = Arm(200, lambda rows, _: world.canary(rows), everybody)
    case.change(canary, stable, random)
    counts = {"v2": Counts(within={}), "v1": Counts(within={})}
    first = _added(Counts(), stable, world, random, 0, 0)
    samples = [Sample(at=START, counts={"v1": first})]
    counts["v1"] = samples[0].counts["v1"]
    for look in range(1, looks + 1):
        for name, arm in (("v2", canary), ("v1", stable)):
            counts[name] = _added(
                counts[name],
                arm,
                world,
                random,
                look,
                arm.requests,
                by_segments=case.by_segments,
                answered_too=canary if case.is_shadowed and arm is stable else None,
            )
        samples.append(Sample(at=START + look * timedelta(seconds=30), counts=dict(counts)))
        if case.is_excused and look in ASKED_AT:
            found = _ask(case, samples)
            if found is Outcome.FAIL:
                return found
    return _ask(case, samples)


def _ask(case: Case, samples: list[Sample]) -> Outcome:
    evidence = CanaryEvidence(
        samples=tuple(samples),
        canary="v2",
        stable="v1",
        expected=_expected(case.name),
        slow_ms=SLOW_MS,
        share=SHARE,
        segments=_promises(case.name) if case.by_segments else (),
        pairs=_pair_promise(case.name) if case.is_shadowed else None,
    )
    policy = replace(POLICY, shadow=COPIED) if case.is_shadowed else POLICY
    return judge_canary(evidence, policy).outcome


@cache
def _expected(name: str) -> ExpectedPredictions:
    world = next(case.world for case in CASES if case.name == name)
    rows = everybody(np.random.default_rng(0), 0, 4000)
    return expect_predictions(
        _labels(world.stable(rows), world), _labels(world.canary(rows), world), world.grid
    )


@cache
def _promises(name: str) -> tuple[SegmentPromise, ...]:
    world = next(case.world for case in CASES if case.name == name)
    rows = everybody(np.random.default_rng(0), 0, 4000)
    return segment_promises(
        _labels(world.stable(rows), world),
        _labels(world.canary(rows), world),
        _levels(rows),
        segment_grid(world.output),
    )


@cache
def _pair_promise(name: str) -> PairPromise:
    world = next(case.world for case in CASES if case.name == name)
    rows = everybody(np.random.default_rng(0), 0, 4000)
    return promise_pairs(
        _labels(world.stable(rows), world),
        _labels(world.canary(rows), world),
        segment_grid(world.output),
    )


def _levels(rows: Rows) -> dict[str, np.ndarray]:
    """The levels of two columns: five of the second input, and the segment."""
    levels = np.array(list("abcde"))[np.searchsorted(LEVEL_EDGES, rows[:, 1], side="right")]
    return {"level": levels, "part": np.where(rows[:, 2] > 0.5, "yes", "no")}


def _segments(
    before: Mapping[str, int], rows: Rows, scores: np.ndarray, world: World
) -> dict[str, int]:
    found = dict(before)
    places = _bins(scores, segment_grid(world.output))
    for column, levels in _levels(rows).items():
        pairs = Counter(zip(levels.tolist(), places.tolist(), strict=True))
        for (level, place), count in pairs.items():
            name = segment_name(column, segment_cell(level), place)
            found[name] = found.get(name, 0) + count
    return found


def _labels(scores: np.ndarray, world: World) -> np.ndarray:
    return np.array(world.output.classes)[scores] if world.grid.classes else scores


def _added(
    before: Counts,
    arm: Arm,
    world: World,
    random: Generator,
    look: int,
    requests: int,
    *,
    by_segments: bool = False,
    answered_too: Arm | None = None,
) -> Counts:
    """The counters after a look."""
    asked = random.binomial(requests, 1 - arm.hung)
    refused = random.binomial(asked, arm.refused)
    errors = random.binomial(asked - refused, arm.errors(random, look))
    answered = asked - refused - errors
    rows = arm.rows(random, look, answered * arm.size) if answered else np.zeros((0, 3))
    scores = arm.score(rows, look) if answered else np.zeros(0)
    bins = _bins(scores, world.grid) if answered else np.zeros(0, dtype=int)
    histogram = np.bincount(bins, minlength=world.grid.bins)
    slow = random.binomial(asked, arm.slow)
    measures = _pairs(bins, arm.size, world.grid)
    bound, known = bound_name(SLOW_MS / 1000), before.within
    return Counts(
        requests={
            code: before.requests.get(code, 0) + int(count)
            for code, count in (("2xx", answered), ("4xx", refused), ("5xx", errors))
        },
        rows=before.rows + len(rows),
        predictions=tuple(
            (histogram + (before.predictions or np.zeros(world.grid.bins, dtype=int))).tolist()
        ),
        pairs={name: before.pairs.get(name, 0) + int(n) for name, n in measures.items()},
        refused=(before.refused or 0) + int(refused),
        inputs=_cells(before.inputs, rows),
        segments=_segments(before.segments, rows, scores, world)
        if by_segments and answered
        else before.segments,
        shadow=before.shadow
        if answered_too is None
        else _compared(before.shadow, rows, scores, answered_too, world, look),
        within={
            bound: known.get(bound, 0) + int(asked - slow),
            ALL_REQUESTS: known.get(ALL_REQUESTS, 0) + int(asked),
        },
    )


def _compared(
    before: Mapping[str, int], rows: Rows, scores: np.ndarray, canary: Arm, world: World, look: int
) -> dict[str, int]:
    """Pairs of stable's rows, of which the canary answers a part too."""
    found, grid = dict(before), segment_grid(world.output)
    copied = slice(int(COPIED * len(rows)))
    answers = canary.score(rows[copied], look)
    pairs = zip(_bins(scores[copied], grid).tolist(), _bins(answers, grid).tolist(), strict=True)
    for (mine, theirs), count in Counter(pairs).items():
        name = pair_name("v2", grid_key(grid), mine, theirs)
        found[name] = found.get(name, 0) + count
    return found


def _cells(before: Mapping[str, int], rows: Rows) -> dict[str, int]:
    """Rows by cell of two numbers and of the segment, as a server counts them."""
    found = dict(before)
    for place, edges in enumerate((SIZE_EDGES, SIZE_EDGES, (0.5,))):
        cells = np.bincount(np.searchsorted(edges, rows[:, place], side="right"))
        for cell in np.flatnonzero(cells):
            name = cell_name(f"x{place}", int(cell))
            found[name] = found.get(name, 0) + int(cells[cell])
    return found


def _bins(scores: np.ndarray, grid: Grid) -> np.ndarray:
    return scores if grid.classes else np.searchsorted(grid.edges, scores, side="right")


def _pairs(bins: np.ndarray, size: int, grid: Grid) -> dict[str, float]:
    if size == 1 or not bins.size:
        return dict.fromkeys(pair_measures(np.zeros((1, grid.bins))), 0)
    each = np.zeros((bins.size // size, grid.bins), dtype=int)
    np.add.at(each, (np.repeat(np.arange(len(each)), size), bins), 1)
    return {name: found.sum() for name, found in pair_measures(each).items()}


# The rows of a look.


def everybody(random: Generator, look: int, count: int) -> Rows:
    """Rows of anybody; 30 % are of a segment that moves the first input."""
    return _with_segment(random, count, 0.3)


def _with_segment(random: Generator, count: int, share: float) -> Rows:
    rows = random.normal(size=(count, 3))
    rows[:, 2] = random.random(count) < share
    rows[:, 0] += 1.5 * rows[:, 2]
    return rows


def of_segment(share: Callable[[int], float]) -> Callable[[Generator, int, int], Rows]:
    """Rows of which a part that changes with the look is of the segment."""
    return lambda random, look, count: _with_segment(random, count, share(look))


def of_clients(
    random: Generator, count: int, *, heavy: float | None = None, spread: float = 0.3
) -> Callable[[Generator, int, int], Rows]:
    """Rows of so many clients, each near its own; `heavy` is the tail of their traffic."""
    centres = _with_segment(random, count, 0.3)
    weights = np.ones(count) if heavy is None else random.pareto(heavy, size=count) + 1

    def draw(random: Generator, look: int, rows: int) -> Rows:
        who = random.choice(count, rows, p=weights / weights.sum())
        return centres[who] + spread * random.normal(size=(rows, 3)) * (1, 1, 0)

    return draw


def with_batch(share: float) -> Callable[[Generator, int, int], Rows]:
    """Rows of anybody, and a part of one client that sends nearly the same row."""

    def draw(random: Generator, look: int, count: int) -> Rows:
        rows = everybody(random, look, count)
        batch = random.random(count) < share
        rows[batch] = (1.0, 0.5, 0.0) + 0.05 * random.normal(size=(int(batch.sum()), 3)) * (1, 1, 0)
        return rows

    return draw


# What happens to the arms.


def _arms(**changes: object) -> Callable[[Arm, Arm, Generator], None]:
    def change(canary: Arm, stable: Arm, random: Generator) -> None:
        for name, value in changes.items():
            setattr(canary, name, value)

    return change


def _both(**changes: object) -> Callable[[Arm, Arm, Generator], None]:
    def change(canary: Arm, stable: Arm, random: Generator) -> None:
        for name, value in changes.items():
            setattr(canary, name, value)
            setattr(stable, name, value)

    return change


def _of_stable(**changes: object) -> Callable[[Arm, Arm, Generator], None]:
    def change(canary: Arm, stable: Arm, random: Generator) -> None:
        for name, value in changes.items():
            setattr(stable, name, value)

    return change


def _clients(
    canary_clients: int, stable_clients: int, heavy: float | None = None
) -> Callable[[Arm, Arm, Generator], None]:
    def change(canary: Arm, stable: Arm, random: Generator) -> None:
        canary.rows = of_clients(random, canary_clients, heavy=heavy)
        stable.rows = of_clients(random, stable_clients, heavy=heavy)

    return change


def _batches(canary: Arm, stable: Arm, random: Generator) -> None:
    canary.requests, stable.requests, canary.size, stable.size = 20, 80, 20, 20


def _bursts(share: float, of_looks: float) -> Callable[[Generator, int], float]:
    return lambda random, _: share if random.random() < of_looks else 0.002


def _constant_from(look: int, value: float) -> Callable[[Arm, Arm, Generator], None]:
    def change(canary: Arm, stable: Arm, random: Generator) -> None:
        before = stable.score
        stable.score = lambda rows, at: (
            np.full(len(rows), value) if at >= look else before(rows, at)
        )

    return change


def _answers(score: Callable[[np.ndarray], np.ndarray]) -> Callable[[Arm, Arm, Generator], None]:
    """The canary answers a function of what it should answer."""

    def change(canary: Arm, stable: Arm, random: Generator) -> None:
        before = canary.score
        canary.score = lambda rows, at: score(before(rows, at))

    return change


def _garbage(canary: Arm, stable: Arm, random: Generator) -> None:
    """The canary answers .99 for the 15 % of rows of one level."""
    before = canary.score
    canary.score = lambda rows, at: np.where(rows[:, 1] < LEVEL_EDGES[0], 0.99, before(rows, at))


# The models.


def _chance(odds: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-odds))


PROBABILITY = Output(name="late", kind=OutputKind.PROBABILITY, primary=True)
ORDINARY = World(
    output=PROBABILITY,
    stable=lambda rows: _chance(1.5 * rows[:, 0] + 0.5 * rows[:, 1] - 1.5),
    canary=lambda rows: _chance(1.6 * rows[:, 0] + 0.3 * rows[:, 1] - 1.45),
)
RARE = World(
    output=PROBABILITY,
    stable=lambda rows: _chance(rows[:, 0] + 0.3 * rows[:, 1] - 7),
    canary=lambda rows: _chance(1.1 * rows[:, 0] + 0.2 * rows[:, 1] - 7),
)
NARROW = World(
    output=replace(PROBABILITY, kind=OutputKind.VALUE, minimum=0, maximum=10_000),
    stable=lambda rows: 20 + 4 * rows[:, 0] + rows[:, 1],
    canary=lambda rows: 20 + 4.2 * rows[:, 0] + 0.8 * rows[:, 1],
)
MAJORITY = World(
    output=replace(PROBABILITY, kind=OutputKind.CLASS, classes=("a", "b", "c")),
    stable=lambda rows: np.digitize(rows[:, 0], (2.3, 2.9)),
    canary=lambda rows: np.digitize(rows[:, 0] + 0.1 * rows[:, 1], (2.3, 2.9)),
)

CASES = (
    Case(name="healthy"),
    Case(name="healthy, rare events", world=RARE),
    Case(name="healthy, values in .2 % of the range", world=NARROW),
    Case(name="healthy, 90 % of one class", world=MAJORITY),
    Case(name="healthy, requests of 20 rows", change=_batches),
    Case(
        name="the mix of traffic changes over the day, for both",
        change=_both(rows=of_segment(lambda look: 0.5 - 0.5 * np.cos(look / 9))),
    ),
    Case(
        name="clients that stay: 20 of the canary, 180 of stable",
        change=_clients(20, 180),
        is_excused=True,
    ),
    Case(
        name="clients that stay: 100 and 400, some heavy",
        change=_clients(100, 400, 1.2),
        is_excused=True,
    ),
    Case(name="tenants: 5 and 20", change=_clients(5, 20), is_excused=True),
    Case(
        name="one batch client sends 30 % of the canary's rows",
        change=_arms(rows=with_batch(0.3)),
        is_excused=True,
    ),
    Case(
        name="60 % of a segment in the canary, 30 % in stable",
        change=_arms(rows=of_segment(lambda _: 0.6)),
        is_excused=True,
    ),
    Case(name="bursts: 10 % errors in 2 % of looks", change=_both(errors=_bursts(0.1, 0.02))),
    Case(name="bursts: 50 % errors in 1 % of looks", change=_both(errors=_bursts(0.5, 0.01))),
    Case(
        name="50 % errors in the first look",
        change=_arms(errors=lambda _, look: 0.5 if look == 1 else 0.002),
    ),
    Case(
        name="stable's errors go to 5 % at look 20",
        change=_of_stable(errors=lambda _, look: 0.05 if look > 20 else 0.002),
    ),
    Case(
        name="stable answers a constant from look 20 on",
        change=_constant_from(20, 0.28),
        is_excused=True,
    ),
    Case(
        name="40 % errors of both in every tenth look",
        change=_both(errors=lambda _, look: 0.4 if look % 10 == 0 else 0.002),
    ),
    Case(name="healthy, with segments", by_segments=True),
    Case(
        name="clients that stay: 20 and 180, with segments",
        change=_clients(20, 180),
        is_excused=True,
        by_segments=True,
    ),
    Case(
        name="garbage for the 15 % of rows of one segment",
        is_bad=True,
        change=_garbage,
        by_segments=True,
    ),
    Case(name="healthy, with shadow answers", is_shadowed=True),
    Case(name="healthy, rare events, with shadow answers", world=RARE, is_shadowed=True),
    Case(name="healthy, narrow values, with shadow answers", world=NARROW, is_shadowed=True),
    Case(name="healthy, 90 % of one class, with shadow answers", world=MAJORITY, is_shadowed=True),
    Case(
        name="the mix of traffic changes over the day, with shadow answers",
        change=_both(rows=of_segment(lambda look: 0.5 - 0.5 * np.cos(look / 9))),
        is_shadowed=True,
    ),
    Case(
        name="clients that stay: 20 and 180, with shadow answers",
        change=_clients(20, 180),
        is_excused=True,
        is_shadowed=True,
    ),
    Case(
        name="tenants: 5 and 20, with shadow answers",
        change=_clients(5, 20),
        is_excused=True,
        is_shadowed=True,
    ),
    Case(
        name="one batch client sends 30 % of all rows, with shadow answers",
        change=_both(rows=with_batch(0.3)),
        is_excused=True,
        is_shadowed=True,
    ),
    Case(
        name="garbage for the 15 % of rows of one segment, by shadow answers",
        is_bad=True,
        change=_garbage,
        is_shadowed=True,
    ),
    Case(
        name="each row gets the answer to another, by shadow answers",
        is_bad=True,
        change=_answers(lambda p: np.roll(p, 1)),
        is_shadowed=True,
    ),
    Case(name="ten times slower", is_bad=True, change=_arms(slow=0.97)),
    Case(name="5 % errors", is_bad=True, change=_arms(errors=lambda *_: 0.05)),
    Case(name="refuses 30 %", is_bad=True, change=_arms(refused=0.3)),
    Case(name="hangs on half of its requests", is_bad=True, change=_arms(hung=0.5)),
    Case(name="a constant", is_bad=True, change=_answers(lambda p: np.full(len(p), 0.28))),
    Case(
        name="a constant, rare events",
        is_bad=True,
        change=_answers(lambda p: np.full(len(p), 0.001)),
        world=RARE,
    ),
    Case(name="/100, rare events", is_bad=True, change=_answers(lambda p: p / 100), world=RARE),
    Case(
        name="twice the value, in .2 % of the range",
        is_bad=True,
        change=_answers(lambda p: 2 * p),
        world=NARROW,
    ),
    Case(
        name="always the class of 90 %",
        is_bad=True,
        change=_answers(lambda p: np.zeros(len(p), dtype=int)),
        world=MAJORITY,
    ),
)
"""The published list."""

QUICK = frozenset(
    {
        "healthy",
        "bursts: 10 % errors in 2 % of looks",
        "stable answers a constant from look 20 on",
        "hangs on half of its requests",
        "garbage for the 15 % of rows of one segment",
        "/100, rare events",
    }
)
"""Cases that a few runs tell something about."""
