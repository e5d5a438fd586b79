"""The rows of a Parquet file that a step wrote, read in parts: never all of them are in memory."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.adapters.tables.frames import columns_of
from modelyard.domain.specs.column_values import CodedValues
from modelyard.errors import CannotAnswer

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray
    from pyarrow import parquet

PART_ROWS = 32_768
"""Rows of a part: enough for numpy, and of 50 columns about 13 MB, several times over."""

_COPIED_ROWS = 131_072
"""Rows of a group of a copy."""

_DICTIONARY_BYTES = 2**16
"""Packed bytes of the texts of a group, beyond which they are read row by row."""

_BUFFER = 2**20  # without one a column of a group of rows is read at once, however many there are


@contextmanager
def open_parts(
    path: Path, *, name: str, coded: Sequence[str] = ()
) -> Iterator[parquet.ParquetFile]:
    """A Parquet file to read in parts, with what it has read ahead in memory and no more.

    Args:
        path: The file.
        name: Its name in messages.
        coded: Columns of text that are read as the file has them: each text once.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        # With `pre_buffer`, Arrow's default since 25, all bytes that were read stay until the end.
        with parquet.ParquetFile(
            path, buffer_size=_BUFFER, pre_buffer=False, read_dictionary=list(coded)
        ) as file:
            yield file
    except (OSError, ValueError, pa.ArrowException) as error:
        raise CannotAnswer(f"{name}: not readable as a table: {error}") from error


class StoredRows:
    """The rows of a file, with the types that pandas wrote.

    Args:
        path: The file.
        name: Its name in messages.
    """

    def __init__(self, path: Path, *, name: str) -> None:
        self.path, self._name = path, name
        with self._open() as file:
            self._rows = int(file.metadata.num_rows)
            self.columns: tuple[str, ...] = tuple(file.schema_arrow.names)
            self._texts = few_texts(file)

    def __len__(self) -> int:
        """The number of rows."""
        return self._rows

    def parts(self, names: Sequence[str]) -> Iterator[pd.DataFrame]:
        """The rows in order, with these columns."""
        with self._open() as file:
            for batch in file.iter_batches(PART_ROWS, columns=list(names)):
                yield _frame(batch, names)

    def coded_parts(
        self, names: Sequence[str], *, plain: Collection[str] = ()
    ) -> Iterator[tuple[pd.DataFrame, dict[str, CodedValues]]]:
        """As `parts`, with columns of few texts apart: the file has each text once.

        Args:
            names: The columns.
            plain: Those that are in the frame also if they are of text.
        """
        texts = [name for name in names if name in self._texts and name not in plain]
        with self._open(coded=texts) as file:
            for batch in file.iter_batches(PART_ROWS, columns=list(names), use_threads=False):
                coded = {name: coded_values(batch.column(name)) for name in texts}
                yield _frame(batch, [name for name in names if name not in coded]), coded

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

    def column(self, name: str) -> pd.Series[Any]:
        """All rows of one column."""
        with self._open() as file:
            return _plain(file.read(columns=[name]), [name])[name]

    def copy_without(self, names: Collection[str], path: Path) -> None:
        """Write the rows to another file without these columns; Arrow keeps every type as it is."""
        from pyarrow import parquet

        kept = [name for name in self.columns if name not in names]
        with self._open() as file:
            schema = file.schema_arrow.empty_table().select(kept).schema
            with parquet.ParquetWriter(path, schema) as copy:
                for batch in file.iter_batches(_COPIED_ROWS, columns=kept):
                    copy.write_batch(batch.select(kept).cast(schema))

    def _open(self, *, coded: Sequence[str] = ()) -> AbstractContextManager[parquet.ParquetFile]:
        return open_parts(self.path, name=self._name, coded=coded)


class StoredTable(Mapping[str, "NDArray[Any]"]):
    """The rows as the domain reads tables; a column is in memory while somebody has it."""

    def __init__(self, rows: StoredRows) -> None:
        self._rows = rows

    def __getitem__(self, name: str) -> NDArray[Any]:
        """A column."""
        if name not in self._rows.columns:
            raise KeyError(name)
        return columns_of(self._rows.column(name).to_frame())[name]

    def __iter__(self) -> Iterator[str]:
        """The names of the columns."""
        return iter(self._rows.columns)

    def __len__(self) -> int:
        """The number of columns."""
        return len(self._rows.columns)


def few_texts(file: parquet.ParquetFile) -> list[str]:
    """The columns of text of which a file has each text once in a group of rows."""
    import pyarrow as pa

    kinds = {pa.string(), pa.large_string()}
    found = {field.name for field in file.schema_arrow if field.type in kinds}
    for group in range(file.num_row_groups):
        groups = file.metadata.row_group(group)
        for column in map(groups.column, range(groups.num_columns)):
            if column.path_in_schema in found and not _has_few(column):
                found.remove(column.path_in_schema)
    return sorted(found)


def coded_values(column: pa.DictionaryArray) -> CodedValues:
    """A column with those of its values alone that occur, as None where it is null."""
    import numpy as np

    codes = column.indices.fill_null(len(column.dictionary)).to_numpy(zero_copy_only=False)
    used = np.flatnonzero(np.bincount(codes))
    places = np.zeros(len(column.dictionary) + 1, dtype=np.intp)
    places[used] = np.arange(len(used))
    known = used[used < len(column.dictionary)]
    values = column.dictionary.take(known).to_pylist()
    nulls = [None] * (len(used) - len(known))
    return CodedValues(codes=places[codes], distinct=(*values, *nulls))


def _has_few(column: parquet.ColumnChunkMetaData) -> bool:
    # A writer gives up a dictionary that grows, and goes on with each text as often as it comes.
    start = column.dictionary_page_offset
    return start is not None and column.data_page_offset - start <= _DICTIONARY_BYTES


def _frame(batch: pa.RecordBatch, names: Sequence[str]) -> pd.DataFrame:
    import pandas as pd
    import pyarrow as pa

    if not names:
        return pd.DataFrame(index=pd.RangeIndex(len(batch)))
    return _plain(pa.Table.from_batches([batch]), names)


def _plain(table: Any, names: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    # A block for each column, and no `reset_index`: both would copy the columns of one type.
    frame: pd.DataFrame = table.select(list(names)).to_pandas(split_blocks=True)
    frame.index = pd.RangeIndex(len(frame))
    return frame
