"""The one reader of people's tables: Parquet and CSV files, brought to the contract."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Any

from modelyard.adapters.store.contract_types import Source, to_contract
from modelyard.adapters.store.csv_text import line_of_row, read_csv_text, unpacked
from modelyard.adapters.store.tables import is_within, rows_within
from modelyard.domain.specs.contract import Column, plain_name
from modelyard.domain.specs.interval import Interval
from modelyard.domain.specs.model import DataContract
from modelyard.domain.specs.times import find_zone
from modelyard.errors import CannotAnswer

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from pyarrow import parquet

_BATCH_ROWS = 65_536

CSV = (".csv", ".csv.gz")
"""The ends of the addresses of CSV files."""


def read_table(
    content: bytes, *, uri: str, data: DataContract, only: Sequence[str] | None = None
) -> pd.DataFrame:
    """The contract's columns of a Parquet or CSV file, by the end of its address.

    - Every column is brought to its contract type, see `contract_types`; so files of one feed may
      differ in units and kinds. Values that do not fit stay for the contract to name.
    - A column that is not in the file stays away, and then all others come along: the contract
      says which of them it may be. Otherwise only those with a name like a declared one do.

    Args:
        content: The bytes of the file.
        uri: Its address.
        data: The contract.
        only: The names of the columns to read; None for all of the contract.

    Raises:
        CannotAnswer: Another kind of file, or a damaged one.
    """
    if uri.endswith(CSV):
        content = unpacked(content, uri=uri, megabytes=data.max_unpacked_megabytes)
        table = read_csv_text(content, uri=uri, missing=data.missing)
        source = Source(
            locate=lambda row: f"{uri}, line {line_of_row(content, row)}",
            zone=find_zone(data.timezone),
            missing=data.missing,
        )
        return contract_frame(table, data.columns, only, source, uri=uri)
    if uri.endswith(".parquet"):
        table = read_parquet_table(content, uri=uri, data=data, only=only)
        return frame_of_table(table, uri=uri, data=data, only=only)
    raise CannotAnswer(f"{uri}: not a table; expected .parquet, .csv or .csv.gz")


def read_rows_within(
    content: bytes | IO[bytes], *, uri: str, data: DataContract, spans: Sequence[Interval]
) -> pd.DataFrame:
    """As `read_table`, only the rows of some days; of Parquet no other row is kept in memory.

    Args:
        content: The bytes of the file, or a Parquet file that is open.
        uri: Its address.
        data: The contract, with a timestamp.
        spans: The days.

    Raises:
        CannotAnswer: Another kind of file, or a damaged one.
    """
    import pyarrow as pa
    from pyarrow import parquet

    timestamp = data.timestamp or ""
    if uri.endswith(".parquet"):
        try:
            stream = io.BytesIO(content) if isinstance(content, bytes) else content
            with parquet.ParquetFile(stream) as file:
                if _has_times(file.schema_arrow, timestamp):
                    return _frame_within(file, uri=uri, data=data, spans=spans)
                stream.seek(0)
                content = stream.read()
        except (OSError, ValueError, pa.ArrowException) as error:
            raise CannotAnswer(f"{uri}: not readable as a table: {error}") from error
    whole = content if isinstance(content, bytes) else content.read()
    frame = read_table(whole, uri=uri, data=data)
    return rows_within(frame, timestamp=timestamp, spans=spans)


def _has_times(schema: pa.Schema, timestamp: str) -> bool:
    """Whether each row's day can be read alone; texts are read by what all of them have."""
    import pyarrow as pa

    names = list(schema.names)
    if names.count(timestamp) != 1 or len(set(names)) < len(names):
        return False
    kind = schema.field(timestamp).type
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def _frame_within(
    file: parquet.ParquetFile, *, uri: str, data: DataContract, spans: Sequence[Interval]
) -> pd.DataFrame:
    import numpy as np
    import pyarrow as pa

    names, timestamp = list(file.schema_arrow.names), data.timestamp or ""
    known = {column.name for column in data.columns} | {
        *suspects_of(names, data.columns, data.columns)
    }
    columns = [name for name in names if name in known]
    kept = [file.schema_arrow.empty_table().select(columns)]
    rows, first = [np.zeros(0, dtype=np.int64)], 0
    for group in range(file.num_row_groups):
        times = frame_of_table(
            file.read_row_group(group, columns=[timestamp]), uri=uri, data=data, only=[timestamp]
        )
        within = is_within(times, timestamp=timestamp, spans=spans)
        # Groups without such rows, in a feed by time nearly all, are not read.
        if within.any():
            done = 0
            for batch in file.iter_batches(_BATCH_ROWS, row_groups=[group], columns=columns):
                places = np.flatnonzero(within[done : done + len(batch)])
                kept.append(pa.Table.from_batches([batch]).take(places))
                rows.append(first + done + places)
                done += len(batch)
        first += len(within)
    numbers = np.concatenate(rows)
    zone = find_zone(data.timezone)
    source = Source(locate=lambda row: f"{uri}, row {numbers[row] + 1}", zone=zone)
    return contract_frame(
        pa.concat_tables(kept).select(columns), data.columns, None, source, uri=uri
    )


def read_parquet_table(
    content: bytes | Any,
    *,
    uri: str,
    data: DataContract | None = None,
    only: Sequence[str] | None = None,
) -> pa.Table:
    """A Parquet file as it is; with a contract only the columns that `read_table` looks at.

    Raises:
        CannotAnswer: It is damaged.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(io.BytesIO(content)) as file:
            names = list(file.schema_arrow.names)
            # Of twins the reader says which they are.
            if data is None or len(set(names)) < len(names):
                return file.read()
            wanted = [c for c in data.columns if only is None or c.name in only]
            known = {column.name for column in wanted} | {*suspects_of(names, data.columns, wanted)}
            return file.read(columns=[name for name in names if name in known])
    except (OSError, ValueError, pa.ArrowException) as error:
        raise CannotAnswer(f"{uri}: not readable as a table: {error}") from error


def frame_of_table(
    table: pa.Table, *, uri: str, data: DataContract, only: Sequence[str] | None = None
) -> pd.DataFrame:
    """The contract's columns of a typed table; see `read_table`."""
    source = Source(locate=lambda row: f"{uri}, row {row + 1}", zone=find_zone(data.timezone))
    return contract_frame(table, data.columns, only, source, uri=uri)


def contract_frame(
    table: pa.Table,
    declared: Sequence[Column],
    only: Sequence[str] | None,
    source: Source,
    *,
    uri: str,
) -> pd.DataFrame:
    """The columns of a table, or of a part of one, brought to the contract; see `read_table`."""
    import pandas as pd

    names = list(table.column_names)
    wanted = [column for column in declared if only is None or column.name in only]
    _refuse_twins(names, wanted, uri=uri)
    columns: dict[str, Any] = {}
    for column in wanted:
        if column.name in names:
            columns[column.name] = to_contract(column, table.column(column.name), source)
    for name in suspects_of(names, declared, wanted):
        columns[name] = table.column(names.index(name)).to_pandas().array
    return pd.DataFrame(columns, index=pd.RangeIndex(table.num_rows), copy=False)


def _refuse_twins(names: Sequence[str], wanted: Sequence[Column], *, uri: str) -> None:
    for column in wanted:
        if names.count(column.name) > 1:
            times = [number + 1 for number, name in enumerate(names) if name == column.name]
            where = " and ".join(map(str, times))
            raise CannotAnswer(f"{uri}, line 1: columns {where} are both named {column.name!r}")


def suspects_of(
    names: Sequence[str], declared: Sequence[Column], wanted: Sequence[Column]
) -> list[str]:
    """The columns outside of the contract that it has something to say about."""
    known = {column.name for column in declared}
    extras = dict.fromkeys(name for name in names if name not in known)
    if all(column.name in names for column in wanted):
        alike = {plain_name(column.name) for column in wanted}
        return [name for name in extras if plain_name(name) in alike]
    return list(extras)
