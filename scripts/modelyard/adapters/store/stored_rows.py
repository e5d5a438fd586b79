"""The rows of a Parquet file that a step wrote, read in parts: never all of them are in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.errors import CannotAnswer

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from pyarrow import parquet

PART_ROWS = 131_072
"""Rows of a part: enough for numpy, and of 50 columns about 50 MB."""

_BUFFER = 2**20  # without one a column of a group of rows is read at once, however many there are


class StoredRows:
    """The rows of a file, with the types that pandas wrote.

    Args:
        path: The file.
        name: Its name in messages.
    """

    def __init__(self, path: Path, *, name: str) -> None:
        self._path, self._name = path, name
        with self._open() as file:
            self._rows = int(file.metadata.num_rows)
            self.columns: tuple[str, ...] = tuple(file.schema_arrow.names)

    def __len__(self) -> int:
        """The number of rows."""
        return self._rows

    def parts(self, names: Sequence[str]) -> Iterator[pd.DataFrame]:
        """The rows in order, with these columns."""
        with self._open() as file:
            for batch in file.iter_batches(PART_ROWS, columns=list(names)):
                yield _frame(batch, names)

    def take(self, places: Sequence[int], names: Sequence[str]) -> pd.DataFrame:
        """The rows at these places, counted from 0, in this order; one may be asked for twice."""
        import numpy as np
        import pyarrow as pa

        wanted, order = np.unique(np.asarray(places, dtype=np.int64), return_inverse=True)
        found, done = [], 0
        with self._open() as file:
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                if not np.any((wanted >= done) & (wanted < done + rows)):
                    done += rows
                    continue
                for batch in file.iter_batches(PART_ROWS, row_groups=[group], columns=list(names)):
                    inside = wanted[(wanted >= done) & (wanted < done + len(batch))] - done
                    found.append(pa.Table.from_batches([batch]).take(inside))
                    done += len(batch)
        return _plain(pa.concat_tables(found).take(order.reshape(-1)), names)

    @contextmanager
    def _open(self) -> Iterator[parquet.ParquetFile]:
        import pyarrow as pa
        from pyarrow import parquet

        try:
            with parquet.ParquetFile(self._path, buffer_size=_BUFFER) as file:
                yield file
        except (OSError, pa.ArrowException) as error:
            raise CannotAnswer(f"{self._name}: not readable as a table: {error}") from error


def _frame(batch: pa.RecordBatch, names: Sequence[str]) -> pd.DataFrame:
    import pandas as pd
    import pyarrow as pa

    if not names:
        return pd.DataFrame(index=pd.RangeIndex(len(batch)))
    return _plain(pa.Table.from_batches([batch]), names)


def _plain(table: Any, names: Sequence[str]) -> pd.DataFrame:
    frame: pd.DataFrame = table.select(list(names)).to_pandas()
    return frame.reset_index(drop=True)
