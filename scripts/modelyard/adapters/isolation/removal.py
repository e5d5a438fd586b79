"""Removes the folder of a run, whatever the trainer left in it."""

from __future__ import annotations

import logging
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelyard.adapters.processes.start import holding_signals, unwinding_on_signals

logger = logging.getLogger(__name__)


@contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """A new folder, which is removed at the end however deep its folders are nested.

    What cannot be removed is logged: it must not take the place of what the run found. A second
    Ctrl-C waits until it is gone.
    """
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        yield folder
    finally:
        with unwinding_on_signals(), holding_signals():
            _remove(folder)


def _remove(folder: Path) -> None:
    # Python's own removal calls itself for each level, and gives up after some hundred.
    words = ["rm", "-rf", "--", str(folder)]
    # A session of its own: a terminal sends Ctrl-C to all of ours.
    done = subprocess.run(words, capture_output=True, check=False, start_new_session=True)
    if done.returncode:
        why = done.stderr.decode(errors="replace").strip()
        logger.warning("%s could not be removed: %s", folder, why)
