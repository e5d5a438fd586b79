"""Whether held-out rows were trained on, by their content, where no days can tell.

Not found are rows of which a value was changed, and a few copies in a table whose own rows repeat.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.domain.specs.contract import Column
from modelyard.errors import join_first

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

_CHANCE = 1e-6
"""Probability that more held-out rows repeat training rows than training rows repeat each other."""

_NAMED = 3


class RowKeys:
    """What is kept of rows to know them again: 8 bytes a row, and the values of some columns.

    Args:
        columns: The contract, which the rows keep.
        clusters: The columns whose values are kept.
    """

    def __init__(self, columns: Sequence[Column], clusters: Collection[str] = ()) -> None:
        self._columns = columns
        self._keys = array("Q")
        self.known: dict[str, set[Any]] = {cluster: set() for cluster in clusters}

    def add(self, frame: pd.DataFrame) -> None:
        """Take the next rows."""
        keys = _digests(frame, self._columns)
        for cluster, values in self.known.items():
            values.update(frame[cluster].dropna())
        self._keys.frombytes(keys.tobytes())

    @property
    def keys(self) -> NDArray[np.uint64]:
        """A number for each row that depends on its values alone."""
        return np.frombuffer(self._keys, dtype=np.uint64)

    def sort(self) -> None:
        """Bring the numbers in order, in place."""
        self.keys.sort()


def describe_seen_rows(held_out: RowKeys, training: RowKeys, *, cluster: str) -> str | None:
    """How held-out rows were trained on, or None.

    - A cluster has rows that are not independent, so it is on one side only.
    - A row with the same values in all columns is the same row. If the training rows repeat each
      other, as in a table of a few categories, as large a share of repetitions is chance.

    Args:
        held_out: The held-out rows.
        training: The training rows, sorted.
        cluster: The cluster of the held-out set; `row` makes every row its own.
    """
    if cluster != "row":
        both = sorted(held_out.known[cluster] & training.known[cluster], key=str)
        if both:
            named = join_first(map(str, both), _NAMED)
            return f"{len(both)} of its clusters ({cluster}) were trained on: {named}"
    rows, twins = held_out.keys, training.keys
    places = np.minimum(np.searchsorted(twins, rows), max(len(twins) - 1, 0))
    repeated = twins[places] == rows if len(twins) else np.zeros(len(rows), dtype=bool)
    count = int(repeated.sum())
    if count <= _by_chance(len(rows), _repeated_share(twins)):
        return None
    first = int(repeated.argmax()) + 1
    return f"{count} of its {len(rows)} rows were trained on; the first is row {first}"


def find_copies(frame: pd.DataFrame, columns: Sequence[Column]) -> tuple[int, list[int]]:
    """How many rows repeat an earlier one in all columns, and a number that equal rows share."""
    import pandas as pd

    numbers, different = pd.factorize(_digests(frame, columns))
    return len(frame) - len(different), numbers.tolist()


def _repeated_share(keys: NDArray[np.uint64]) -> float:
    """The share of sorted numbers that are there twice or more."""
    if not len(keys):
        return 0.0
    same = keys[1:] == keys[:-1]
    return float((np.append(same, False) | np.append(False, same)).mean())


def _by_chance(rows: int, share: float) -> int:
    """The most rows that repeat a training row by chance, if a share of those repeat each other."""
    if not share:
        return 0
    from scipy.stats import binom

    return int(binom.isf(_CHANCE, rows, min(share, 1.0)))


def _digests(frame: pd.DataFrame, columns: Sequence[Column]) -> NDArray[np.uint64]:
    """A number for each row, however pandas keeps its values, and whatever other rows there are."""
    import pandas as pd

    same = {}
    for column in columns:
        values = frame[column.name]
        if column.type == "integer":
            values = values.astype("Int64")
        elif column.type == "number":
            values = values + 0.0  # so that -0.0 is 0.0
        elif column.type == "boolean":
            # As numbers: a part without a value has no truths.
            values = values.astype(object).map({True: 1.0, False: 0.0}).astype("float64")
        same[column.name] = values
    keys = pd.util.hash_pandas_object(pd.DataFrame(same), index=False).to_numpy()
    return keys.astype(np.uint64, copy=False)
