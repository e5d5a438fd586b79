"""Finds rows that are unlike every row of training, for which a model need not have an answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelyard.domain.specs.contract import Column
from modelyard.errors import Refused
from modelyard.serving.documents import Serving, Training
from modelyard.serving.tensor import describe_value

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    Floats = npt.NDArray[np.float64]
    Mask = npt.NDArray[np.bool_]

SPANS = 10.0
"""How far beyond training a number may be, in spans of the training values."""

LARGEST = 1e30
"""The largest number where the training values are not known: its square still fits a float."""

_YEARS = ("1900", "2100")


class OutlierError(Refused):
    """A request has rows that are unlike every row of training, and the model fails on them."""


@dataclass(frozen=True, kw_only=True)
class Outliers:
    """Rows unlike every row of training.

    Args:
        rows: Whether each row is one.
        worst: The input, the row and the value that differ most, and what was expected.
    """

    rows: Mask
    worst: str


def find_outliers(frame: pd.DataFrame, serving: Serving) -> Outliers | None:
    """The rows of a request that are unlike every row of training; None if there are none.

    A number far outside of the training range, a level that did not occur, a missing value where
    there was none, or a time in another century.
    """
    import numpy as np  # noqa: PLC0415 - a frame's maker has imported it

    rows, worst, size = np.zeros(len(frame), dtype=bool), "", -1.0
    for column in serving.inputs:
        sizes, expected = _strange(column, frame[column.name], serving.training)
        rows |= sizes >= 0
        at = int(sizes.argmax())
        if sizes[at] > size:
            size = float(sizes[at])
            found = describe_value(_plain(frame[column.name].tolist()[at]))
            worst = f"input {column.name}: expected {expected}, found {found} in row {at}"
    return Outliers(rows=rows, worst=worst) if worst else None


def _strange(column: Column, values: pd.Series[Any], training: Training) -> tuple[Floats, str]:
    """For each row how far it is from training, -1 if it is not, and what was expected."""
    import numpy as np  # noqa: PLC0415 - as above

    missing = values.isna().to_numpy(dtype=bool)
    odd, far, expected = np.zeros(len(values), dtype=bool), np.zeros(len(values)), ""
    if missing.any() and column.default is None and training.null.get(column.name) == 0:
        odd, expected = missing, "a value, as in every row of training"
    elif column.type in {"number", "integer"}:
        low, high = _range(column, training)
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
        far, odd = np.abs(numbers), (numbers < low) | (numbers > high)
        expected = f"{low:.6g} to {high:.6g}"
    elif column.type == "category":
        known = training.levels.get(column.name, ())
        odd, expected = ~missing & ~values.isin(known).to_numpy(bool), "a level of training"
    elif column.type == "timestamp":
        years = values.astype(str).str[:4]
        usual = ((years >= _YEARS[0]) & (years < _YEARS[1])).to_numpy(dtype=bool)
        odd, expected = ~missing & ~usual, f"a time from {_YEARS[0]} to {_YEARS[1]}"
    return np.where(odd, far, -1.0), expected


def _range(column: Column, training: Training) -> tuple[float, float]:
    """What a number may be: near the training values, and within the contract's limits."""
    low, high = training.ranges.get(column.name, (-LARGEST, LARGEST))
    if column.name in training.ranges:
        span = SPANS * max(high - low, abs(low), abs(high), 1.0)
        low, high = low - span, high + span
    least, most = column.limits
    return max(low, least), min(high, most)


def _plain(value: object) -> object:
    return None if value != value else value  # noqa: PLR0124 - NaN is not itself
