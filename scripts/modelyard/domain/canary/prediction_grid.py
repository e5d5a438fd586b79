"""The fixed grid that predictions are counted on; it is the same for all versions of a model."""

from __future__ import annotations

from dataclasses import dataclass

from modelyard.domain.specs.model import Output, OutputKind

# Servers count on this grid, so counts of servers with another one cannot be compared.
PROBABILITY_BINS = 100
VALUE_BINS = 100


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Bins of the primary output.

    Args:
        edges: Inner edges, ascending, shape (bins - 1,); empty for classes. A value on an edge
            belongs to the bin above it. Values outside count in the first or last bin.
        classes: The levels, each with a bin; empty for numbers.
    """

    edges: tuple[float, ...] = ()
    classes: tuple[str, ...] = ()

    @property
    def bins(self) -> int:
        """The number of bins."""
        return len(self.classes) if self.classes else len(self.edges) + 1


def prediction_grid(output: Output) -> Grid:
    """The grid of an output: hundredths of a probability or of the value's range, or classes."""
    if output.kind is OutputKind.CLASS:
        return Grid(classes=output.classes)
    if output.kind is OutputKind.PROBABILITY:
        return Grid(edges=_inner_edges(0.0, 1.0, PROBABILITY_BINS))
    if output.minimum is None or output.maximum is None:
        raise ValueError(f"output {output.name!r} of kind value needs minimum and maximum")
    return Grid(edges=_inner_edges(output.minimum, output.maximum, VALUE_BINS))


def _inner_edges(low: float, high: float, bins: int) -> tuple[float, ...]:
    return tuple(low + (high - low) * step / bins for step in range(1, bins))
