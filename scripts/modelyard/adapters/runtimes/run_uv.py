"""Runs uv, which locks and builds the runtimes of models."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from modelyard.adapters.processes.start import run_command
from modelyard.domain.harmless_text import last_lines
from modelyard.errors import CannotAnswer

BUILD_SECONDS = 1800
_LAST_LINES = 4


def run_uv(arguments: Sequence[str], *, log: Path, environment: Mapping[str, str]) -> None:
    """Run uv, the one beside this interpreter or the first on PATH.

    Raises:
        CannotAnswer: There is none, or it failed; the message has its last lines.
    """
    beside = Path(sys.executable).with_name("uv")
    program = str(beside) if beside.exists() else shutil.which("uv")
    if program is None:
        raise CannotAnswer(
            "uv is not installed: it locks and builds the runtimes of models",
            hint="python -m pip install --require-hashes -r requirements-uv.lock",
        )
    try:
        code = run_command(
            [program, *arguments],
            cwd=log.parent, environment=environment, output=log, timeout=BUILD_SECONDS,
        )  # fmt: skip
    except TimeoutError as error:
        raise CannotAnswer(f"uv {arguments[0]} took more than {BUILD_SECONDS} s") from error
    if code:
        said = last_lines(log.read_text(errors="replace"), _LAST_LINES)
        raise CannotAnswer(f"uv {' '.join(arguments[:2])} ended with exit code {code}: {said}")
