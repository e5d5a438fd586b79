"""The rows of a block or window that are looked at: chosen by what they hold, never by their place.

Every n-th row would fall in step with rows in an order, and another order would choose others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from modelyard.domain.drift.row_keys import Keys, mix_keys, row_keys
from modelyard.domain.drift.second_look.habits import number_columns
from modelyard.domain.specs.column_values import Array, Floats, ReadColumns, plain_array
from modelyard.domain.specs.contract import Column

MOST_ROWS = 5_000
"""Rows of a block or window that are looked at, about; more would only cost time."""

_ALL = 2.0**64


def content_keys(numbers: Mapping[str, Floats], times: Array) -> Keys:
    """A key of each row's time and numbers, the same in every process."""
    columns = [Column(name=name, type="number") for name in numbers]
    return mix_keys(row_keys(numbers, columns, times=times))


class Places:
    """The place of each row in the order by which rows are chosen: any number of 64 bits.

    Rows with the same content have places of their own. Else all of them were chosen or none, and
    of a table of a few categories a sample would say nothing.

    Args:
        keys: The keys of all rows, in ascending order.
    """

    def __init__(self, keys: Keys) -> None:
        alike = keys[1:] == keys[:-1]
        self._twins = np.unique(keys[1:][alike])
        self._seen = np.zeros(len(self._twins), dtype=np.int64)

    def of(self, keys: Keys) -> Keys:
        """The places of some rows by their keys; each row is asked for once."""
        if not len(self._twins):
            return keys
        found = np.minimum(np.searchsorted(self._twins, keys), len(self._twins) - 1)
        rows = np.flatnonzero(self._twins[found] == keys)
        rows = rows[np.argsort(found[rows], kind="stable")]
        twins = found[rows]
        starts = np.flatnonzero(np.diff(twins, prepend=-1))
        counts = np.diff(starts, append=len(twins))
        numbers = np.arange(len(twins)) - np.repeat(starts, counts) + self._seen[twins]
        self._seen[twins[starts]] += counts
        places = keys.copy()
        places[rows] = mix_keys(keys[rows] + numbers.astype(np.uint64))
        return places


def is_chosen(places: Keys, rows: npt.NDArray[np.int64] | int) -> npt.NDArray[np.bool_]:
    """Whether a row is looked at.

    Args:
        places: The places of rows.
        rows: The rows of the block or window that they are in; of each row, or of all.
    """
    # Of up to MOST_ROWS rows all are.
    share = MOST_ROWS / np.maximum(rows, 1)
    least = np.where(share < 1, share, 1) * _ALL
    chosen: npt.NDArray[np.bool_] = (places < least) | (share >= 1)
    return chosen


def choose_rows(keys: Keys) -> npt.NDArray[np.intp]:
    """The rows of a window that are looked at, by the content keys of all of them."""
    if len(keys) <= MOST_ROWS:
        return np.arange(len(keys))
    return np.flatnonzero(is_chosen(Places(np.sort(keys)).of(keys), len(keys)))


@dataclass(frozen=True, kw_only=True)
class ChosenRows:
    """The rows of a window that are looked at.

    Args:
        numbers: The number columns, NaN for null.
        times: Each row's time.
        of: The rows of the window, chosen or not.
    """

    numbers: Mapping[str, Floats]
    times: Array
    of: int


def read_chosen(
    read: ReadColumns, columns: Sequence[Column], timestamp: str, keys: Keys
) -> ChosenRows:
    """The rows of a window that are looked at.

    Args:
        read: Reads the window.
        columns: The columns to watch.
        timestamp: The column with each row's time.
        keys: The content keys of all rows, in their order.
    """
    rows, done = choose_rows(keys), 0
    parts: list[tuple[dict[str, Floats], Array]] = []
    names = [column.name for column in columns if column.type in {"number", "integer"}]
    for part in read([timestamp, *names]):
        times = plain_array(part[timestamp])
        own = rows[np.searchsorted(rows, done) : np.searchsorted(rows, done + len(times))] - done
        numbers = number_columns(part, columns)
        parts.append(({name: values[own] for name, values in numbers.items()}, times[own]))
        done += len(times)
    return ChosenRows(
        numbers={name: np.concatenate([each[name] for each, _ in parts]) for name in names},
        times=np.concatenate([times for _, times in parts]),
        of=len(keys),
    )
