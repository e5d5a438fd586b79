"""What is wrong with a CSV file that is not well formed, and on which line."""

from __future__ import annotations

import re
from collections.abc import Iterator

from modelyard.adapters.tables.csv_files import rows
from modelyard.adapters.tables.csv_files.rows import CsvText, OddQuoteError, read_rows
from modelyard.domain.proposal.separator import commas_hint, find_separator
from modelyard.errors import CannotAnswer

_SHOWN = 40
_PIECE = 2**20
# Each field in quotes ends, and only a comma or the line's end follows it.
_QUOTED_WELL = re.compile(rb'(?:[^"]++|"(?:[^"]|"")*+"(?=[,\r\n]))*+')
_UNFINISHED = re.compile(rb'"(?:[^"]|"")*+"?')  # what follows a last quote is not there yet
_LAST = re.compile(rb'"(?:[^"]|"")*+"')
_LARGEST_LETTER = 4  # bytes of one in UTF-8


def read_header(text: CsvText) -> list[str]:
    """The names of the columns.

    Raises:
        CannotAnswer: There is none, or it cannot be read.
    """
    try:
        first = next(read_rows(text), None)
    except (OddQuoteError, UnicodeDecodeError) as error:
        raise find_fault(text, [], str(error)) from error
    if first is None:
        raise CannotAnswer(f"{text.uri}: not readable as a table: it has no header")
    return first[1]


def refuse_binary(text: CsvText) -> None:
    """Refuse a file with a byte that no text has.

    Raises:
        CannotAnswer: It has one.
    """
    before = 0
    for piece in _pieces(text):
        if b"\0" in piece:
            line = before + piece.count(b"\n", 0, piece.index(b"\0")) + 1
            raise CannotAnswer(
                f"{text.uri}, line {line}: has a NUL byte, so it is no text in UTF-8",
                hint="save the file as UTF-8",
            )
        before += piece.count(b"\n")


def refuse_odd_quotes(text: CsvText) -> None:
    """Refuse a file with a quote in the wrong place: one that never ends makes one field of all.

    Raises:
        CannotAnswer: It has one.
    """
    if _is_well_quoted(text):
        return
    try:
        for _ in read_rows(text, strict=True):
            pass
    except OddQuoteError as error:
        raise _quote_fault(error, text.uri) from error
    except UnicodeDecodeError as error:
        raise find_fault(text, [], str(error)) from error


def find_fault(text: CsvText, names: list[str], reason: str) -> CannotAnswer:
    """The first line that is not right, read slowly once the fast reader gave up."""
    if (fault := _find_stray_byte(text)) is not None:
        return fault
    try:
        for line, row in read_rows(text, strict=True):
            if what := _row_fault(row, names):
                hint = "quote a field that has a comma, a quote or a line's end"
                if len(names) == 1 and (separator := find_separator(names[0])):
                    hint = commas_hint(separator)
                return CannotAnswer(f"{text.uri}, line {line}: {what}", hint=hint)
    except OddQuoteError as error:
        return _quote_fault(error, text.uri)
    return CannotAnswer(f"{text.uri}: not readable as a table: {reason[:200]}")


def _pieces(text: CsvText) -> Iterator[bytes]:
    with text.stream() as stream:
        while piece := stream.read(_PIECE):
            yield piece


def _is_well_quoted(text: CsvText) -> bool:
    kept = b""
    for piece in _pieces(text):
        kept += piece
        done = _QUOTED_WELL.match(kept)
        kept = kept[done.end() if done else 0 :]
        if kept and (len(kept) > 2 * rows.LARGEST_ROW or not _UNFINISHED.fullmatch(kept)):
            return False
    return not kept or _LAST.fullmatch(kept) is not None


def _find_stray_byte(text: CsvText) -> CannotAnswer | None:
    before, kept = 0, b""
    with text.stream() as stream:
        while (piece := stream.read(_PIECE)) or kept:
            kept += piece
            try:
                kept.decode()
            except UnicodeDecodeError as error:
                # Of a letter that is cut the rest may follow.
                kept += stream.read(_LARGEST_LETTER)
                if not _is_letter(kept[error.start : error.start + _LARGEST_LETTER]):
                    line = before + kept.count(b"\n", 0, error.start) + 1
                    wrong = kept[error.start : error.start + 4]
                    hint = "save the file as UTF-8"
                    return CannotAnswer(f"{text.uri}, line {line}: not UTF-8: {wrong!r}", hint=hint)
                before += kept.count(b"\n", 0, error.start)
                kept = kept[error.start :]
                continue
            before, kept = before + kept.count(b"\n"), b""
    return None


def _is_letter(start: bytes) -> bool:
    """Whether bytes begin with a letter in UTF-8."""
    for size in range(1, len(start) + 1):
        try:
            start[:size].decode()
        except UnicodeDecodeError:
            continue
        return True
    return False


def _quote_fault(error: OddQuoteError, uri: str) -> CannotAnswer:
    return CannotAnswer(
        f"{uri}, line {error}: a quote is in the wrong place, or a field in quotes never ends",
        hint='write a quote inside of a field in quotes twice: ""',
    )


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
    if sum(len(field.encode()) for field in row) < rows.LARGEST_ROW // 2:
        return None
    longest = max(range(len(row)), key=lambda number: len(row[number]))
    return (
        f"column {names[longest]!r} has a field of {len(row[longest]):,} characters that begins "
        f"{row[longest][:_SHOWN]!r}; a row has at most {rows.LARGEST_ROW // 2**20} MiB"
    )
