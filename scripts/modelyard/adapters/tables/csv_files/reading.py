"""Reads CSV as text in parts: every field as it is written, or the line that is not right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from modelyard.adapters.tables.csv_files import rows
from modelyard.adapters.tables.csv_files.faults import (
    find_fault,
    read_header,
    refuse_binary,
    refuse_odd_quotes,
)
from modelyard.adapters.tables.csv_files.rows import CsvText, LineFinder
from modelyard.errors import CannotAnswer

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import csv as arrow_csv


_BLOCK = 2**20
"""Bytes that are read at a time: Arrow has 32 of them in memory, waiting to be parsed."""


def read_csv_text(text: CsvText, *, missing: tuple[str, ...]) -> pa.Table:
    """All rows of a CSV file; see `read_csv_parts`."""
    import pyarrow as pa

    return pa.concat_tables(read_csv_parts(text, missing=missing))


def read_csv_parts(text: CsvText, *, missing: tuple[str, ...]) -> Iterator[pa.Table]:
    """The rows of a CSV file (RFC 4180, UTF-8, a header), all columns as text; at least one part.

    A field without quotes that is one of `missing` is null; one in quotes is never null. Empty
    lines are left out.

    Raises:
        CannotAnswer: The file is not well formed; the message names the line.
    """
    import pyarrow as pa

    refuse_binary(text)
    names = read_header(text)
    refuse_odd_quotes(text)
    done, second_header = 0, None
    # A row may be longer than a block: the rest is read once more, in the largest ones.
    for block in (min(_BLOCK, rows.LARGEST_ROW), rows.LARGEST_ROW):
        try:
            for part in _blocks(text, names, missing, block=block, skipped=done):
                if second_header is None and (row := _find_header(part, names)) is not None:
                    second_header = done + row
                done += len(part)
                yield part
            break
        except pa.ArrowInvalid as error:
            if block == rows.LARGEST_ROW:
                raise find_fault(text, names, str(error)) from error
    if second_header is not None:
        raise CannotAnswer(
            f"{text.uri}, line {LineFinder(text).line(second_header)}: repeats the header",
            hint="join files without their headers",
        )


def _blocks(
    text: CsvText, names: Sequence[str], missing: tuple[str, ...], *, block: int, skipped: int
) -> Iterator[pa.Table]:
    import pyarrow as pa

    with text.arrow_stream() as stream, _open(stream, len(names), missing, block) as reader:
        yield reader.schema.empty_table().rename_columns(names)
        for batch in reader:
            part = pa.Table.from_batches([batch]).rename_columns(names)
            yield part.slice(skipped)
            skipped = max(0, skipped - len(part))


def _open(
    stream: pa.NativeFile, columns: int, missing: tuple[str, ...], block: int
) -> arrow_csv.CSVStreamingReader:
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    # By number: unnamed columns, such as the row numbers that pandas writes, would be twins.
    numbers = [str(number) for number in range(columns)]
    return arrow_csv.open_csv(
        stream,
        arrow_csv.ReadOptions(column_names=numbers, skip_rows_after_names=1,
                              block_size=block, use_threads=False),
        arrow_csv.ParseOptions(newlines_in_values=True),
        arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(numbers, pa.string()),
            null_values=list(missing),
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )  # fmt: skip


def _find_header(table: pa.Table, names: Sequence[str]) -> int | None:
    """The first row that repeats the header, as joined files have it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = None
    for name, column in zip(names, table.columns, strict=True):
        if not name:
            continue  # an unnamed column's name is an empty field, which may mean null
        same = pc.fill_null(pc.equal(column, pa.scalar(name)), fill_value=False)
        found = same if found is None else pc.and_(found, same)
        if not pc.any(found).as_py():
            return None
    return None if found is None or not table.num_rows else int(pc.index(found, value=True).as_py())
