"""Labels, scores and clusters of held-out rows, as arrays that a test can use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from modelyard.domain.specs.column_values import Floats
from modelyard.errors import CannotAnswer

Codes = NDArray[np.intp]


def binary_labels(labels: ArrayLike) -> NDArray[np.bool_]:
    """Whether each label is 1.

    Raises:
        CannotAnswer: There are no labels, or one is neither 0 nor 1.
    """
    values = np.asarray(labels)
    if values.ndim != 1 or not values.size:
        raise CannotAnswer(f"labels must be one column of at least one row, not {values.shape}")
    positive: NDArray[np.bool_] = np.asarray(values == 1)
    strange = values[~(positive | np.asarray(values == 0))]
    if strange.size:
        raise CannotAnswer(f"{strange.size} of {values.size} labels are not 0 or 1: {strange[0]!r}")
    return positive


def parse_scores(name: str, scores: ArrayLike, rows: int) -> Floats:
    """The scores as floats.

    Raises:
        CannotAnswer: There is not one number for each of `rows` rows.
    """
    try:
        values = np.asarray(scores, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise CannotAnswer(f"{name} predictions are not numbers: {error}") from error
    if values.shape != (rows,):
        raise CannotAnswer(f"{name} predictions have shape {values.shape}, labels ({rows},)")
    return values


def class_codes(values: ArrayLike, classes: Sequence[Any], what: str) -> Codes:
    """Each value's place among the classes.

    Raises:
        CannotAnswer: There are no values, or one of them is no class.
    """
    places = {level: place for place, level in enumerate(classes)}
    levels = np.asarray(values).tolist()
    unknown = [level for level in levels if level not in places]
    if unknown or not levels:
        raise CannotAnswer(f"{len(unknown)} of {len(levels)} {what} are no class: {unknown[:1]}")
    return np.array([places[level] for level in levels], dtype=np.intp)


def cluster_codes(clusters: ArrayLike, rows: int) -> Codes:
    """Each row's cluster as a number; the numbers count from 0 without gaps.

    Raises:
        CannotAnswer: There is not one name for each of `rows` rows, or a name is None, NaN or NaT.
    """
    names = np.asarray(clusters)
    if names.shape != (rows,):
        raise CannotAnswer(f"the cluster column has shape {names.shape}, labels ({rows},)")
    # NaN and NaT are the only values not equal to themselves; None would not sort.
    missing = np.asarray(names != names)  # noqa: PLR0124 - see above
    if names.dtype == object:
        missing = missing | np.array([name is None for name in names.tolist()], dtype=np.bool_)
    if missing.any():
        raise CannotAnswer(f"{int(missing.sum())} of {rows} rows have no cluster")
    return number_names(names)[1]


def number_names(names: NDArray[Any]) -> tuple[list[Any], Codes]:
    """All names that occur, in their order, and the place of each row's among them."""
    if names.dtype == object:
        # Sorting objects is slow, and of millions few are different.
        listed = names.tolist()
        ordered = sorted(set(listed))
        places = {name: place for place, name in enumerate(ordered)}
        return ordered, np.fromiter(map(places.__getitem__, listed), np.intp, len(listed))
    if names.size and names.dtype.kind in "iu" and names.min() >= 0 and names.max() < names.size:
        # Numbers of a part of the rows that were numbered before.
        occurs = np.bincount(names) > 0
        return np.flatnonzero(occurs).tolist(), (occurs.cumsum() - 1)[names]
    different, codes = np.unique(names, return_inverse=True)
    return different.tolist(), codes
