"""What the canary usually answers beside each answer of stable, by held-out rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from modelyard.domain.canary.prediction_grid import Grid
from modelyard.domain.canary.prediction_shift import grid_bins
from modelyard.domain.canary.shadow.class_order import UsualClass, usual_class
from modelyard.domain.canary.shadow.pairs import OTHER, counted_bin, grid_key

LEAST_HELD_OUT = 50
"""Held-out rows of a bin of stable that are needed for what is usual beside it: of 50 the outermost
answers leave 4 % of new ones outside in the mean, of 100 the 2 % of `TAIL`."""

TAIL = 0.02
"""Part of the held-out rows beside a bin of stable that may be outside of what is usual there."""

MOST_UNSEEN = 0.04
"""Part of new rows that may have a class which no held-out row had beside the same of stable: as
much as are outside of 50 numbers. Beyond it nothing is known of classes."""


@dataclass(frozen=True, kw_only=True)
class PairPromise:
    """Which answers of the canary are usual beside each answer of stable.

    Args:
        usual: By bin of stable, the usual bins of the canary; None if too few held-out rows tell.
        mixed: The share that would be unusual if the canary answered each row with the answer to
            another, of the held-out rows beside whose bin it is known what is usual.
        grid: The `grid_key` of these bins.
        classes: What is most usual, of each class beside which more than one answer is usual.
    """

    usual: tuple[frozenset[int] | None, ...]
    mixed: float
    grid: str
    classes: tuple[UsualClass, ...] = ()

    def is_stray(self, stable: int, canary: int) -> bool | None:
        """Whether a pair is unusual; None if it is not known what is usual."""
        usual = self.usual[stable] if stable < len(self.usual) else None
        return None if usual is None else canary not in usual


def promise_pairs(champion: ArrayLike, challenger: ArrayLike, grid: Grid) -> PairPromise:
    """What the challenger usually answers beside each answer of the champion, by held-out rows.

    Beside each bin of stable at most `TAIL` of the held-out rows are strays, whatever rows come in
    traffic: that each answer of stable has its own usual ones keeps a change of the mix from being
    harm. No bin borrows rows of its neighbours, for their usual answers are others. Of numbers one
    bin more at both ends is usual. Beside a bin with few rows nothing is known.

    Args:
        champion: Shape (n,), its primary output on held-out rows.
        challenger: Shape (n,), its primary output on the same rows.
        grid: See `segments.cells.segment_grid`.
    """
    before, after = (
        grid_bins(name, values, grid)
        for name, values in (("champion", champion), ("challenger", challenger))
    )
    told = {place: after[before == place] for place in range(grid.bins)}
    told = {place: each for place, each in told.items() if each.size >= LEAST_HELD_OUT}
    classes: tuple[UsualClass, ...] = ()
    if grid.classes:
        told = {place: _counted(grid, place, each) for place, each in told.items()}
        is_known = _unseen(told) <= MOST_UNSEEN
        found = {place: _classes(each) for place, each in told.items()} if is_known else {}
        # Where strays show an exchange, no level is spent on it.
        others = [place for place in told if place not in found or len(found[place]) > 1]
        classes = tuple(usual_class(grid, place, told[place]) for place in others)
    else:
        found = {place: _interval(each) for place, each in told.items()}
    usual = [found.get(place) for place in range(grid.bins)]
    return PairPromise(
        usual=tuple(usual),
        mixed=_mixed(usual, before, after),
        grid=grid_key(grid),
        classes=classes,
    )


def _counted(grid: Grid, place: int, answers: NDArray[np.intp]) -> NDArray[np.intp]:
    found, places = np.unique(answers, return_inverse=True)
    return np.array([counted_bin(grid, place, each) for each in found.tolist()])[places]


def _unseen(told: Mapping[int, NDArray[np.intp]]) -> float:
    """The estimated share of new rows with a pair of classes that no held-out row has.

    It is about the part of the rows whose class is there once (Good 1953, Biometrika 40:237-264).
    Of all classes together: those in which chance left few would be selected by it.
    """
    once = sum(_once(each) for each in told.values())
    return once / max(sum(each.size for each in told.values()), 1)


def _once(answers: NDArray[np.intp]) -> int:
    return int((np.unique(answers, return_counts=True)[1] == 1).sum())


def _interval(answers: NDArray[np.intp]) -> frozenset[int]:
    """The bins that leave `TAIL` of new rows outside in the mean, and one more at both ends."""
    # Between neighbours of n ordered answers, and beyond the outermost, 1 / (n + 1) of new ones lie
    # in the mean (Wilks 1942).
    ordered = np.sort(answers)
    cut = max(int(TAIL / 2 * (ordered.size + 1)) - 1, 0)
    return frozenset(range(int(ordered[cut]) - 1, int(ordered[-1 - cut]) + 2))


def _classes(answers: NDArray[np.intp]) -> frozenset[int]:
    """The most frequent answers, until at most `TAIL` of new rows have others, where it can be."""
    found, counts = np.unique(answers, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    before = counts[order].cumsum() - counts[order]
    least = (1 - TAIL) * answers.size + _once(answers)
    return frozenset(found[order][before < least].tolist())


def _mixed(
    usual: Sequence[frozenset[int] | None], before: NDArray[np.intp], after: NDArray[np.intp]
) -> float:
    """See `PairPromise`."""
    held_out = np.bincount(before, minlength=len(usual)).tolist()
    answers = (np.bincount(after, minlength=len(usual)) / max(after.size, 1)).tolist()
    known = [
        (rows, _share_in(bins, place, answers))
        for place, (rows, bins) in enumerate(zip(held_out, usual, strict=True))
        if bins is not None
    ]
    total = sum(rows for rows, _ in known)
    return float(sum(rows * (1 - share) for rows, share in known) / max(total, 1))


def _share_in(usual: frozenset[int], place: int, answers: Sequence[float]) -> float:
    """The share of all answers that are usual beside a bin of stable."""
    others = 1 - answers[place] if OTHER in usual else 0.0
    return others + sum(answers[each] for each in usual if 0 <= each < len(answers))
