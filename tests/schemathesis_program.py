"""Runs schemathesis as a program: as a plugin it takes a second of every start of pytest."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path


def assert_it_finds_nothing(
    schema: Path, url: str, checks: Sequence[str], options: Mapping[str, str]
) -> None:
    """Send what the document of a service suggests, the same each time; fails with what is found.

    Args:
        schema: The OpenAPI document; what was said is left beside it, in `said.txt`.
        url: Where the service is.
        checks: The names of the checks.
        options: Further options of the command line.
    """
    all_options = {
        "--url": url,
        "--checks": ",".join(checks),
        "--seed": "1",
        "--max-failures": "20",
        "--suppress-health-check": "all",
        "--warnings": "off",
        **options,
    }
    words = [word for pair in all_options.items() for word in pair]
    done = subprocess.run(
        [Path(sys.executable).with_name("schemathesis"), "run", schema, *words, "--no-shrink"],
        cwd=schema.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    (schema.parent / "said.txt").write_text(done.stdout, encoding="utf-8")
    assert done.returncode == 0, done.stdout[-6000:]
