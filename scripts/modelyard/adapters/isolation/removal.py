"""Removes the folder of a run, whatever the trainer left in it."""

from __future__ import annotations

import logging
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

logger = logging.getLogger(__name__)


@contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """A new folder, which is removed at the end however deep its folders are nested.

    What cannot be removed is logged: it must not take the place of what the run found.
    """
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        yield folder
    finally:
        # Python's own removal calls itself for each level, and gives up after some hundred.
        done = subprocess.run(["rm", "-rf", "--", str(folder)], capture_output=True, check=False)
        if done.returncode:
            why = done.stderr.decode(errors="replace").strip()
            logger.warning("%s could not be removed: %s", folder, why)
