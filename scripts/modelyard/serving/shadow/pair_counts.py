"""Counts pairs of answers, of a limited number of kinds."""

from __future__ import annotations

from collections import Counter as Amounts
from collections.abc import Mapping
from typing import TYPE_CHECKING

from modelyard.domain.canary.shadow.pairs import FAILED, counted_bin, grid_key, pair_name

if TYPE_CHECKING:
    from prometheus_client import Counter

    from modelyard.domain.canary.prediction_grid import Grid

MOST_KINDS = 1000
"""Kinds of pairs with one canary, of which a usual one has 300: each is a series, and a part of
each sample."""

MOST_OF_ALL = 4000
"""Kinds with all canaries of a server's life. None is ever removed: to who reads the counts, a
series that goes away is a server that started again."""


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
        self._kinds: dict[str, Counter] = {}
        self._amounts = Amounts[str]()

    def count(self, release: str, stable: int, canary: int) -> bool:
        """Count one row of a canary; False if there are too many kinds to count one more.

        Args:
            release: The canary's.
            stable: The bin of this server's answer.
            canary: The bin of the canary's answer, or `FAILED`.
        """
        theirs = canary if canary == FAILED else counted_bin(self._grid, stable, canary)
        name = pair_name(release, self._key, stable, theirs)
        if name not in self._kinds:
            if self._amounts[release] >= MOST_KINDS or len(self._kinds) >= MOST_OF_ALL:
                return False
            self._amounts[release] += 1
            self._kinds[name] = self._counter.labels(**self._labels, pair=name)
        self._kinds[name].inc()
        return True
