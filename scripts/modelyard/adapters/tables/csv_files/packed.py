"""Unpacks `.gz` files piece by piece, up to a limit."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from modelyard.adapters.file_systems import writing_to
from modelyard.domain.specs.model import MAX_UNPACKED_MEGABYTES
from modelyard.errors import CannotAnswer, OverLimit

_PIECE = 2**16
_UNPACKED_PIECE = 2**20
_GZIP_BITS = 31  # zlib's word for gzip with any window


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
    made = io.BytesIO()
    _unpack(io.BytesIO(content), made, size=len(content), uri=uri, megabytes=megabytes)
    return made.getvalue()


def unpack_file(path: Path, target: Path, *, uri: str, megabytes: int) -> None:
    """Write what a `.gz` file of this disk unpacks to into another one; see `unpacked`."""
    with path.open("rb") as stream, writing_to(target), target.open("wb") as made:
        _unpack(stream, made, size=path.stat().st_size, uri=uri, megabytes=megabytes)


class _TooLargeError(ValueError):
    """A file unpacks to more than it may."""


def _unpack(stream: IO[bytes], made: IO[bytes], *, size: int, uri: str, megabytes: int) -> None:
    try:
        for piece in _pieces(stream, megabytes * 1_000_000):
            made.write(piece)
    except zlib.error as error:
        raise CannotAnswer(f"{uri}: not readable as a table: {error}") from error
    except _TooLargeError as error:
        raise OverLimit(
            f"{uri}: its {size:,} bytes unpack to more than {megabytes:,} MB, the limit of "
            "data.max_unpacked_megabytes",
            hint="if the file is right, raise data.max_unpacked_megabytes in model.yaml, or give "
            "the rows as .parquet, or in several files",
        ) from error


def _pieces(stream: IO[bytes], most: int) -> Iterator[bytes]:
    """What the members of a gzip file unpack to; there may be zeros behind each of them."""
    packed = stream.read(_PIECE)
    while True:
        member = zlib.decompressobj(_GZIP_BITS)
        while not member.eof:
            packed = packed or stream.read(_PIECE)
            piece = member.decompress(packed, _UNPACKED_PIECE)
            if not (packed or piece or member.eof):
                raise zlib.error("the file ends before its data does")
            most -= len(piece)
            if most < 0:
                raise _TooLargeError
            packed = member.unconsumed_tail or member.unused_data
            yield piece
        packed = packed or stream.read(_PIECE)
        while packed.startswith(b"\0"):
            packed = packed.lstrip(b"\0") or stream.read(_PIECE)
        if not packed:
            return
