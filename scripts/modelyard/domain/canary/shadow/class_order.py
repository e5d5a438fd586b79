"""Whether the canary answers one class for another: of each, what is usual must stay usual."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from modelyard.domain.canary.counters.table import CountSeries
from modelyard.domain.canary.error_rate import NO_EVIDENCE, Evidence, against_at_least
from modelyard.domain.canary.prediction_grid import Grid
from modelyard.domain.canary.request_metrics import Finding, format_share, most_of_a_look
from modelyard.domain.canary.shadow.pairs import OTHER
from modelyard.domain.canary.shift.looks import counts_of_trusted
from modelyard.domain.specs.column_values import Floats

LEAST_KEPT = 0.5
"""Part of its held-out share that the usual answer must keep. A change of the mix moves the share:
where two classes meet, versions differ most. It seldom halves it; another class in its place leaves
next to nothing."""

LEAST_ODDS = 0.25
"""Part of its odds that it must keep, where that is less, as below a share of two thirds: there a
change of the mix moves a share the most, and the most frequent answer of few rows may be chance."""


@dataclass(frozen=True, kw_only=True)
class UsualClass:
    """The canary's most frequent answer beside a class of stable, on held-out rows.

    Args:
        stable: Stable's bin.
        canary: The canary's, as it is counted.
        share: Its share of the rows with that class of stable.
        beside: Stable's class in words.
        name: The canary's answer in words.
    """

    stable: int
    canary: int
    share: float
    beside: str
    name: str

    @property
    def least(self) -> float:
        """The share that is kept at least."""
        by_odds = LEAST_ODDS * self.share / (LEAST_ODDS * self.share + 1 - self.share)
        return min(LEAST_KEPT * self.share, by_odds)


def usual_class(grid: Grid, stable: int, answers: NDArray[np.intp]) -> UsualClass:
    """The most frequent answer beside a class.

    Args:
        grid: Of classes.
        stable: The class of stable.
        answers: The `counted_bin` of the canary on each held-out row with that class, at least one.
    """
    found, counts = np.unique(answers, return_counts=True)
    place = int(found[counts.argmax()])
    name = "another class" if place == OTHER else grid.classes[place]
    return UsualClass(
        stable=stable,
        canary=place,
        share=float(counts.max() / answers.size),
        beside=grid.classes[stable],
        name=name,
    )


def class_findings(
    usual: tuple[UsualClass, ...],
    counted: CountSeries,
    pairs: Mapping[str, tuple[int, int]],
    *,
    alpha: float,
    least_rows: float,
    trusted: NDArray[np.bool_] | None,
) -> Iterator[Finding]:
    """A finding for each class beside which the usual answer has become too rare.

    The null hypothesis is that beside each class the usual answer keeps the least share. That is
    tested for each class, with its part of the level (Bonferroni).

    Args:
        usual: By class.
        counted: Stable's counts.
        pairs: Both bins of those that are the canary's, by name.
        alpha: The level of all classes together.
        least_rows: The rows of a class from which a share below the least one holds a pass back.
        trusted: As in `shadow_findings`.
    """
    names = defaultdict[int, list[str]](list)
    for name, (stable, _) in pairs.items():
        names[stable].append(name)
    for each in usual:
        here = names[each.stable]
        kept = [name for name in here if pairs[name][1] == each.canary]
        rows, hits = (
            np.array(counts_of_trusted(counted.sum_of(some), trusted)) for some in (here, kept)
        )
        if not rows.size or not rows[-1]:
            continue
        bad = _evidence(rows, hits, each.least, alpha / len(usual)).ever_rejects(alpha / len(usual))
        share = float(hits[-1] / rows[-1])
        is_far = share < each.least and rows[-1] >= least_rows
        if bad or is_far:
            part = f"{format_share(share)} of {rows[-1]:.0f} shadow answers"
            least = f"{format_share(each.least)} is the least"
            yield Finding(
                text=f"beside {each.beside}, {part} are {each.name}, {least}",
                bad=bad,
                missing=f"shadow answers that are {each.name} beside {each.beside}",
            )


def _evidence(rows: Floats, hits: Floats, least: float, alpha: float) -> Evidence:
    # While the share was never below, no smaller one was ever more likely.
    if (hits >= least * rows).all():
        return NO_EVIDENCE
    return against_at_least(rows, hits, least, most=most_of_a_look(math.log(1 / alpha)))
