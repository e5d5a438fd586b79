"""People's tables on this disk, read in parts: the rows of `read_table`, never all in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.adapters.store.contract_types import Source, are_plain_times, is_of_contract
from modelyard.adapters.store.csv_text import line_of_row, read_csv_text, unpacked
from modelyard.adapters.store.table_files import (
    CSV,
    contract_frame,
    read_table,
    suspects_of,
)
from modelyard.adapters.store.tables import columns_of, file_breaches, is_within, rows_within
from modelyard.domain.specs.contract import Breach, Column, ContractCheck
from modelyard.domain.specs.interval import Interval
from modelyard.domain.specs.model import DataContract
from modelyard.domain.specs.times import find_zone
from modelyard.errors import CannotAnswer

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray
    from pyarrow import parquet

PART_ROWS = 32_768
"""Rows of a part: they are there several times, as Arrow and as pandas have them."""

_BUFFER = 2**20  # without one a column of a group of rows is read at once, however many there are


class TableFile:
    """A Parquet or CSV file on this disk that is read in parts, any number of times.

    Of CSV, the texts of the contract's columns are written to a Parquet file beside it, once.

    Args:
        path: The file; the folder is the caller's to remove.
        uri: Its address, which says what it is and names it in messages.
        data: The contract.
    """

    def __init__(self, path: Path, *, uri: str, data: DataContract) -> None:
        self.uri, self._data = uri, data
        self._path, self._timestamp = path, data.timestamp or ""

    def parts(
        self, only: Sequence[str] | None = None, spans: Sequence[Interval] | None = None
    ) -> Iterator[pd.DataFrame]:
        """The rows in order, in at least one part; see `read_table`.

        Args:
            only: The columns, of a file without `breaches`; None for all of the contract.
            spans: The days of the rows, of a file without `breaches`; None for all rows.

        Raises:
            CannotAnswer: It is no table.
        """
        if self._stored is None:
            frame = self.whole(only)
            yield frame if spans is None else self._within(frame, spans)
            return
        names = [column.name for column in self._data.columns]
        wanted = names if only is None else list(only)
        read = wanted if spans is None else list(dict.fromkeys([*wanted, self._timestamp]))
        for first, table in self._tables(read, spans):
            frame = self._frame(table, first, read)
            yield (frame if spans is None else self._within(frame, spans))[wanted]

    def _within(self, frame: pd.DataFrame, spans: Sequence[Interval]) -> pd.DataFrame:
        return rows_within(frame, timestamp=self._timestamp, spans=spans)

    def whole(self, only: Sequence[str] | None = None) -> pd.DataFrame:
        """All rows at once, for what can only be said of a column as a whole."""
        return read_table(self._path.read_bytes(), uri=self.uri, data=self._data, only=only)

    @cached_property
    def breaches(self) -> tuple[Breach, ...]:
        """What its rows must not be joined with others for, or cut by days; see `file_breaches`."""
        if self._stored is None:
            return file_breaches(self.whole(), self._data)
        check = PartsCheck([each for each in self._data.columns if each.name == self._timestamp])
        for part in self.parts([self._timestamp]) if self._timestamp else ():
            check.add(part)
        found = check.breaches(lambda name: columns_of(self.whole([name]))[name])
        return tuple(breach for breach in found if breach.rule == "type")

    @cached_property
    def _stored(self) -> Path | None:
        """The Parquet file with its columns; None if it lacks one, or one's name is there twice."""
        declared = self._data.columns
        if self.uri.endswith(CSV):
            table = self._read_csv()
            names = table.column_names
        elif self.uri.endswith(".parquet"):
            with self._open(self._path) as file:
                names = list(file.schema_arrow.names)
        else:
            return None  # whose reader says what it should be
        if not all(names.count(column.name) == 1 for column in declared):
            return None
        if suspects_of(names, declared, declared):
            return None
        if not self.uri.endswith(CSV):
            return self._path
        return self._write_texts(table.select([column.name for column in declared]))

    def _read_csv(self) -> pa.Table:
        content = unpacked(
            self._path.read_bytes(), uri=self.uri, megabytes=self._data.max_unpacked_megabytes
        )
        return read_csv_text(content, uri=self.uri, missing=self._data.missing)

    def _write_texts(self, table: pa.Table) -> Path:
        from pyarrow import parquet

        path = self._path.with_name(f"{self._path.name}.texts")
        parquet.write_table(table, path, row_group_size=PART_ROWS)
        return path

    @cached_property
    def _by_value(self) -> frozenset[str]:
        """The columns of times of which one text needs the slow way, so that all of them do."""
        times = [column.name for column in self._data.columns if column.type == "timestamp"]
        return frozenset(name for name in times if not self._is_plain(name))

    def _is_plain(self, name: str) -> bool:
        import pyarrow as pa

        source = self._source(0, frozenset())
        for batch in self._batches([name]):
            kind = batch.schema.field(name).type
            kind = kind.value_type if pa.types.is_dictionary(kind) else kind
            if kind not in {pa.string(), pa.large_string(), pa.string_view()}:
                return True
            if not are_plain_times(pa.chunked_array([batch.column(name)]), source):
                return False
        return True

    def _source(self, first: int, by_value: frozenset[str]) -> Source:
        """How messages name the rows of a part; `first` is the number of its first row."""
        zone, uri = find_zone(self._data.timezone), self.uri
        if not uri.endswith(CSV):
            return Source(
                locate=lambda row: f"{uri}, row {first + row + 1}", zone=zone, by_value=by_value
            )
        return Source(
            locate=lambda row: f"{uri}, line {self._line(first + row)}",
            zone=zone,
            missing=self._data.missing,
            by_value=by_value,
        )

    def _line(self, row: int) -> int:
        content = unpacked(
            self._path.read_bytes(), uri=self.uri, megabytes=self._data.max_unpacked_megabytes
        )
        return line_of_row(content, row)

    def _frame(self, table: pa.Table, first: int, names: Sequence[str]) -> pd.DataFrame:
        source = self._source(first, self._by_value)
        return contract_frame(table, self._data.columns, names, source, uri=self.uri)

    def _tables(
        self, names: Sequence[str], spans: Sequence[Interval] | None
    ) -> Iterator[tuple[int, pa.Table]]:
        """Parts of the file, each with the number of its first row; at least one."""
        import pyarrow as pa

        path = self._stored or self._path
        with self._open(path) as file:
            empty = file.schema_arrow.empty_table().select(list(names))
            groups = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
        first, is_empty = 0, True
        for group, rows in enumerate(groups):
            # Groups without a row of the days are not read, but for this one column.
            done = first
            if spans is None or self._reaches(group, spans):
                for batch in self._batches(names, group):
                    yield done, pa.Table.from_batches([batch])
                    done, is_empty = done + len(batch), False
            first += rows
        if is_empty:
            yield 0, empty

    def _reaches(self, group: int, spans: Sequence[Interval]) -> bool:
        import pyarrow as pa

        for batch in self._batches([self._timestamp], group):
            times = self._frame(pa.Table.from_batches([batch]), 0, [self._timestamp])
            if is_within(times, timestamp=self._timestamp, spans=spans).any():
                return True
        return False

    def _batches(self, names: Sequence[str], group: int | None = None) -> Iterator[pa.RecordBatch]:
        with self._open(self._stored or self._path) as file:
            groups = None if group is None else [group]
            yield from file.iter_batches(
                PART_ROWS, row_groups=groups, columns=list(names), use_threads=False
            )

    @contextmanager
    def _open(self, path: Path) -> Iterator[parquet.ParquetFile]:
        import pyarrow as pa
        from pyarrow import parquet

        try:
            with parquet.ParquetFile(path, buffer_size=_BUFFER) as file:
                yield file
        except (OSError, ValueError, pa.ArrowException) as error:
            raise CannotAnswer(f"{self.uri}: not readable as a table: {error}") from error


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

    def add(self, frame: pd.DataFrame) -> None:
        """Take the next rows."""
        self._check.add(columns_of(frame))
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
