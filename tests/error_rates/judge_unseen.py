"""Cases of the judge that were written when it was done, on traffic that it was not tuned on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.random import Generator

from error_rates.judge_cases import MAJORITY, ORDINARY, PROBABILITY, Case, Change
from error_rates.judge_traffic import Arm, Rows, World, everybody, of_segment, of_tenants
from modelyard.domain.specs.model import OutputKind

EDGES = (-0.5, 0.2, 0.8, 1.5)
FIVE = World(
    output=replace(PROBABILITY, kind=OutputKind.CLASS, classes=tuple("abcde")),
    stable=lambda rows: np.digitize(rows[:, 0], EDGES),
    canary=lambda rows: np.digitize(rows[:, 0] + 0.1 * rows[:, 1], EDGES),
)
"""Five classes; beside each the other version answers a neighbour for 4 to 9 % of the rows."""
THE_SAME = World(output=PROBABILITY, stable=ORDINARY.stable, canary=ORDINARY.stable)


def _exchange(one: int, other: int) -> Change:
    """The canary answers one class for another."""

    def change(canary: Arm, stable: Arm, random: Generator) -> None:
        before = canary.score

        def score(rows: Rows, at: int) -> np.ndarray:
            answers = before(rows, at)
            return np.select([answers == one, answers == other], [other, one], answers)

        canary.score = score

    return change


def _hangs(canary: Arm, stable: Arm, random: Generator) -> None:
    canary.hung = 1 / 3


def _a_constant(canary: Arm, stable: Arm, random: Generator) -> None:
    """One of three servers answers a constant."""
    before = canary.score
    canary.score = lambda rows, at: np.where(
        random.random(len(rows)) < 1 / 3, 0.28, before(rows, at)
    )


def _gets_faster(least: float) -> Change:
    """The canary has 30 % more slow requests at first, and a fifth fewer at each look."""

    def change(canary: Arm, stable: Arm, random: Generator) -> None:
        canary.slow = lambda _, look: 0.03 + max(least, 0.3 * 0.8 ** (look - 1))

    return change


def _at_night(canary: Arm, stable: Arm, random: Generator) -> None:
    """1 to 5 requests of the canary in a look, and 4 to 20 of stable."""
    rates = random.integers(1, 6, (2, 100)) / 5
    canary.requests, stable.requests = 5, 20
    canary.rate, stable.rate = (lambda look, of=of: float(of[look]) for of in rates)


def _cached(canary: Arm, stable: Arm, random: Generator) -> None:
    """A cache answers what is asked often before stable is: it gets the other rows."""

    def hard(random: Generator, look: int, count: int) -> Rows:
        rows = everybody(random, look, 4 * count + 20)
        return np.resize(rows[np.abs(rows[:, 0]) > 0.6], (count, 3))

    stable.rows, stable.rate = hard, lambda _: 0.6


def _new_users(canary: Arm, stable: Arm, random: Generator) -> None:
    """All users of the canary are new ones, who are of another kind."""
    rows_of = of_segment(lambda _: 0.5)
    canary.rows = lambda random, look, count: np.add(rows_of(random, look, count), (0.5, -0.5, 0))


def _heavy_tenants(canary: Arm, stable: Arm, random: Generator) -> None:
    """A hundred tenants of Pareto size, of which a fifth meets the canary."""
    centres, sizes = everybody(random, 0, 100), random.pareto(1.1, 100) + 1
    for arm, mine in ((canary, slice(20)), (stable, slice(20, None))):
        arm.rows = of_tenants(centres[mine], sizes[mine])


def _health_checks(canary: Arm, stable: Arm, random: Generator) -> None:
    """60 requests of each release in a look are the same row."""

    def rows(random: Generator, look: int, count: int) -> Rows:
        found = everybody(random, look, count)
        found[:60] = 0
        return found

    canary.rows = stable.rows = rows


def _scaled(canary: Arm, stable: Arm, random: Generator) -> None:
    """The canary gets 5 % of all requests, 40 % for twenty looks, and 5 % again."""
    canary.requests = stable.requests = 1000
    canary.rate = lambda look: 0.4 if 20 < look <= 40 else 0.05
    stable.rate = lambda look: 1 - canary.rate(look)


def _deployed(canary: Arm, stable: Arm, random: Generator) -> None:
    """The servers of stable are new, one look after another, and err more at first."""
    stable.lost = lambda look: 0.25 if 20 <= look < 24 else 0.0
    stable.errors = lambda _, look: 0.05 if 20 <= look < 24 else 0.002


UNSEEN = (
    Case(name="healthy, five classes, with shadow answers", world=FIVE, is_shadowed=True),
    Case(
        name="five classes, the mix changes over the day, with shadow answers",
        change=lambda canary, stable, random: [
            setattr(arm, "rows", of_segment(lambda look: 0.5 - 0.5 * np.cos(look / 9)))
            for arm in (canary, stable)
        ],
        world=FIVE,
        is_shadowed=True,
    ),
    Case(
        name="two of five classes exchanged, by shadow answers",
        is_bad=True,
        change=_exchange(0, 1),
        world=FIVE,
        is_shadowed=True,
    ),
    Case(name="one of three servers hangs", is_bad=True, change=_hangs),
    Case(name="one of three servers answers a constant", is_bad=True, change=_a_constant),
    Case(
        name="a warm-up: 30 % more slow answers, a fifth fewer at each look",
        change=_gets_faster(0),
        is_excused=True,
    ),
    Case(
        name="30 % more slow answers, a fifth fewer at each look until 20 % are left",
        is_bad=True,
        change=_gets_faster(0.2),
        is_excused=True,
    ),
    Case(name="1 to 5 requests a look", change=_at_night, is_excused=True, by_segments=True),
    Case(
        name="a cache in front of stable alone, with segments",
        change=_cached,
        is_excused=True,
        by_segments=True,
    ),
    Case(
        name="new users alone in the canary, with segments",
        change=_new_users,
        is_excused=True,
        by_segments=True,
    ),
    Case(
        name="the same model twice, tenants of Pareto size that stay",
        change=_heavy_tenants,
        world=THE_SAME,
        is_excused=True,
    ),
    Case(name="health checks: 60 of each release", change=_health_checks, is_excused=True),
    Case(
        name="health checks: 60 of each release, 90 % of one class, with shadow answers",
        change=_health_checks,
        world=MAJORITY,
        is_excused=True,
        is_shadowed=True,
    ),
    Case(name="5 %, 40 % and 5 % of the requests", change=_scaled, share=0.05, is_excused=True),
    Case(name="new servers of stable at looks 20 to 23", change=_deployed, is_excused=True),
)
"""The published list goes on with these."""
