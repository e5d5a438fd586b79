"""The contract checked on rows that come in parts, with the answer of all rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from modelyard.adapters.tables.contract_types import is_of_contract
from modelyard.adapters.tables.frames import columns_of
from modelyard.domain.specs.contract import Breach, Column, ContractCheck

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from modelyard.domain.specs.column_values import CodedValues


class PartsCheck:
    """The contract checked on rows in parts, with the answer of all rows.

    Args:
        columns: The contract.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self._types = {column.name: column.type for column in columns}
        self._check = ContractCheck(columns)
        self._others: set[str] = set()

    @property
    def has_misfits(self) -> bool:
        """Whether a value is not of its column's type, which is a breach for sure."""
        return bool(self._check.misfits)

    def add(self, frame: pd.DataFrame, coded: Mapping[str, CodedValues] | None = None) -> None:
        """Take the next rows, and those of their columns that are coded texts."""
        self._check.add({**columns_of(frame), **(coded or {})})
        for name, kind in self._types.items():
            if name in frame and not is_of_contract(kind, frame[name].dtype):
                self._others.add(name)

    def breaches(self, read_column: Callable[[str], NDArray[Any]]) -> tuple[Breach, ...]:
        """The breaches of all rows.

        Args:
            read_column: Reads all rows of a column. One whose type in the file has nothing to do
                with the contract is described as one, because parts may be of other arrays.
        """
        for name in sorted(self._others & self._check.misfits):
            self._check.describe_as_one(name, read_column(name))
        return self._check.breaches()
