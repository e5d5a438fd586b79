"""The bins of predictions, and edges as arrays."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

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

    return np.bincount(row_bins(scores, bins), minlength=bins.bins)


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
