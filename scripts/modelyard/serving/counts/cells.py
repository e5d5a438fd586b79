"""Counts the rows of requests by cells of their inputs."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING

from modelyard.domain.canary.input_mix import (
    LEVEL_CELLS,
    cell_name,
    level_cell,
    number_cell,
    range_edges,
)
from modelyard.domain.canary.segments.cells import (
    CELLS,
    segment_cell,
    segment_grid,
    segment_level,
    segment_name,
)
from modelyard.serving.counts.bins import array_of, count_between, row_bins
from modelyard.serving.counts.tallies import Tally

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from modelyard.serving.documents import Serving
    from modelyard.serving.inputs import InferenceRequest
    from modelyard.serving.predictor import Scores


class InputCells:
    """Rows by cell of each input; see `domain.canary.input_mix`.

    Args:
        serving: The inputs and their levels of training.
        labels: Of this server.
        registry: What exposes them.
    """

    def __init__(
        self, serving: Serving, labels: Mapping[str, str], registry: CollectorRegistry
    ) -> None:
        self._edges = {
            column.name: range_edges(*column.limits)
            for column in serving.inputs
            if column.type in {"number", "integer"}
        }
        self._levels = {
            name: {level: level_cell(level) for level in seen}
            for name, seen in serving.training.levels.items()
        }
        sizes = {name: len(edges) + 1 for name, edges in self._edges.items()}
        sizes |= dict.fromkeys(self._levels, LEVEL_CELLS)
        cells = [(name, cell) for name, size in sizes.items() for cell in range(size)]
        self._first = {name: cells.index((name, 0)) for name in sizes}
        self._rows = Tally(
            "input_cells",
            "Rows by cell of an input.",
            labels=labels,
            label="cell",
            values=[cell_name(*cell) for cell in cells],
            registry=registry,
        )

    def count(self, request: InferenceRequest) -> dict[str, int]:
        """Count the rows of a request; how many have a level not seen in training, by input."""
        self._count_numbers(request)
        return self._count_levels(request)

    def _count_numbers(self, request: InferenceRequest) -> None:
        """Count the rows by cell of each number; a null is in no cell."""
        import numpy as np  # noqa: PLC0415 - as `Tally`

        for column, edges in self._edges.items():
            values, nulls = request.columns[column], request.nulls[column]
            if nulls == request.rows:
                continue
            first = self._first[column]
            if request.rows == 1:  # several times as fast as arrays of one
                self._rows.add(first + number_cell(values[0], edges), 1)
                continue
            if not isinstance(values, np.ndarray):  # a nullable integer is masked, not NaN
                values = values.to_numpy(dtype=np.float64, na_value=np.nan)
            known = values[~np.isnan(values)] if nulls else values
            self._rows.add_all(first, count_between(array_of(edges), known))

    def _count_levels(self, request: InferenceRequest) -> dict[str, int]:
        """Count the rows by cell of each category; a null is no level."""
        unseen: dict[str, int] = collections.defaultdict(int)
        for column, seen in self._levels.items():
            levels = request.levels.get(column, {})
            if request.rows == 1 and not request.nulls[column]:
                levels = {request.columns[column][0]: 1}
            first = self._first[column]
            for level, rows in levels.items():
                cell = seen.get(level)
                if cell is None:
                    cell = level_cell(level)
                    unseen[column] += rows
                self._rows.add(first + cell, rows)
        return unseen


class SegmentCells:
    """Rows by segment and bin of their prediction; see `domain.canary.segments.cells`.

    Args:
        serving: The columns of the segments, and the output.
        labels: Of this server.
        registry: What exposes them.
    """

    def __init__(
        self, serving: Serving, labels: Mapping[str, str], registry: CollectorRegistry
    ) -> None:
        self._columns, self._grid = serving.segments, segment_grid(serving.output)
        cells = [*itertools.product(self._columns, CELLS, range(self._grid.bins))]
        self._places = {cell: place for place, cell in enumerate(cells)}
        self._rows = Tally(
            "segment_predictions",
            "Rows by cell of a declared column and bin of fewer bins.",
            labels=labels,
            label="cell",
            values=[segment_name(*cell) for cell in cells],
            registry=registry,
        )

    def count(self, request: InferenceRequest, scores: Scores) -> None:
        """Count the rows of one answer."""
        if not self._columns:
            return
        bins = row_bins(scores, self._grid).tolist()
        for column in self._columns:
            pairs = collections.Counter(zip(request.columns[column].tolist(), bins, strict=True))
            for (value, at), rows in pairs.items():
                cell = segment_cell(segment_level(value))
                self._rows.add(self._places[column, cell, at], rows)
