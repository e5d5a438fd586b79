"""A file of answers that can be found again: to lose it costs time, and nothing else."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

from modelyard.adapters.replaced_file import remove_leftovers, replace_file

logger = logging.getLogger(__name__)

_SECONDS_TO_WRITE = 3600.0
"""No write takes as long; what is older in the folder, a killed process left."""


def read_kept(file: Path) -> Any:
    """The JSON document of a file, or None if there is none that can be read."""
    return _read(file, json.loads)


def read_sealed(file: Path) -> Any:
    """The document of `write_sealed`, or None if it is not, byte for byte, as it was written."""
    return _read(file, _unseal)


def _read(file: Path, parse: Callable[[bytes], Any]) -> Any:
    try:
        return parse(file.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        logger.info("%s: %s", file, error)
        return None


def _unseal(content: bytes) -> Any:
    seal, _, body = content.partition(b"\n")
    # The decoder is given text: it would first look for its encoding.
    return json.loads(body.decode()) if seal == _seal(body) else None


def write_sealed(file: Path, document: object) -> None:
    """Write the JSON document as `write_kept` does, after the digest of its bytes."""
    body = _dump(document)
    write_kept_bytes(file, _seal(body) + b"\n" + body)


def _seal(body: bytes) -> bytes:
    """A disk that was full or lost its power keeps a part of a file, or zeros in it."""
    return hashlib.sha256(body).hexdigest().encode()


def stamp_code(*more: Path) -> str:
    """What identifies the code of this package: its version, and its files where it is edited.

    What was derived by other code may be derived otherwise now.

    Args:
        more: Further folders that belong to it.
    """
    found = []
    for place in (Path(__file__).resolve().parents[1], *more):
        for folder, folders, files in os.walk(place):
            folders[:] = sorted(name for name in folders if name != "__pycache__")
            for name in sorted(files):
                status = os.stat(os.path.join(folder, name))  # noqa: PTH116,PTH118 - 500 of them
                found.append(f"{name} {status.st_size} {status.st_mtime_ns}")
    rows = [installed_version("modelyard"), *found]
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def write_kept(file: Path, document: object) -> None:
    """Write the JSON document, whole or not at all; on a full disk there is none."""
    write_kept_bytes(file, _dump(document))


def _dump(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def write_kept_bytes(file: Path, content: bytes) -> None:
    """Write the file as `write_kept` does."""
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(file.parent, older_than=_SECONDS_TO_WRITE)
        replace_file(file, content)
