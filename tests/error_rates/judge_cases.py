"""The published list of the judge's cases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.random import Generator

from error_rates.judge_traffic import (
    LEVEL_EDGES,
    Arm,
    World,
    everybody,
    of_clients,
    of_segment,
    of_tenants,
    with_batch,
)
from modelyard.domain.specs.model import Output, OutputKind

Change = Callable[[Arm, Arm, Generator], None]
"""Changes canary and stable at the beginning of a run."""


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
        since: The look from which on something happens.
        is_shadowed: Whether the canary also answers a copy of `COPIED` of stable's requests.
        says: What the verdict must say in the end, without a fail.
        share: The least share of requests that the canary had.
    """

    name: str
    is_bad: bool = False
    change: Change = lambda *_: None
    world: World = field(default_factory=lambda: ORDINARY)
    is_excused: bool = False
    by_segments: bool = False
    is_shadowed: bool = False
    says: str = ""
    since: int = 0
    share: float = 0.2


def _arms(**changes: object) -> Change:
    def change(canary: Arm, stable: Arm, random: Generator) -> None:
        for name, value in changes.items():
            setattr(canary, name, value)

    return change


def _both(**changes: object) -> Change:
    def change(canary: Arm, stable: Arm, random: Generator) -> None:
        for name, value in changes.items():
            setattr(canary, name, value)
            setattr(stable, name, value)

    return change


def _of_stable(**changes: object) -> Change:
    def change(canary: Arm, stable: Arm, random: Generator) -> None:
        for name, value in changes.items():
            setattr(stable, name, value)

    return change


def _clients(canary_clients: int, stable_clients: int, heavy: float | None = None) -> Change:
    def change(canary: Arm, stable: Arm, random: Generator) -> None:
        canary.rows = of_clients(random, canary_clients, heavy=heavy)
        stable.rows = of_clients(random, stable_clients, heavy=heavy)

    return change


def _batches(canary: Arm, stable: Arm, random: Generator) -> None:
    canary.requests, stable.requests = 20, 80
    canary.sizes = stable.sizes = lambda _, requests: np.full(requests, 20)


def _uneven_batches(canary: Arm, stable: Arm, random: Generator) -> None:
    """Requests of 1 to 500 rows that are like each other."""
    canary.requests, stable.requests = 40, 160
    canary.alike = stable.alike = 0.3
    canary.sizes = stable.sizes = lambda random, requests: np.minimum(
        1 + random.pareto(1.2, requests), 500
    ).astype(int)


def _all(*changes: Change) -> Change:
    """Several changes."""

    def change(canary: Arm, stable: Arm, random: Generator) -> None:
        for each in changes:
            each(canary, stable, random)

    return change


def _steps(canary: Arm, stable: Arm, random: Generator) -> None:
    """The canary gets 5 %, 20 % and 50 % of all requests, for 20 looks each."""
    shares = (0.05, 0.05, 0.2, 0.5, 0.5)
    canary.rate = lambda look: 5 * shares[min(look // 20 + 1, 4)] if look else 0
    stable.rate = lambda look: (1 - shares[min(look // 20 + 1, 4)]) / 0.8


def _tenants(canary: Arm, stable: Arm, random: Generator) -> None:
    """Tenants of Zipf size, of which a fifth always meets the canary."""
    centres, sizes = everybody(random, 0, 300), 1 / np.arange(1, 301)
    is_mine = random.random(300) < 0.2
    for arm, mine in ((canary, is_mine), (stable, ~is_mine)):
        arm.rows = of_tenants(centres[mine], sizes[mine])


def _tenants_of_both(canary: Arm, stable: Arm, random: Generator) -> None:
    """Tenants of Zipf size, each request of which meets either."""
    centres = everybody(random, 0, 300)
    canary.rows = stable.rows = of_tenants(centres, 1 / np.arange(1, 301))


def _for_a_look(canary_connections: int, stable_connections: int) -> Change:
    """Rows of connections that are new in each look, each near its own row."""

    def rows(count: int) -> Callable[[Generator, int, int], np.ndarray]:
        return lambda random, look, size: of_clients(random, count)(random, look, size)

    return _all(_arms(rows=rows(canary_connections)), _of_stable(rows=rows(stable_connections)))


def _pauses(random: Generator, look: int) -> float:
    return 0.1 if random.random() < 0.2 else 0.01


def _bursts(share: float, of_looks: float) -> Callable[[Generator, int], float]:
    return lambda random, _: share if random.random() < of_looks else 0.002


def _constant_of_stable(value: float, since: int = 0, until: int = 1000) -> Change:
    return lambda canary, stable, random: _answer(
        stable, lambda p: np.full(len(p), value), since, until
    )


def _in_turns(every: int) -> Change:
    """Stable answers a constant in one look of so many."""

    def change(canary: Arm, stable: Arm, random: Generator) -> None:
        before = stable.score
        stable.score = lambda rows, at: (
            np.full(len(rows), 0.28) if at % every == 0 else before(rows, at)
        )

    return change


def _answer(
    arm: Arm, score: Callable[[np.ndarray], np.ndarray], since: int = 0, until: int = 1000
) -> None:
    """In these looks an arm answers a function of what it should answer."""
    before = arm.score
    arm.score = lambda rows, at: (
        score(before(rows, at)) if since <= at < until else before(rows, at)
    )


def _answers(score: Callable[[np.ndarray], np.ndarray], since: int = 0) -> Change:
    """The canary answers a function of what it should answer."""
    return lambda canary, stable, random: _answer(canary, score, since)


def _a_constant_for(part: float) -> Change:
    """The canary answers a constant for a part of the rows."""

    def change(canary: Arm, stable: Arm, random: Generator) -> None:
        before = canary.score
        canary.score = lambda rows, at: np.where(
            random.random(len(rows)) < part, 0.28, before(rows, at)
        )

    return change


def _garbage(canary: Arm, stable: Arm, random: Generator) -> None:
    """The canary answers .99 for the 15 % of rows of one level."""
    before = canary.score
    canary.score = lambda rows, at: np.where(rows[:, 1] < LEVEL_EDGES[0], 0.99, before(rows, at))


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
ZEROS = World(
    output=replace(PROBABILITY, kind=OutputKind.VALUE, minimum=0, maximum=1000),
    stable=lambda rows: np.maximum(0, 40 * rows[:, 0] + 20 * rows[:, 1] - 30),
    canary=lambda rows: np.maximum(0, 42 * rows[:, 0] + 17 * rows[:, 1] - 29),
)
HEAVY = World(
    output=replace(PROBABILITY, kind=OutputKind.VALUE, minimum=0, maximum=100_000),
    stable=lambda rows: np.minimum(np.exp(3 + 1.5 * rows[:, 0] + rows[:, 1]), 100_000),
    canary=lambda rows: np.minimum(np.exp(3 + 1.6 * rows[:, 0] + 0.8 * rows[:, 1]), 100_000),
)
TIES = World(
    output=PROBABILITY,
    stable=lambda rows: np.round(ORDINARY.stable(rows), 1),
    canary=lambda rows: np.round(ORDINARY.canary(rows), 1),
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
        change=_constant_of_stable(0.28, 20),
        is_excused=True,
        since=20,
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
    Case(
        name="one batch client sends 30 % of the canary's rows, with segments",
        change=_arms(rows=with_batch(0.3)),
        is_excused=True,
        by_segments=True,
    ),
    *(
        Case(
            name=f"stable answers a constant {when}, {how}",
            change=_constant_of_stable(0.28, since),
            is_excused=True,
            since=since,
            says="incident of stable",
            **known,
        )
        for when, since in (("always", 0), ("from look 20 on", 20))
        for how, known in (
            ("and it is said", {}),
            ("with segments", {"by_segments": True}),
            ("with shadow answers", {"is_shadowed": True}),
        )
    ),
    *(
        Case(
            name=f"stable answers 1 - p from look 10 on, {how}",
            change=lambda canary, stable, random: _answer(stable, lambda p: 1 - p, 10),
            is_excused=True,
            says="incident of stable",
            since=10,
            **known,
        )
        for how, known in (
            ("with segments", {"by_segments": True}),
            ("with shadow answers", {"is_shadowed": True}),
        )
    ),
    # Without shadow answers nobody can tell this from traffic that moved.
    Case(
        name="both answer 1 - p from look 10 on, with shadow answers",
        change=lambda canary, stable, random: [
            _answer(arm, lambda p: 1 - p, 10) for arm in (canary, stable)
        ],
        is_excused=True,
        says="stable does not predict as on held-out rows",
        since=10,
        is_shadowed=True,
    ),
    *(
        Case(
            name=f"stable answers a constant in looks 5 to 15, {how}",
            change=_constant_of_stable(0.28, 5, 15),
            is_excused=True,
            since=5,
            **known,
        )
        for how, known in (
            ("and recovers", {}),
            ("with segments", {"by_segments": True}),
            ("with shadow answers", {"is_shadowed": True}),
        )
    ),
    *(
        Case(
            name=f"stable answers a constant in one look of {every}, {how}",
            change=_in_turns(every),
            is_excused=True,
            **known,
        )
        for every, how, known in (
            (8, "and recovers", {}),
            (4, "and recovers", {}),
            (2, "and recovers", {}),
            (4, "with segments", {"by_segments": True}),
            (4, "with shadow answers", {"is_shadowed": True}),
        )
    ),
    *(
        Case(
            name=f"a constant for 30 % of the rows, and for all of stable's in one look of {every}",
            is_bad=True,
            change=_all(_in_turns(every), _a_constant_for(0.3)),
        )
        for every in (8, 4)
    ),
    Case(name="healthy, 60 % zeros, with segments", world=ZEROS, by_segments=True),
    Case(name="healthy, 60 % zeros, with shadow answers", world=ZEROS, is_shadowed=True),
    Case(name="healthy, lognormal values, with segments", world=HEAVY, by_segments=True),
    Case(name="healthy, lognormal values, with shadow answers", world=HEAVY, is_shadowed=True),
    Case(name="healthy, answers of one digit, with segments", world=TIES, by_segments=True),
    Case(name="healthy, answers of one digit, with shadow answers", world=TIES, is_shadowed=True),
    Case(
        name="3 to 200 requests a look by the time of day, of another mix",
        change=_both(
            rate=lambda look: 0.015 + 0.985 * np.sin(look / 10) ** 2,
            rows=of_segment(lambda look: 0.1 + 0.8 * np.sin(look / 10) ** 2),
        ),
        by_segments=True,
    ),
    Case(
        name="the mix drifts away from the held-out rows, with segments",
        change=_both(rows=of_segment(lambda look: 0.3 + look / 90)),
        is_excused=True,
        by_segments=True,
    ),
    Case(
        name="the mix drifts away from the held-out rows, with shadow answers",
        change=_both(rows=of_segment(lambda look: 0.3 + look / 90)),
        is_excused=True,
        is_shadowed=True,
    ),
    Case(name="requests of 1 to 500 rows that are alike", change=_uneven_batches),
    Case(
        name="requests of 1 to 500 rows that are alike, with segments",
        change=_uneven_batches,
        by_segments=True,
    ),
    Case(name="tenants of Zipf size, requests of both", change=_tenants_of_both, by_segments=True),
    Case(
        name="tenants of Zipf size that stay, with segments",
        change=_tenants,
        is_excused=True,
        by_segments=True,
    ),
    Case(
        name="an outage of both in every tenth look, asked again twice",
        change=_both(
            errors=lambda _, look: 0.4 if look % 10 == 0 else 0.002,
            rate=lambda look: 1.6 if look % 10 == 0 else 1.0,
        ),
    ),
    Case(
        name="one of four servers is new in every fifth look, with 10 % errors then",
        change=_both(
            lost=lambda look: 0.25 if look % 5 == 0 else 0.0,
            errors=lambda _, look: 0.1 if look % 5 == 0 else 0.002,
        ),
        by_segments=True,
    ),
    Case(
        name="the canary starts again in every seventh look",
        change=_arms(lost=lambda look: 1.0 if look % 7 == 0 else 0.0),
        is_shadowed=True,
    ),
    Case(name="5 %, 20 % and 50 % of the requests", change=_steps, share=0.05),
    Case(
        name="5 % errors, and one of four servers is new in every fifth look",
        is_bad=True,
        change=_all(
            _both(lost=lambda look: 0.25 if look % 5 == 0 else 0.0),
            _arms(errors=lambda *_: 0.05),
        ),
    ),
    Case(
        name="connections that stay for a look: 10 of the canary, 40 of stable",
        change=_for_a_look(10, 40),
        is_excused=True,
    ),
    Case(
        name="pauses: 10 % slow answers in a fifth of the looks, each release at its own times",
        change=_both(slow=_pauses),
    ),
    Case(
        name="hangs on half of its requests, and half of stable starts again in every second look",
        is_bad=True,
        change=_all(
            _arms(hung=0.5),
            _of_stable(lost=lambda look: 0.5 if look % 2 == 0 else 0.0),
        ),
    ),
    Case(
        name="a constant, tenants of Zipf size",
        is_bad=True,
        change=_all(_tenants_of_both, _answers(lambda p: np.full(len(p), 0.28))),
    ),
    Case(
        name="/10, lognormal values",
        is_bad=True,
        change=_answers(lambda p: p / 10),
        world=HEAVY,
    ),
    Case(
        name="zeros alone, 60 % zeros",
        is_bad=True,
        change=_answers(np.zeros_like),
        world=ZEROS,
    ),
    Case(
        name="5 % errors from look 20 on",
        is_bad=True,
        change=_arms(errors=lambda _, look: 0.05 if look > 20 else 0.002),
        since=20,
    ),
    Case(
        name="a constant from look 20 on",
        is_bad=True,
        change=_answers(lambda p: np.full(len(p), 0.28), 21),
        since=20,
    ),
    Case(
        name="ten times slower while traffic changes by the time of day",
        is_bad=True,
        change=_all(_both(rate=lambda look: 0.2 + 0.8 * np.sin(look / 10) ** 2), _arms(slow=0.97)),
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
