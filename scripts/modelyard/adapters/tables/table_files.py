"""The one reader of people's tables: Parquet and CSV files, brought to the contract."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from modelyard.adapters.tables.contract_types import Source, to_contract
from modelyard.adapters.tables.csv_files.packed import unpacked
from modelyard.adapters.tables.csv_files.reading import read_csv_text
from modelyard.adapters.tables.csv_files.rows import CsvText, LineFinder
from modelyard.domain.specs.contract import Column, plain_name
from modelyard.domain.specs.model import DataContract
from modelyard.domain.specs.times import find_zone
from modelyard.errors import CannotAnswer

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

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
        text = CsvText(content, uri=uri)
        table, lines = read_csv_text(text, missing=data.missing), LineFinder(text)
        source = Source(
            locate=lambda row: f"{uri}, line {lines.line(row)}",
            zone=find_zone(data.timezone),
            missing=data.missing,
        )
        return contract_frame(table, data.columns, only, source, uri=uri)
    if uri.endswith(".parquet"):
        table = read_parquet_table(content, uri=uri, data=data, only=only)
        return frame_of_table(table, uri=uri, data=data, only=only)
    raise other_kind(uri)


def other_kind(uri: str) -> CannotAnswer:
    """What is said of a file that is no table by the end of its address."""
    return CannotAnswer(f"{uri}: not a table; expected .parquet, .csv or .csv.gz")


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
    refuse_twins(names, wanted, uri=uri)
    columns: dict[str, Any] = {}
    for column in wanted:
        if column.name in names:
            columns[column.name] = to_contract(column, table.column(column.name), source)
    for name in suspects_of(names, declared, wanted):
        columns[name] = table.column(names.index(name)).to_pandas().array
    return pd.DataFrame(columns, index=pd.RangeIndex(table.num_rows), copy=False)


def refuse_twins(names: Sequence[str], wanted: Sequence[Column], *, uri: str) -> None:
    """Refuse a file with two columns of one name that is wanted.

    Raises:
        CannotAnswer: It has them.
    """
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
