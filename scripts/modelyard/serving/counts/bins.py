"""The bins of predictions, and edges as arrays."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from modelyard.domain.canary.prediction_grid import Grid
    from modelyard.serving.predictor import Scores


def bin_counts(scores: Scores, bins: Grid) -> npt.NDArray[np.int64]:
    """Rows by bin: the grid's for shape (rows,), the likeliest class for shape (rows, classes).

    A value on an edge belongs to the bin above it; see `modelyard.domain.canary.prediction_grid`.
    """
    import numpy as np  # noqa: PLC0415 - the local scraper reads only names

    if bins.classes:
        return np.bincount(row_bins(scores, bins), minlength=bins.bins)
    return count_between(array_of(bins.edges), scores)


def count_between(
    edges: npt.NDArray[np.float64], values: npt.NDArray[Any]
) -> npt.NDArray[np.int64]:
    """How many values are below the first edge, from each edge to the next, and from the last on.

    Args:
        edges: Ascending, shape (edges,).
        values: Shape (rows,); none of them is NaN.

    Returns:
        Shape (edges + 1,).
    """
    import numpy as np  # noqa: PLC0415 - as above

    if len(values) < len(edges):
        return np.bincount(edges.searchsorted(values, side="right"), minlength=len(edges) + 1)
    # Edges are found among sorted values in a third of the time of the other way round.
    ends = np.empty(len(edges) + 2, dtype=np.int64)
    ends[0], ends[1:-1], ends[-1] = 0, np.sort(values).searchsorted(edges), len(values)
    return ends[1:] - ends[:-1]


def row_bins(scores: Scores, bins: Grid) -> npt.NDArray[np.intp]:
    """The bin of each row, as `bin_counts` counts them."""
    import numpy as np  # noqa: PLC0415 - as above

    found: npt.NDArray[np.intp] = (
        scores.argmax(axis=1)
        if bins.classes
        else np.searchsorted(array_of(bins.edges), scores, side="right")
    )
    return found


@lru_cache(maxsize=4096)
def array_of(edges: tuple[float, ...]) -> npt.NDArray[np.float64]:
    """Edges as an array, which each search would make of them anew."""
    import numpy as np  # noqa: PLC0415 - as above

    return np.array(edges, dtype=np.float64)
