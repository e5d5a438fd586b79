"""Counts pairs of answers, a limited number of kinds for the few canaries of now."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from modelyard.domain.canary.shadow.pairs import FAILED, counted_bin, grid_key, pair_name

if TYPE_CHECKING:
    from prometheus_client import Counter

    from modelyard.domain.canary.prediction_grid import Grid

MOST_KINDS = 1000
"""Kinds of pairs with one canary, of which a usual one has 300: each is a series, and a part of
each sample."""

MOST_CANARIES = 4
"""Canaries whose pairs are kept at one time; a further one takes the place of the oldest."""


class PairCounts:
    """Counts rows by both answers.

    Args:
        counter: Has the label `pair` beside those of this server.
        labels: Of this server.
        grid: By which both answers are counted.
    """

    def __init__(self, counter: Counter, labels: Mapping[str, str], grid: Grid) -> None:
        self._counter, self._labels, self._grid = counter, labels, grid
        self._key = grid_key(grid)
        self._kinds: dict[str, dict[str, Counter]] = {}
        # With workers, counts are kept in files, from which no series is removed.
        self._removes = "PROMETHEUS_MULTIPROC_DIR" not in os.environ

    def count(self, release: str, stable: int, canary: int) -> bool:
        """Count one row of a canary; False if there are too many kinds to count one more.

        Args:
            release: The canary's.
            stable: The bin of this server's answer.
            canary: The bin of the canary's answer, or `FAILED`.
        """
        theirs = canary if canary == FAILED else counted_bin(self._grid, stable, canary)
        name = pair_name(release, self._key, stable, theirs)
        kinds = self._kinds_of(release)
        if name not in kinds:
            if len(kinds) >= MOST_KINDS:
                return False
            kinds[name] = self._counter.labels(**self._labels, pair=name)
        kinds[name].inc()
        return True

    def _kinds_of(self, release: str) -> dict[str, Counter]:
        kinds = self._kinds.pop(release, {})
        self._kinds[release] = kinds  # the latest is the last
        if len(self._kinds) > MOST_CANARIES:
            for name in self._kinds.pop(next(iter(self._kinds))):
                if self._removes:
                    self._counter.remove(*self._labels.values(), name)
        return kinds
