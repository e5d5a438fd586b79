"""Rows that are read in parts, as often as needed and a few columns at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from modelyard.domain.drift.block_effects import Integers
from modelyard.domain.specs.column_values import Array, Table


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some of the rows.

    Args:
        table: The columns that were asked for.
        blocks: Shape (rows,): each row's calendar block.
        times: Shape (rows,): each row's time; None if rows have none.
    """

    table: Table
    blocks: Integers
    times: Array | None = None


ReadParts = Callable[[Sequence[str]], Iterator[Part]]
"""Reads all rows in parts, with the columns of these names alone."""
