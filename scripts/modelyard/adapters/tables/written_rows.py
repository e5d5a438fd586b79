"""Writes rows that come in parts: the file is that of `to_parquet` of all of them, to the byte."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

GROUP_ROWS = 2**18
"""Rows of a group, as pandas writes them."""


class Layout:
    """The types that a file of rows has, which are known when all of them were seen."""

    def __init__(self) -> None:
        self._dtypes: dict[str, dict[str, Any]] = {}
        self._values: dict[str, object] = {}

    def see_types(self, frame: pd.DataFrame) -> None:
        """Take note of the types of a part, of which not all rows may be written."""
        for name, dtype in frame.dtypes.items():
            self._dtypes.setdefault(str(name), {}).setdefault(str(dtype), dtype)

    def see(self, frame: pd.DataFrame) -> None:
        """Take note of a part that is written."""
        self.see_types(frame)
        for name in map(str, frame.columns):
            if name not in self._values and len(known := frame[name].dropna()):
                self._values[name] = known.astype(object).iloc[0]

    def schema(self) -> pa.Schema:
        """The types as pandas writes them, with its notes on each column."""
        import pandas as pd
        import pyarrow as pa

        table = pd.DataFrame({name: self._column(name) for name in self._dtypes})
        return pa.Schema.from_pandas(table, preserve_index=False)

    def _column(self, name: str) -> pd.Series[Any]:
        """One row of the type that all rows have, when they are in one frame."""
        import numpy as np
        import pandas as pd

        dtypes = self._dtypes[name].values()
        kinds = [pd.Series(np.zeros(1, "int64")).astype(dtype) for dtype in dtypes]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of types that never meet in a contract
            joined = pd.concat(kinds).iloc[:1]
        # Of objects the writer asks for a value; without one the column has no type.
        is_object = joined.dtype == object
        return pd.Series([self._values.get(name)], dtype=object) if is_object else joined


def write_rows(parts: Iterable[pd.DataFrame], schema: pa.Schema, path: Path) -> None:
    """Write parts of rows as a Parquet file with these types.

    In memory are `GROUP_ROWS` rows, and one part.
    """
    import pyarrow as pa
    from pyarrow import parquet

    group, has_group = _Group(schema), False
    # Arrow makes no nulls of a part that has a type, but no value.
    without = {field.name: None for field in schema if pa.types.is_null(field.type)}
    with parquet.ParquetWriter(path, schema, compression="zstd") as file:
        for part in parts:
            table = pa.Table.from_pandas(
                part.assign(**without), schema=schema, preserve_index=False
            )
            while group.rows + len(table) >= GROUP_ROWS:
                room = GROUP_ROWS - group.rows
                group.add(table.slice(0, room))
                table, has_group = table.slice(room), True
                file.write_table(group.take())
            group.add(table)
        if group.rows or not has_group:
            file.write_table(group.take())


class _Group:
    """The rows that wait until they are a group."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema, self.rows = schema, 0
        self._chunks: dict[str, list[pa.Array]] = {name: [] for name in schema.names}

    def add(self, table: pa.Table) -> None:
        import pyarrow as pa

        for name, chunks in self._chunks.items():
            found = table.column(name).chunks
            # A copy: the columns of a frame are one block of memory, and go when the last one goes.
            chunks.append(pa.concat_arrays([*found, *self._none(name)]))
        self.rows += len(table)

    def _none(self, name: str) -> list[pa.Array]:
        """Two arrays without a value: of a single array there would be no copy."""
        import pyarrow as pa

        return [pa.array([], self._schema.field(name).type)] * 2

    def take(self) -> pa.Table:
        """The rows as a table; after it there are none."""
        import pyarrow as pa

        arrays = []
        for name, chunks in self._chunks.items():
            # One array: in several, the pages of the file would end with each of them.
            arrays.append(pa.concat_arrays([*chunks, *self._none(name)]))
            chunks.clear()
        self.rows = 0
        return pa.Table.from_arrays(arrays, schema=self._schema)
