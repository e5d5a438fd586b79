"""What the judge's cases draw: rows, two releases that answer them, and what servers count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from modelyard.domain.canary.design_effect import pair_measures
from modelyard.domain.canary.input_mix import SIZE_EDGES, cell_name
from modelyard.domain.canary.latency import ALL_REQUESTS, bound_name
from modelyard.domain.canary.prediction_grid import Grid, prediction_grid
from modelyard.domain.canary.segments.cells import segment_cell, segment_grid, segment_name
from modelyard.domain.canary.shadow.pairs import grid_key, pair_name
from modelyard.domain.canary.traffic import Counts
from modelyard.domain.specs.model import Output

LEVEL_EDGES = (-1.036, -0.4, 0.2, 1.0)
"""Cuts of the second input, of which 15 % are below the first."""

SLOW_MS, COPIED = 100.0, 0.1
SERVERS = 4
"""Servers of a release of which one at a time restarts."""

Rows = np.ndarray
"""Rows of two inputs and a segment, shape (n, 3)."""

Share = Callable[[Generator, int], float]
"""Draws a share of a look's requests."""


@dataclass
class Arm:
    """One release in traffic: what each look adds to its counters.

    Args:
        requests: Requests a look.
        score: Its predictions for rows; the second argument is the look.
        rows: Draws the rows of a look.
        sizes: Draws the rows of each of so many requests.
        alike: How far the rows of a request are from each other; None if they are of anybody.
        rate: By look, how many times as many requests there are.
        lost: By look, the part of its servers that restarted since the last one.
        errors: Share of errors at a look.
        slow: Share of requests slower than the threshold, or what draws that of a look.
        refused: Share of refused requests, or what draws it.
        hung: Share of requests that are never answered.
    """

    requests: int
    score: Callable[[Rows, int], np.ndarray]
    rows: Callable[[Generator, int, int], Rows]
    sizes: Callable[[Generator, int], np.ndarray] | None = None
    alike: float | None = None
    rate: Callable[[int], float] = lambda _: 1.0
    lost: Callable[[int], float] = lambda _: 0.0
    errors: Share = lambda _, __: 0.002
    slow: float | Share = 0.03
    refused: float | Share = 0.0
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
    weights = np.ones(count) if heavy is None else random.pareto(heavy, size=count) + 1
    return of_tenants(_with_segment(random, count, 0.3), weights, spread)


def of_tenants(
    centres: Rows, weights: np.ndarray, spread: float = 0.3
) -> Callable[[Generator, int, int], Rows]:
    """Rows near the row of one of these tenants, by how much each sends."""

    def draw(random: Generator, look: int, rows: int) -> Rows:
        who = random.choice(len(centres), rows, p=weights / weights.sum())
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


def levels_of(rows: Rows) -> dict[str, np.ndarray]:
    """The levels of two columns: five of the second input, and the segment."""
    levels = np.array(list("abcde"))[np.searchsorted(LEVEL_EDGES, rows[:, 1], side="right")]
    return {"level": levels, "part": np.where(rows[:, 2] > 0.5, "yes", "no")}


def _segments(
    before: Mapping[str, int], rows: Rows, scores: np.ndarray, world: World
) -> dict[str, int]:
    found = dict(before)
    places = _bins(scores, segment_grid(world.output))
    for column, levels in levels_of(rows).items():
        pairs = Counter(zip(levels.tolist(), places.tolist(), strict=True))
        for (level, place), count in pairs.items():
            name = segment_name(column, segment_cell(level), place)
            found[name] = found.get(name, 0) + count
    return found


def labels_of(scores: np.ndarray, world: World) -> np.ndarray:
    return np.array(world.output.classes)[scores] if world.grid.classes else scores


def add_look(
    before: Counts,
    arm: Arm,
    world: World,
    random: Generator,
    look: int,
    *,
    by_segments: bool = False,
    answered_too: Arm | None = None,
) -> Counts:
    """The counters after a look."""
    before = _after_restarts(before, arm.lost(look))
    asked = random.binomial(round(arm.requests * arm.rate(look)), 1 - arm.hung)
    refused = random.binomial(asked, _share(arm.refused, random, look))
    errors = random.binomial(asked - refused, arm.errors(random, look))
    answered = asked - refused - errors
    sizes = arm.sizes(random, answered) if arm.sizes else np.ones(answered, dtype=int)
    rows = _rows_of_requests(arm, random, look, sizes) if answered else np.zeros((0, 3))
    scores = arm.score(rows, look) if answered else np.zeros(0)
    bins = _bins(scores, world.grid) if answered else np.zeros(0, dtype=int)
    histogram = np.bincount(bins, minlength=world.grid.bins)
    slow = random.binomial(asked, _share(arm.slow, random, look))
    measures = _pairs(bins, sizes, world.grid)
    bound, known = bound_name(SLOW_MS / 1000), before.within
    return Counts(
        servers=before.servers,
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


def _share(known: float | Share, random: Generator, look: int) -> float:
    return known(random, look) if callable(known) else known


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


def _pairs(bins: np.ndarray, sizes: np.ndarray, grid: Grid) -> dict[str, float]:
    if bins.size == sizes.size:
        return dict.fromkeys(pair_measures(np.zeros((1, grid.bins))), 0)
    each = np.zeros((sizes.size, grid.bins), dtype=int)
    np.add.at(each, (np.repeat(np.arange(sizes.size), sizes), bins), 1)
    return {name: found.sum() for name, found in pair_measures(each).items()}


def _rows_of_requests(arm: Arm, random: Generator, look: int, sizes: np.ndarray) -> Rows:
    if arm.alike is None:
        return arm.rows(random, look, int(sizes.sum()))
    rows = np.repeat(arm.rows(random, look, sizes.size), sizes, axis=0)
    return rows + arm.alike * random.normal(size=rows.shape) * (1, 1, 0)


def _after_restarts(before: Counts, lost: float) -> Counts:
    """What servers count after a part of them has begun again at 0."""
    if not lost:
        return before

    def left(counts: Mapping[str, int]) -> dict[str, int]:
        return {name: int(count * (1 - lost)) for name, count in counts.items()}

    return replace(
        before,
        requests=left(before.requests),
        rows=int(before.rows * (1 - lost)),
        predictions=tuple(int(count * (1 - lost)) for count in before.predictions),
        pairs=left(before.pairs),
        refused=int((before.refused or 0) * (1 - lost)),
        inputs=left(before.inputs),
        segments=left(before.segments),
        shadow=left(before.shadow),
        within=left(before.within),
        servers=1 if lost == 1 else SERVERS,
    )
