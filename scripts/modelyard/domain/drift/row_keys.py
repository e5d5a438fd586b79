"""Keys of rows: equal rows have equal keys, so that rows which come again can be counted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from modelyard.domain.specs.column_values import (
    Array,
    CodedValues,
    Columns,
    Values,
    read_column,
)
from modelyard.domain.specs.contract import Column

Keys = npt.NDArray[np.uint64]

_NUMBERS, _ENOUGH = 6, 4  # columns that are read: numbers first, which seldom agree by chance
_SLICE = 2**20  # keys that are compared at a time
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(29)


def row_keys(
    table: Columns,
    columns: Iterable[Column],
    *,
    times: Array | None = None,
    coded: Mapping[str, CodedValues] | None = None,
) -> Keys:
    """A key of each row, valid in this process.

    With times it is of all columns: few of them agree by chance in many rows of one time. Without
    times it is of a few: others may be made of the time, and differ when a row comes again.

    Args:
        table: The rows.
        columns: The columns that may be read; without times the first few numbers are, and levels
            if those are few.
        times: Shape (rows,): each row's time.
        coded: Category columns that are not in the table.
    """
    there: dict[str, Values] = {**table, **(coded or {})}
    known = [column for column in columns if column.name in there and column.type != "timestamp"]
    chosen = known if times is not None else _few(known)
    parts = [_codes(column, there[column.name]) for column in chosen]
    if times is not None:
        parts.append(times.astype("datetime64[us]").astype(np.int64).view(np.uint64))
    keys = np.zeros(len(parts[0]) if parts else 0, dtype=np.uint64)
    for part in parts:
        keys = (keys ^ part) * _GOLDEN
        keys ^= keys >> _HALF
    return keys


class KeyTally:
    """Collects a key of each row of a window from parts of its rows: 8 bytes a row.

    Args:
        keys_of: The keys of some rows.
    """

    def __init__(self, keys_of: Callable[[Columns], Keys]) -> None:
        self._keys_of = keys_of
        self._parts: list[Keys] = [np.zeros(0, dtype=np.uint64)]

    def add(self, part: Columns) -> None:
        """Take the next rows."""
        self._parts.append(self._keys_of(part))

    def keys(self) -> Keys:
        """The keys of the rows so far, in their order."""
        self._parts = [np.concatenate(self._parts)]
        return self._parts[0]


def repeated_share(keys: Keys) -> float:
    """The share of rows whose key another row has too."""
    return share_of_runs(np.sort(keys))


def share_of_runs(ordered: Keys) -> float:
    """As `repeated_share`, of keys in ascending order."""
    return _count_runs(ordered) / len(ordered) if len(ordered) else 0.0


def keys_in_blocks(keys: Keys, blocks: npt.NDArray[np.int64], height: int) -> Keys:
    """Keys of which those of a block come together when they are sorted, in as many bytes.

    Args:
        keys: The keys of rows.
        blocks: Shape (rows,), their blocks, 0, 1, 2 ...; -1 for rows of no whole block.
        height: The number of blocks.
    """
    bits = _block_bits(height)
    places = np.where(blocks < 0, height, blocks).astype(np.uint64)
    marked: Keys = (places << np.uint64(64 - bits)) | (keys >> np.uint64(bits))
    return marked


def repeated_of_blocks(ordered: Keys, height: int) -> list[int]:
    """The rows of each block whose key another row of it has too, those of no block last.

    Args:
        ordered: What `keys_in_blocks` made of all keys, in ascending order.
        height: The number of blocks.
    """
    first = np.arange(height + 1, dtype=np.uint64) << np.uint64(64 - _block_bits(height))
    ends = [*np.searchsorted(ordered, first).tolist(), len(ordered)]
    return [_count_runs(ordered[since:until]) for since, until in pairwise(ends)]


def _block_bits(height: int) -> int:
    return max(1, height.bit_length())  # for one more than there are blocks


def _count_runs(ordered: Keys) -> int:
    """The keys, in ascending order, that another one equals."""
    # In slices: counts of each key would be as long as the keys again.
    repeated, was_alike = 0, False
    for first in range(1, len(ordered), _SLICE):
        here = ordered[first : first + _SLICE]
        alike = here == ordered[first - 1 : first - 1 + len(here)]
        # The first row of a run is like the row after it, and has to be counted too.
        starts = np.count_nonzero(alike[1:] & ~alike[:-1]) + int(alike[0] and not was_alike)
        repeated += int(np.count_nonzero(alike) + starts)
        was_alike = bool(alike[-1])
    return repeated


def mix_keys(keys: Keys) -> Keys:
    """The keys with every bit depending on every other, as SplitMix64 ends; 0 is not 0."""
    mixed = keys + _GOLDEN
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def known_share(keys: Keys, earlier: Keys) -> float:
    """The share of `keys` that are also in `earlier`; both are sorted."""
    known = 0
    for first in range(0, len(keys) if len(earlier) else 0, _SLICE):
        here = keys[first : first + _SLICE]
        places = np.minimum(np.searchsorted(earlier, here), len(earlier) - 1)
        known += int(np.count_nonzero(earlier[places] == here))
    return known / len(keys) if known else 0.0


def _few(columns: Sequence[Column]) -> list[Column]:
    chosen = [each for each in columns if each.type in {"number", "integer"}][:_NUMBERS]
    if len(chosen) < _ENOUGH:
        chosen += [each for each in columns if each not in chosen][: _ENOUGH - len(chosen)]
    return chosen


class _Hashes(dict[object, int]):
    """The hash of each value as text, computed once for each text."""

    def __missing__(self, value: object) -> int:
        found = hash(str(value))
        # True, 1 and 1.0 are one key of a dictionary, but three texts.
        if isinstance(value, str):
            self[value] = found
        return found


def _codes(column: Column, values: Values) -> Keys:
    if isinstance(values, CodedValues):
        return values.map_values(_Hashes().__getitem__).view(np.uint64)
    if column.type in {"number", "integer"}:
        numbers = read_column(column.type, values).values + 0.0  # -0.0 equals 0.0
        return np.where(np.isnan(numbers), np.nan, numbers).view(np.uint64)
    listed = values.tolist()
    try:
        # Levels are few, and text is found in a dictionary sooner than it is hashed by `str`.
        hashes = np.fromiter(map(_Hashes().__getitem__, listed), np.int64, count=len(values))
    except TypeError:  # lists and dicts are not hashable
        hashes = np.fromiter(map(hash, map(str, listed)), dtype=np.int64, count=len(values))
    return hashes.view(np.uint64)
