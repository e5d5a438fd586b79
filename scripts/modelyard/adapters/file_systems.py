"""File systems by fsspec and this disk: options, and errors as what a person can do."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modelyard.errors import CannotAnswer, DiskFault, explain_disk_error

PART_BYTES = 2**20
"""Of a file that is read or copied part by part."""


def options_of(uri: str) -> dict[str, Any]:
    """Options of an object store: see other processes' writes at once, and give up soon."""
    if not uri.startswith(("s3://", "s3a://")):
        return {}
    limits = {"connect_timeout": 3, "read_timeout": 20, "retries": {"max_attempts": 2}}
    return {"use_listings_cache": False, "config_kwargs": limits}


def unreachable_errors(*more: type[Exception]) -> tuple[type[Exception], ...]:
    """The errors of a file system out of reach; object stores have errors of their own."""
    own = sys.modules.get("botocore.exceptions")
    theirs = () if own is None else (own.BotoCoreError, own.ClientError)
    return (OSError, *theirs, *more)


def reason_of(error: Exception) -> str:
    """Why, without the path, which the message names already."""
    return (isinstance(error, OSError) and error.strerror) or str(error)


@contextlib.contextmanager
def writing_to(target: Path) -> Iterator[None]:
    """Name a file of this disk that cannot be written.

    Raises:
        CannotAnswer: There is no room, or no permission.
    """
    try:
        yield
    except OSError as error:
        raise not_writable(target, error) from error


def not_writable(path: Path, error: OSError) -> CannotAnswer:
    """The error of a file of this disk that cannot be written."""
    said = f"{path}: cannot be written: {error.strerror or error}"
    named = explain_disk_error(error)
    if isinstance(named, DiskFault):
        return type(named)(said, hint=named.hint)
    return CannotAnswer(said, hint="make room on this disk, and let this user write there")
