"""People's tables on this disk, read in parts: the rows of `read_table`, never all in memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.adapters.file_systems import writing_to
from modelyard.adapters.tables.contract_types import Source, are_plain_times
from modelyard.adapters.tables.csv_files.packed import unpack_file
from modelyard.adapters.tables.csv_files.reading import read_csv_parts
from modelyard.adapters.tables.csv_files.rows import CsvText, LineFinder
from modelyard.adapters.tables.frames import columns_of, file_breaches, is_within, rows_within
from modelyard.adapters.tables.parts_check import PartsCheck
from modelyard.adapters.tables.stored_rows import coded_values, few_texts, open_parts
from modelyard.adapters.tables.table_files import (
    CSV,
    contract_frame,
    other_kind,
    read_table,
    refuse_twins,
    suspects_of,
)
from modelyard.domain.specs.contract import Breach, Column
from modelyard.domain.specs.interval import Interval
from modelyard.domain.specs.model import DataContract
from modelyard.domain.specs.times import find_zone

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray
    from pyarrow import parquet

    from modelyard.domain.specs.column_values import CodedValues

PART_ROWS = 32_768
"""Rows of a part: they are there several times, as Arrow and as pandas have them."""

_GROUP_BYTES = 2**25
"""Bytes of texts that are enough for a group of rows, however few they are."""


class TableFile:
    """A Parquet or CSV file on this disk that is read in parts, any number of times.

    Of CSV, the texts of the columns are written to a Parquet file beside it, once.

    Args:
        path: The file; the folder of a CSV file is the caller's to remove.
        uri: Its address, which says what it is and names it in messages.
        data: The contract.
        only: The names of the columns that are asked for; None for all of the contract, with those
            outside of it that it speaks of.
    """

    def __init__(
        self, path: Path, *, uri: str, data: DataContract, only: Sequence[str] | None = None
    ) -> None:
        self.uri, self._data, self._only = uri, data, only
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
        wanted = self._names if only is None else list(only)
        read = wanted if spans is None else list(dict.fromkeys([*wanted, self._timestamp]))
        for first, table in self._tables(read, spans):
            frame = self._frame(table, first, read)
            yield (frame if spans is None else self._within(frame, spans))[wanted]

    def parts_within(
        self, spans: Sequence[Interval], only: Sequence[str] | None = None
    ) -> Iterator[pd.DataFrame]:
        """The rows of `rows_within` in parts: rows of other days have no say in their types.

        Args:
            spans: The days of the rows, of a file without `breaches`.
            only: The columns; None for all of the contract.

        Raises:
            CannotAnswer: It is no table.
        """
        wanted = self._names if only is None else list(only)
        read = list(dict.fromkeys([*wanted, self._timestamp]))
        for first, table in self._tables(read, spans):
            places, chosen = self._choose_rows(table, first, spans)
            source = self._source(_numbers(first, places), self._by_value)
            frame = contract_frame(chosen, self._data.columns, wanted, source, uri=self.uri)
            yield frame[wanted]

    def coded_parts(
        self, only: Sequence[str], spans: Sequence[Interval]
    ) -> Iterator[tuple[pd.DataFrame, dict[str, CodedValues]]]:
        """The rows of some days in parts, with texts of the contract's categories apart.

        Args:
            only: The columns, of a file without `breaches`.
            spans: The days of the rows.

        Raises:
            CannotAnswer: It is no table.
        """
        kinds = {column.name: column.type for column in self._wanted}
        read = list(dict.fromkeys([*only, self._timestamp]))
        for first, table in self._tables(read, spans, coded=self._few_texts & {*only}):
            places, chosen = self._choose_rows(table, first, spans)
            if not len(places):
                continue
            source = self._source(_numbers(first, places), self._by_value)
            texts = [n for n in only if kinds[n] == "category" and _is_text(chosen.column(n).type)]
            plain = [name for name in only if name not in texts]
            frame = contract_frame(chosen, self._data.columns, plain, source, uri=self.uri)
            yield frame, {name: coded_values(_encoded(chosen.column(name))) for name in texts}

    def rows_within(
        self, spans: Sequence[Interval], only: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """The rows of some days; no other row stays in memory.

        They are brought to the contract after they were chosen.

        Args:
            spans: The days of the rows.
            only: The columns, of a file without `breaches`; None for all of the contract.

        Raises:
            CannotAnswer: It is no table.
        """
        import numpy as np
        import pyarrow as pa

        wanted = self._names if only is None else list(only)
        read = list(dict.fromkeys([*wanted, self._timestamp]))
        kept, rows = [_columns(self._empty, wanted)], [np.zeros(0, dtype=np.int64)]
        for first, table in self._tables(read, spans):
            places, chosen = self._choose_rows(table, first, spans)
            kept.append(chosen.select(wanted))
            rows.append(first + places)
        numbers = np.concatenate(rows)
        source = self._source(lambda row: int(numbers[row]), self._by_value)
        asked = self._only if only is None else wanted
        return contract_frame(
            pa.concat_tables(kept), self._data.columns, asked, source, uri=self.uri
        )

    def _choose_rows(
        self, table: pa.Table, first: int, spans: Sequence[Interval]
    ) -> tuple[NDArray[np.intp], pa.Table]:
        """The places of the rows of some days in a part, and these rows."""
        import numpy as np

        times = self._frame(table, first, [self._timestamp])
        places = np.flatnonzero(is_within(times, timestamp=self._timestamp, spans=spans))
        return places, table if len(places) == len(table) else table.take(places)

    def _within(self, frame: pd.DataFrame, spans: Sequence[Interval]) -> pd.DataFrame:
        return rows_within(frame, timestamp=self._timestamp, spans=spans)

    def whole(self, only: Sequence[str] | None = None) -> pd.DataFrame:
        """All rows at once, for what can only be said of a column as a whole."""
        if only is None or not self.is_whole:
            return read_table(self._path.read_bytes(), uri=self.uri, data=self._data, only=only)
        with self._open(self._stored) as file:
            return self._frame(file.read(columns=list(only)), 0, only)

    @cached_property
    def breaches(self) -> tuple[Breach, ...]:
        """What its rows must not be joined with others for, or cut by days; see `file_breaches`."""
        if not self.is_whole:
            wanted = replace(self._data, columns=tuple(self._wanted))
            return file_breaches(self.whole(self._only), wanted)
        check = PartsCheck([each for each in self._data.columns if each.name == self._timestamp])
        for part in self.parts([self._timestamp]) if self._timestamp else ():
            check.add(part)
        found = check.breaches(lambda name: columns_of(self.whole([name]))[name])
        return tuple(breach for breach in found if breach.rule == "type")

    @property
    def rows(self) -> int:
        """The number of its rows."""
        with self._open(self._stored) as file:
            return int(file.metadata.num_rows)

    @property
    def _wanted(self) -> list[Column]:
        declared, only = self._data.columns, self._only
        return [column for column in declared if only is None or column.name in only]

    @cached_property
    def _names(self) -> list[str]:
        """Its columns that the contract speaks of."""
        return list(self._empty.column_names)

    @property
    def is_whole(self) -> bool:
        """Whether it has the columns that are asked for, and none that is nearly one of them."""
        return self._names == [column.name for column in self._wanted]

    def _choose(self, names: Sequence[str]) -> list[str]:
        wanted = self._wanted
        refuse_twins(names, wanted, uri=self.uri)
        there = [column.name for column in wanted if column.name in names]
        if self._only is not None and len(there) == len(wanted):
            return there
        return [*there, *suspects_of(names, self._data.columns, wanted)]

    @cached_property
    def _empty(self) -> pa.Table:
        """No rows, of the columns as they are stored."""
        with self._open(self._stored) as file:
            empty = file.schema_arrow.empty_table()
        return _with_plain_texts(_columns(empty, self._choose(empty.column_names)))

    @cached_property
    def _stored(self) -> Path:
        """The Parquet file with its columns."""
        if self.uri.endswith(CSV):
            return self._write_texts()
        if not self.uri.endswith(".parquet"):
            raise other_kind(self.uri)
        return self._path

    def _write_texts(self) -> Path:
        from pyarrow import parquet

        path = self._path.with_name(f"{self._path.name}.texts")
        parts = read_csv_parts(self._text, missing=self._data.missing)
        empty = next(parts)
        names = self._choose(empty.column_names)
        schema = _columns(empty, names).schema
        with writing_to(path), parquet.ParquetWriter(path, schema) as file:
            for group in _groups(_columns(part, names) for part in parts):
                file.write_table(group)
        return path

    @cached_property
    def _text(self) -> CsvText:
        """The CSV file, unpacked beside it if it is packed."""
        path = self._path
        if self.uri.endswith(".gz"):
            path = path.with_name(f"{path.name}.text")
            limit = self._data.max_unpacked_megabytes
            unpack_file(self._path, path, uri=self.uri, megabytes=limit)
        return CsvText(path, uri=self.uri)

    @cached_property
    def _lines(self) -> LineFinder:
        return LineFinder(self._text)

    @cached_property
    def _few_texts(self) -> frozenset[str]:
        """The categories of which the file has each text once in a group of rows."""
        named = {column.name for column in self._wanted if column.type == "category"}
        with self._open(self._stored) as file:
            return frozenset(named & {*few_texts(file)})

    @cached_property
    def _by_value(self) -> frozenset[str]:
        """The columns of times of which one text needs the slow way, so that all of them do."""
        times = [column.name for column in self._wanted if column.type == "timestamp"]
        times = [name for name in times if name in self._names]
        return frozenset(name for name in times if not self._is_plain(name))

    def _is_plain(self, name: str) -> bool:
        import pyarrow as pa

        source = self._source(int, frozenset())
        with self._open(self._stored) as file:
            for batch in _batches(file, [name]):
                if not _is_text(batch.schema.field(name).type):
                    return True
                if not are_plain_times(pa.chunked_array([batch.column(name)]), source):
                    return False
        return True

    def _source(self, number: Callable[[int], int], by_value: frozenset[str]) -> Source:
        """How messages name the rows of a part, by the number that each of them has in the file."""
        zone, uri = find_zone(self._data.timezone), self.uri
        if not uri.endswith(CSV):
            return Source(
                locate=lambda row: f"{uri}, row {number(row) + 1}", zone=zone, by_value=by_value
            )
        return Source(
            locate=lambda row: f"{uri}, line {self._lines.line(number(row))}",
            zone=zone,
            missing=self._data.missing,
            by_value=by_value,
        )

    def _frame(self, table: pa.Table, first: int, names: Sequence[str]) -> pd.DataFrame:
        source = self._source(lambda row: first + row, self._by_value)
        return contract_frame(table, self._data.columns, names, source, uri=self.uri)

    def _tables(
        self,
        names: Sequence[str],
        spans: Sequence[Interval] | None,
        coded: Collection[str] = (),
    ) -> Iterator[tuple[int, pa.Table]]:
        """Parts of the file, each with the number of its first row; at least one."""
        import pyarrow as pa

        first, is_empty = 0, True
        # Opened once: each opening reads what the file says of all of its groups.
        with self._open(self._stored, coded) as file:
            for group in range(file.num_row_groups):
                # Groups without a row of the days are not read, but for this one column.
                done = first
                if spans is None or self._reaches(file, group, spans):
                    for batch in _batches(file, names, [group]):
                        yield done, _with_plain_texts(pa.Table.from_batches([batch]))
                        done, is_empty = done + len(batch), False
                first += file.metadata.row_group(group).num_rows
        if is_empty:
            yield 0, _columns(self._empty, names)

    def _reaches(self, file: parquet.ParquetFile, group: int, spans: Sequence[Interval]) -> bool:
        import pyarrow as pa

        for batch in _batches(file, [self._timestamp], [group]):
            times = self._frame(pa.Table.from_batches([batch]), 0, [self._timestamp])
            if is_within(times, timestamp=self._timestamp, spans=spans).any():
                return True
        return False

    def _open(
        self, path: Path, coded: Collection[str] = ()
    ) -> AbstractContextManager[parquet.ParquetFile]:
        return open_parts(path, name=self.uri, coded=sorted(coded))


def _batches(
    file: parquet.ParquetFile, names: Sequence[str], groups: Sequence[int] | None = None
) -> Iterator[pa.RecordBatch]:
    yield from file.iter_batches(
        PART_ROWS, row_groups=groups, columns=list(names), use_threads=False
    )


def _with_plain_texts(table: pa.Table) -> pa.Table:
    """The table without views of texts, of which Arrow cannot take some rows."""
    import pyarrow as pa

    for place, field in enumerate(table.schema):
        if field.type == pa.string_view():
            plain = table.column(place).cast(pa.large_string())
            table = table.set_column(place, field.name, plain)
    return table


def _numbers(first: int, places: NDArray[np.intp]) -> Callable[[int], int]:
    """The number in the file of each row that was chosen from a part."""
    return lambda row: first + int(places[row])


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return kind in {pa.string(), pa.large_string(), pa.string_view()}


def _encoded(column: pa.ChunkedArray) -> pa.DictionaryArray:
    """A column of texts as each text once, and the place of each row's text."""
    import pyarrow as pa

    if not pa.types.is_dictionary(column.type):
        column = column.cast(pa.string()).dictionary_encode()
    return column.unify_dictionaries().combine_chunks()


def _groups(parts: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The rows of parts in groups of about `PART_ROWS`, or of fewer that are long."""
    import pyarrow as pa

    waiting: list[pa.Table] = []
    for part in parts:
        waiting.append(part)
        size = sum(each.nbytes for each in waiting)
        if size >= _GROUP_BYTES or sum(map(len, waiting)) >= PART_ROWS:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def _columns(table: pa.Table, names: Sequence[str]) -> pa.Table:
    """The first column of each name."""
    return table.select([table.column_names.index(name) for name in names])
