"""When enough runs of a case were drawn: Wald's (1945) sequential test of its promise.

A rate far from its promise shows in a few runs, and one at the promise needs hundreds. So runs are
drawn until their likelihood decides between the promised rate and a broken one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

LEAST_KEPT, LEAST_BROKEN = math.log(20), math.log(1000)
"""A broken rate is taken for a kept one in 5 % of cases, a kept one for a broken one in .1 %: of
hundreds of kept promises, none should look broken by chance."""


@dataclass(frozen=True, kw_only=True)
class SequentialTest:
    """The promised rate against a broken one.

    Args:
        promised: The rate that is promised.
        broken: A rate that must be found out.
        most: Runs after which it ends undecided.
        least: Runs that other numbers of the case need.
    """

    promised: float
    broken: float
    most: int
    least: int = 0

    def is_decided(self, hits: int, runs: int) -> bool:
        """Whether the runs so far decide."""
        lead = hits * math.log(self.broken / self.promised)
        lead += (runs - hits) * math.log((1 - self.broken) / (1 - self.promised))
        return lead <= -LEAST_KEPT or lead >= LEAST_BROKEN

    def draw(self, outcomes: Iterable[bool]) -> tuple[int, int]:
        """Hits and runs when the outcomes have decided, or when there are no more."""
        hits = runs = 0
        for outcome in outcomes:
            hits, runs = hits + outcome, runs + 1
            if runs >= self.most or (runs >= self.least and self.is_decided(hits, runs)):
                break
        return hits, runs
