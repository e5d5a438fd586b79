"""Reads CSV as text: every field as it is written, or the line that is not right."""

from __future__ import annotations

import csv
import io
import re
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from modelyard.domain.proposal.separator import commas_hint, find_separator
from modelyard.domain.specs.model import MAX_UNPACKED_MEGABYTES
from modelyard.errors import CannotAnswer, OverLimit

if TYPE_CHECKING:
    import pyarrow as pa

LARGEST_ROW = 2**24
"""Bytes of the longest row: a longer one is a quote that never ends."""

_BOM = b"\xef\xbb\xbf"
_SHOWN = 40
# Each field in quotes ends, and only a comma or the line's end follows it.
_QUOTED_WELL = re.compile(rb'(?:[^"]++|"(?:[^"]|"")*+"(?=[,\r\n]|\Z))*+')
_PIECE = 2**16
_GZIP_BITS = 31  # zlib's word for gzip with any window


def read_csv_text(content: bytes, *, uri: str, missing: tuple[str, ...]) -> pa.Table:
    """The rows of a CSV file (RFC 4180, UTF-8, a header), all columns as text.

    A field without quotes that is one of `missing` is null; one in quotes is never null. Empty
    lines are left out.

    Raises:
        CannotAnswer: The file is not well formed; the message names the line.
    """
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    content = content.removeprefix(_BOM)
    _refuse_binary(content, uri=uri)
    names = _header(content, uri=uri)
    # A quote that never ends makes one field of all that follows.
    if not _QUOTED_WELL.fullmatch(content):
        _refuse_odd_quotes(content, uri=uri)
    # By number: unnamed columns, such as the row numbers that pandas writes, would be twins.
    numbers = [str(number) for number in range(len(names))]
    try:
        table = arrow_csv.read_csv(
            pa.BufferReader(content.lstrip(b"\r\n")),
            arrow_csv.ReadOptions(column_names=numbers, skip_rows_after_names=1,
                                  block_size=LARGEST_ROW),
            arrow_csv.ParseOptions(newlines_in_values=True),
            arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(numbers, pa.string()),
                null_values=list(missing),
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )  # fmt: skip
    except pa.ArrowInvalid as error:
        raise _fault(content, names, uri, str(error)) from error
    table = table.rename_columns(names)
    _refuse_second_header(table, content, names, uri)
    return table


def line_of_row(content: bytes, row: int) -> int:
    """The line on which a row of the file begins; the header is line 1."""
    for number, (line, _) in enumerate(_rows(content)):
        if number == row + 1:
            return line
    return 1


def unpacked(content: bytes, *, uri: str, megabytes: int = MAX_UNPACKED_MEGABYTES) -> bytes:
    """The bytes of a `.gz` file, or the content as it is.

    Args:
        content: The bytes of the file.
        uri: Its address.
        megabytes: What it may unpack to; no more than that is unpacked.

    Raises:
        CannotAnswer: It is damaged.
        OverLimit: It unpacks to more.
    """
    if not uri.endswith(".gz"):
        return content
    try:
        parts = list(_unpack(content, megabytes * 1_000_000))
    except zlib.error as error:
        raise CannotAnswer(f"{uri}: not readable as a table: {error}") from error
    except _TooLargeError as error:
        raise OverLimit(
            f"{uri}: its {len(content):,} bytes unpack to more than {megabytes:,} MB, the limit of "
            "data.max_unpacked_megabytes",
            hint="if the file is right, raise data.max_unpacked_megabytes in model.yaml, or give "
            "the rows as .parquet, or in several files",
        ) from error
    return parts[0] if len(parts) == 1 else b"".join(parts)


class _TooLargeError(ValueError):
    """A file unpacks to more than it may."""


def _unpack(content: bytes, most: int) -> Iterator[bytes]:
    """What the members of a gzip file unpack to; there may be zeros behind each of them."""
    # A file is mostly one member, which is then one part. Of many, as bgzip writes them, each would
    # copy the whole rest of the file.
    position, size = 0, len(content)
    while True:
        member, is_whole = zlib.decompressobj(_GZIP_BITS), False
        while not is_whole:
            part = member.decompress(content[position : position + size], most + 1)
            if len(part) > most:
                raise _TooLargeError
            most -= len(part)
            position += min(size, len(content) - position) - len(member.unused_data)
            is_whole, size = member.eof, _PIECE
            if position >= len(content) and not is_whole:
                raise zlib.error("the file ends before its data does")
            yield part
        if content[position : position + 1] == b"\0":
            position = len(content) - len(content[position:].lstrip(b"\0"))
        if position >= len(content):
            return


def _refuse_binary(content: bytes, *, uri: str) -> None:
    if b"\0" in content:
        line = content.count(b"\n", 0, content.index(b"\0")) + 1
        raise CannotAnswer(
            f"{uri}, line {line}: has a NUL byte, so it is no text in UTF-8",
            hint="save the file as UTF-8",
        )


def _refuse_odd_quotes(content: bytes, *, uri: str) -> None:
    try:
        for _ in _rows(content, strict=True):
            pass
    except _OddQuoteError as error:
        raise _quote_fault(error, uri) from error


def _header(content: bytes, *, uri: str) -> list[str]:
    try:
        first = next(_rows(content), None)
    except (_OddQuoteError, UnicodeDecodeError) as error:
        raise _fault(content, [], uri, str(error)) from error
    if first is None:
        raise CannotAnswer(f"{uri}: not readable as a table: it has no header")
    return first[1]


class _OddQuoteError(ValueError):
    """A row, by the line on which it begins, has a quote in the wrong place."""


def _quote_fault(error: _OddQuoteError, uri: str) -> CannotAnswer:
    return CannotAnswer(
        f"{uri}, line {error}: a quote is in the wrong place, or a field in quotes never ends",
        hint='write a quote inside of a field in quotes twice: ""',
    )


def _rows(content: bytes, *, strict: bool = False) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not empty, each with the line on which it begins."""
    before, most = 0, csv.field_size_limit(max(len(content), 1))
    try:
        text = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8", newline="")
        reader = csv.reader(text, strict=strict)
        for row in reader:
            if row:
                yield before + 1, row
            before = reader.line_num
    except csv.Error as error:
        raise _OddQuoteError(before + 1) from error
    finally:
        csv.field_size_limit(most)


def _fault(content: bytes, names: list[str], uri: str, reason: str) -> CannotAnswer:
    """The first line that is not right, read slowly once the fast reader gave up."""
    try:
        content.decode()
    except UnicodeDecodeError as error:
        line, wrong = (
            content.count(b"\n", 0, error.start) + 1,
            content[error.start : error.start + 4],
        )
        hint = "save the file as UTF-8"
        return CannotAnswer(f"{uri}, line {line}: not UTF-8: {wrong!r}", hint=hint)
    try:
        for line, row in _rows(content, strict=True):
            if fault := _row_fault(row, names):
                hint = "quote a field that has a comma, a quote or a line's end"
                if len(names) == 1 and (separator := find_separator(names[0])):
                    hint = commas_hint(separator)
                return CannotAnswer(f"{uri}, line {line}: {fault}", hint=hint)
    except _OddQuoteError as error:
        return _quote_fault(error, uri)
    return CannotAnswer(f"{uri}: not readable as a table: {reason[:200]}")


def _row_fault(row: list[str], names: list[str]) -> str | None:
    if len(row) > len(names):
        extra = row[len(names)][:_SHOWN]
        return (
            f"{len(row)} fields, but the header has {len(names)} columns; the first one too many "
            f"is {extra!r}"
        )
    if len(row) < len(names):
        lacking = names[len(row)]
        return (
            f"{len(row)} fields, but the header has {len(names)} columns; column {lacking!r} has "
            f"none"
        )
    if sum(len(field.encode()) for field in row) < LARGEST_ROW // 2:
        return None
    longest = max(range(len(row)), key=lambda number: len(row[number]))
    return (
        f"column {names[longest]!r} has a field of {len(row[longest]):,} characters that begins "
        f"{row[longest][:_SHOWN]!r}; a row has at most {LARGEST_ROW // 2**20} MiB"
    )


def _refuse_second_header(table: pa.Table, content: bytes, names: list[str], uri: str) -> None:
    """Refuse a row that repeats the header, as joined files have it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = None
    for name, column in zip(names, table.columns, strict=True):
        if not name:
            continue  # an unnamed column's name is an empty field, which may mean null
        same = pc.fill_null(pc.equal(column, pa.scalar(name)), fill_value=False)
        rows = same if rows is None else pc.and_(rows, same)
        if not pc.any(rows).as_py():
            return
    if rows is not None and table.num_rows:
        row = pc.index(rows, value=True).as_py()
        raise CannotAnswer(
            f"{uri}, line {line_of_row(content, row)}: repeats the header",
            hint="join files without their headers",
        )


def split_rows(content: bytes) -> tuple[bytes, list[bytes]]:
    """The header and the rows of a well-formed CSV file, each with its line's end, as written."""
    content = content.removeprefix(_BOM)
    starts = [line for line, _ in _rows(content)]
    lines = content.splitlines(keepends=True)  # of bytes, so at `\n`, `\r` and `\r\n` alone
    ends = [*starts[1:], len(lines) + 1]
    parts = [b"".join(lines[start - 1 : end - 1]) for start, end in zip(starts, ends, strict=True)]
    whole = [part if part.endswith((b"\n", b"\r")) else part + b"\n" for part in parts]
    return whole[0], whole[1:]
