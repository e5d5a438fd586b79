"""Files behind data URIs: their addresses, and their bytes, whole or copied to this disk."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from modelyard.adapters.file_systems import (
    PART_BYTES,
    options_of,
    reason_of,
    unreachable_errors,
    writing_to,
)
from modelyard.errors import CannotAnswer


def read_uri(uri: str, *, base: str, root: Path) -> bytes:
    """The bytes behind a data URI.

    Args:
        uri: An fsspec URI, or a path relative to `base`.
        base: The data root of `modelyard.yaml`: an fsspec URI, or a path relative to `root`.
        root: The checkout's root.

    Raises:
        CannotAnswer: They are out of reach.
    """
    with _opened(uri, base=base, root=root) as file:
        content: bytes = file.read()
    return content


@contextlib.contextmanager
def _opened(uri: str, *, base: str, root: Path) -> Iterator[BinaryIO]:
    """The open file behind a data URI."""
    import fsspec

    address = data_address(uri, base=base, root=root)
    try:
        with fsspec.open(address, "rb", **options_of(address)) as file:
            yield file
    except unreachable_errors(ValueError, ImportError) as error:
        raise CannotAnswer(
            f"{uri}: out of reach at {address}: {reason_of(error)}",
            hint="check `data` in modelyard.yaml, and that the file was not moved",
        ) from error


def copy_uri(uri: str, *, base: str, root: Path, target: Path) -> str:
    """Copy the bytes behind a data URI to this disk, part by part; returns their SHA-256.

    Args:
        uri: See `read_uri`.
        base: See `read_uri`.
        root: The checkout's root.
        target: The file to write.

    Raises:
        CannotAnswer: They are out of reach, or there is no room.
    """
    digest = hashlib.sha256()
    with writing_to(target), target.open("wb") as copy, _opened(uri, base=base, root=root) as file:
        while part := file.read(PART_BYTES):
            digest.update(part)
            with writing_to(target):  # here too: out of reach is only what is read
                copy.write(part)
    return digest.hexdigest()


def write_copy(content: bytes, target: Path) -> None:
    """Write bytes to this disk, as `copy_uri` does.

    Raises:
        CannotAnswer: There is no room.
    """
    with writing_to(target):
        target.write_bytes(content)


def data_address(uri: str, *, base: str, root: Path) -> str:
    """The full address of a data URI."""
    if "://" in uri:
        return uri
    return f"{base.rstrip('/')}/{uri}" if "://" in base else str(root / base / uri)


def sha256_of(content: bytes) -> str:
    """Lower-case hexadecimal SHA-256."""
    return hashlib.sha256(content).hexdigest()
