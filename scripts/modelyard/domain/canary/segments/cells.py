"""How servers count predictions by segment: names of cells, and a grid of fewer bins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from modelyard.domain.canary.input_mix import LEVEL_CELLS, cell_name, level_cell
from modelyard.domain.canary.prediction_grid import SMALL_PARTS, Grid
from modelyard.domain.specs.model import Output, OutputKind

if TYPE_CHECKING:
    from numpy.typing import NDArray

SEGMENT = "segment: "
"""Before a column's name, in the evidence of scores, where each row's level is."""

NULL = "null"
"""The cell of rows without a level."""

CELLS = (*map(str, range(LEVEL_CELLS)), NULL)
"""All cells of a column."""

_TWENTIETHS = tuple(step / 20 for step in range(1, 20))
_HUNDREDTHS = (0.01, 0.02, 0.03, 0.97, 0.98, 0.99)


def segment_level(value: object) -> str:
    """The level of a category or boolean as text; empty for null."""
    if isinstance(value, str):
        return str(value)
    # A boolean of numpy is none of Python's, and pandas' null has no truth.
    return {"True": "true", "False": "false", "1.0": "true", "0.0": "false"}.get(str(value), "")


def segment_levels(values: Sequence[object]) -> NDArray[Any]:
    """The level of each row, as text."""
    import numpy as np  # noqa: PLC0415 - a server's counters start without it

    return np.array([segment_level(value) for value in values], dtype=object)


def segment_cell(level: str) -> str:
    """The cell of a level: levels share eight, as those of the input mix do."""
    return str(level_cell(level)) if level else NULL


def segment_name(column: str, cell: str, place: int) -> str:
    """The name of the rows of one cell whose predictions are in one bin."""
    return cell_name(f"{column}:{cell}", place)


def segment_grid(output: Output) -> Grid:
    """The grid of an output with twentieths for hundredths, for there are many segments.

    Raises:
        ValueError: A value has no range.
    """
    if output.kind is OutputKind.CLASS:
        return Grid(classes=output.classes)
    low, high = (0.0, 1.0)
    if output.kind is OutputKind.VALUE:
        if output.minimum is None or output.maximum is None:
            raise ValueError(f"output {output.name!r} of kind value needs minimum and maximum")
        low, high = output.minimum, output.maximum
    parts = [(high - low) * part for part in (*_TWENTIETHS, *_HUNDREDTHS)]
    small = [(high - low) * part for part in SMALL_PARTS]
    edges = {low + part for part in (*parts, *small)} | {high - part for part in small}
    if low < 0 < high:
        edges |= {edge for part in small for edge in (-part, part)}
    return Grid(edges=tuple(sorted(edge for edge in edges if low < edge < high)))
