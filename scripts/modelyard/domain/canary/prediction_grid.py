"""The fixed grid that predictions are counted on; it is the same for all versions of a model."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from modelyard.domain.specs.model import Output, OutputKind

# Servers count on this grid, so counts of servers with another one cannot be compared.
PROBABILITY_BINS = 100
VALUE_BINS = 100

SMALL_PARTS = tuple(
    float(f"{digits}e-{decade}") for decade in (6, 5, 4, 3) for digits in (1, 1.5, 2, 3, 5, 7)
)
"""Edges within the outermost hundredth, as parts of the range: rare events have small chances, and
values are often a small part of the range that their contract allows."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Bins of the primary output.

    Args:
        edges: Inner edges, ascending, shape (bins - 1,); empty for classes. A value on an edge
            belongs to the bin above it. Values outside count in the first or last bin.
        classes: The levels, each with a bin; empty for numbers.
        older: The grid of servers before this one had small parts; each of its edges is an edge
            here too. None if it is the same.
    """

    edges: tuple[float, ...] = ()
    classes: tuple[str, ...] = ()
    older: Grid | None = None

    @property
    def bins(self) -> int:
        """The number of bins."""
        return len(self.classes) if self.classes else len(self.edges) + 1

    @property
    def older_bins(self) -> tuple[int, ...]:
        """The bin of the older grid that each bin is a part of."""
        edges = self.older.edges if self.older else self.edges
        return (0, *(bisect_right(edges, edge) for edge in self.edges))


def prediction_grid(output: Output) -> Grid:
    """The grid of an output: hundredths of a probability or of the value's range, or classes.

    The hundredths at both ends, and those next to a zero inside the range, have small parts.
    """
    if output.kind is OutputKind.CLASS:
        return Grid(classes=output.classes)
    if output.kind is OutputKind.PROBABILITY:
        return _with_small_parts(0.0, 1.0, PROBABILITY_BINS)
    if output.minimum is None or output.maximum is None:
        raise ValueError(f"output {output.name!r} of kind value needs minimum and maximum")
    return _with_small_parts(output.minimum, output.maximum, VALUE_BINS)


def _with_small_parts(low: float, high: float, bins: int) -> Grid:
    hundredths = _inner_edges(low, high, bins)
    parts = [(high - low) * part for part in SMALL_PARTS]
    edges = {*hundredths, *(low + part for part in parts), *(high - part for part in parts)}
    if low < 0 < high:
        # Beside zero, but not beyond the ends: a range may begin just below it.
        edges |= {edge for part in parts for edge in (-part, part) if low < edge < high}
    inner = sorted(edge for edge in edges if low < edge < high)
    return Grid(edges=tuple(inner), older=Grid(edges=hundredths))


def _inner_edges(low: float, high: float, bins: int) -> tuple[float, ...]:
    return tuple(low + (high - low) * step / bins for step in range(1, bins))
