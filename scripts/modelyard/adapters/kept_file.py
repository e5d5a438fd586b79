"""A file of answers that can be found again: to lose it costs time, and nothing else."""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

from modelyard.adapters.replaced_file import remove_leftovers, replace_file

logger = logging.getLogger(__name__)

_SECONDS_TO_WRITE = 3600.0
"""No write takes as long; what is older in the folder, a killed process left."""


def read_kept(file: Path) -> Any:
    """The JSON document of a file, or None if there is none that can be read."""
    try:
        return json.loads(file.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        logger.info("%s: %s", file, error)
        return None


def write_kept(file: Path, document: object) -> None:
    """Write the JSON document, whole or not at all; on a full disk there is none."""
    write_kept_bytes(file, json.dumps(document, separators=(",", ":")).encode())


def write_kept_bytes(file: Path, content: bytes) -> None:
    """Write the file as `write_kept` does."""
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(file.parent, older_than=_SECONDS_TO_WRITE)
        replace_file(file, content)
