"""The rows of a CSV file one by one, each with its line: slow, for headers and for messages."""

from __future__ import annotations

import csv
import io
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

LARGEST_ROW = 2**24
"""Bytes of the longest row: a longer one is a quote that never ends."""

_SEARCHED = 4  # times as much is read of a field, to say how long it is
_BOM = b"\xef\xbb\xbf"
_EVERY = 4096  # rows: as often the finder of lines keeps a place


class CsvText:
    """An unpacked CSV file in memory, or on this disk.

    Args:
        given: Its bytes, or its path.
        uri: Its address, for messages.
    """

    def __init__(self, given: bytes | Path, *, uri: str) -> None:
        self.uri, self._given = uri, given

    @property
    def size(self) -> int:
        """The number of its bytes."""
        return len(self._given) if isinstance(self._given, bytes) else self._given.stat().st_size

    def stream(self) -> IO[bytes]:
        """Its bytes without a byte order mark."""
        given = self._given
        stream = io.BytesIO(given) if isinstance(given, bytes) else given.open("rb")
        if stream.read(len(_BOM)) != _BOM:
            stream.seek(0)
        return stream

    def arrow_stream(self) -> pa.NativeFile:
        """Its bytes from the header on, as Arrow reads them."""
        import pyarrow as pa

        with self.stream() as stream:
            start = stream.tell()
            while piece := stream.read(LARGEST_ROW):
                if rest := piece.lstrip(b"\r\n"):
                    start += len(piece) - len(rest)
                    break
                start += len(piece)
        stream = self.stream()
        stream.seek(start)
        return pa.PythonFile(_WholeEnds(stream), mode="r")


class _WholeEnds(io.RawIOBase):
    r"""Pieces of which none ends within a `\r\n`: Arrow drops a `\n` behind one, in quotes too."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        piece = self._stream.read(size)
        if not piece.endswith(b"\r"):
            return piece
        after = self._stream.read(1)
        kept = len(piece) - (after == b"\n" and len(piece) > 1)
        self._stream.seek(kept - len(piece) - len(after), io.SEEK_CUR)
        return piece[:kept]

    def close(self) -> None:
        self._stream.close()
        super().close()


class OddQuoteError(ValueError):
    """A row, by the line on which it begins, has a quote in the wrong place."""


def read_rows(text: CsvText, *, strict: bool = False) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not empty, each with the line on which it begins.

    Raises:
        OddQuoteError: A quote is in the wrong place.
        UnicodeDecodeError: It is not UTF-8.
    """
    # A quote that never ends makes one field of all that follows, which is not read to its end.
    before, limit = 0, max(1, min(text.size, _SEARCHED * LARGEST_ROW))
    most = csv.field_size_limit(limit)
    try:
        with io.TextIOWrapper(text.stream(), encoding="utf-8", newline="") as lines:
            reader = csv.reader(lines, strict=strict)
            for row in reader:
                if row:
                    yield before + 1, row
                before = reader.line_num
    except csv.Error as error:
        raise OddQuoteError(before + 1) from error
    finally:
        csv.field_size_limit(most)


class LineFinder:
    """Says on which line a row begins; the text is read once, however often it is asked.

    Args:
        text: The text; the header is line 1, and row 0 is behind it.
    """

    def __init__(self, text: CsvText) -> None:
        self._text = text
        # The row, the lines before it, and the bytes before it.
        self._places = [(-1, 0, 0)]

    def line(self, row: int) -> int:
        """The line on which a row begins; 1 for one that there is not."""
        place = bisect_right(self._places, row, key=lambda each: each[0]) - 1
        for number, line in self._rows_from(*self._places[place]):
            if number == row:
                return line
        return 1

    def _rows_from(self, number: int, before: int, start: int) -> Iterator[tuple[int, int]]:
        lines = _CountedLines(self._text, start)
        most = csv.field_size_limit(max(1, self._text.size))
        try:
            reader = csv.reader(lines)
            done = start
            for row in reader:
                if row:
                    if number % _EVERY == 0 and number > self._places[-1][0]:
                        self._places.append((number, before, done))
                    yield number, before + 1
                    number += 1
                before, done = before + lines.taken, lines.end
                lines.taken = 0
        finally:
            csv.field_size_limit(most)
            lines.close()


class _CountedLines:
    """The lines of a text from a byte on; every byte is a letter, as a quote is one in UTF-8."""

    def __init__(self, text: CsvText, start: int) -> None:
        stream = text.stream()
        stream.seek(stream.tell() + start)
        self._lines = io.TextIOWrapper(stream, encoding="latin-1", newline="")
        self.end, self.taken = start, 0

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self.end += len(line)
            self.taken += 1
            yield line

    def close(self) -> None:
        self._lines.close()


def split_rows(content: bytes) -> tuple[bytes, list[bytes]]:
    """The header and the rows of a well-formed CSV file, each with its line's end, as written."""
    content = content.removeprefix(_BOM)
    starts = [line for line, _ in read_rows(CsvText(content, uri=""))]
    lines = content.splitlines(keepends=True)  # of bytes, so at `\n`, `\r` and `\r\n` alone
    ends = [*starts[1:], len(lines) + 1]
    parts = [b"".join(lines[start - 1 : end - 1]) for start, end in zip(starts, ends, strict=True)]
    whole = [part if part.endswith((b"\n", b"\r")) else part + b"\n" for part in parts]
    return whole[0], whole[1:]
