"""How many runs of a case are drawn: a fixed number, and fewer only where its promise is broken.

The number does not depend on the runs, so the share of hits is an unbiased estimate, and its
standard error is that of a binomial share. Only a rate that is beyond doubt worse than promised
ends the runs early: that can only make a broken promise look worse than it is, and it is said.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.stats import binom

DOUBT = 1e-4
"""Where so many hits or more are no more likely than this at the promised rate, it is broken."""


@dataclass(frozen=True, kw_only=True)
class FixedRuns:
    """So many runs.

    Args:
        promised: The rate that is promised.
        runs: How many runs there are.
        is_least: Whether it is promised that the rate is at least that, and not at most.
    """

    promised: float
    runs: int
    is_least: bool = False

    def is_broken(self, hits: int, runs: int) -> bool:
        """Whether the promise is broken beyond doubt."""
        worse, rate = (runs - hits, 1 - self.promised) if self.is_least else (hits, self.promised)
        return bool(worse > _most_likely(self.runs, rate)[runs - 1])

    def draw(self, outcomes: Iterable[bool]) -> tuple[int, int]:
        """Hits and runs, when all are drawn or the promise is broken beyond doubt."""
        hits = runs = 0
        for outcome in outcomes:
            hits, runs = hits + outcome, runs + 1
            # Only a run that went wrong makes it worse.
            is_worse = outcome is not self.is_least
            if runs >= self.runs or (is_worse and self.is_broken(hits, runs)):
                break
        return hits, runs


@cache
def _most_likely(runs: int, rate: float) -> list[float]:
    """By number of runs from 1 on, the most that may go wrong without doubt."""
    found: list[float] = binom.isf(DOUBT, np.arange(1, runs + 1), rate).tolist()
    return found


def found_out(promised: float, true: float, runs: int) -> float:
    """How often a rate that is really greater than the promised one is not called kept."""
    error = math.sqrt(promised * (1 - promised) / runs)
    return float(binom.sf(math.floor(runs * (promised + 2 * error)), runs, true))
