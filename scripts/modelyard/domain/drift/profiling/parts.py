"""Rows that are read in parts, as often as needed and a few columns at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from modelyard.domain.drift.block_effects import Integers
from modelyard.domain.specs.column_values import Array, CodedValues, Table


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some of the rows.

    Args:
        table: The columns that were asked for, but those in `coded`.
        blocks: Shape (rows,): each row's calendar block.
        times: Shape (rows,): each row's time; None if rows have none.
        coded: Category columns whose file has each level once.
    """

    table: Table
    blocks: Integers
    times: Array | None = None
    coded: Mapping[str, CodedValues] = field(default_factory=dict)

    def levels(self, name: str) -> Array | CodedValues:
        """A category or boolean column."""
        return self.coded[name] if name in self.coded else self.table[name]


ReadParts = Callable[[Sequence[str]], Iterator[Part]]
"""Reads all rows in parts, with the columns of these names alone."""

Number = TypeVar("Number", np.float64, np.uint64)


class Collected(Generic[Number]):
    """A value of each row, collected from parts: in memory once, also while they are sorted.

    Args:
        most: The number of rows.
        kind: The type of the values.
    """

    def __init__(self, most: int, kind: type[Number]) -> None:
        self._values: npt.NDArray[Number] = np.empty(most, dtype=kind)
        self._size = 0

    def add(self, values: npt.NDArray[Number]) -> None:
        """Add the values of some rows."""
        self._values[self._size : self._size + len(values)] = values
        self._size += len(values)

    def in_order(self) -> npt.NDArray[Number]:
        """All values in ascending order."""
        found: npt.NDArray[Number] = self._values[: self._size]
        found.sort()
        return found
