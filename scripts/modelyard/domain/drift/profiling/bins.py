"""The bin of each of many numbers, found by a table of cells: exact, and without a search."""

from __future__ import annotations

import numpy as np

from modelyard.domain.drift.block_effects import Integers
from modelyard.domain.specs.column_values import Floats

_CELLS = 4096  # many times the edges, so that nearly all cells have one edge or none
_ENOUGH = 16_384  # numbers for which a table is worth making


class Bins:
    """Bins between edges in ascending order; a number on an edge is in the bin below.

    A cell never falls as numbers grow, whatever is rounded. So a number is above all edges in cells
    below its own and below all in cells above, and is held against the one edge in its own. Cells
    with more edges are searched.

    Args:
        edges: The edges.
    """

    def __init__(self, edges: Floats) -> None:
        self._edges = edges
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            self._scale = float(_CELLS / (edges[-1] - edges[0])) if len(edges) > 1 else 0.0
        self._has_cells = 0 < self._scale < np.inf
        if self._has_cells:
            cells = self._cells_of(edges)
            counts = np.bincount(cells, minlength=_CELLS + 3)
            self._before = counts.cumsum() - counts
            self._is_searched = counts > 1
            self._edge = np.full(len(counts), np.inf)
            self._edge[cells] = edges

    def places(self, numbers: Floats) -> Integers:
        """The bin of each number; any for NaN."""
        if not self._has_cells or len(numbers) < _ENOUGH:
            return np.searchsorted(self._edges, numbers, side="left")
        cells = self._cells_of(numbers)
        found: Integers = self._before[cells] + (numbers > self._edge[cells])
        searched = np.flatnonzero(self._is_searched[cells])
        if len(searched):
            found[searched] = np.searchsorted(self._edges, numbers[searched], side="left")
        return found

    def _cells_of(self, numbers: Floats) -> Integers:
        with np.errstate(over="ignore"):
            cells = (numbers - self._edges[0]) * self._scale
        # `fmin` also has a cell for NaN.
        found: Integers = np.fmax(np.fmin(cells, _CELLS + 1), -1).astype(np.int64) + 1
        return found
