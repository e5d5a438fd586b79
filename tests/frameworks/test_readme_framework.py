"""The path of a model with a framework of its own, from a CSV to production, as its page has it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from content.test_readme import (
    ROOT,
    Reader,
    environment,  # noqa: F401 - a fixture
    section,
    typed,
)

pytestmark = pytest.mark.frameworks

PAGE = (ROOT / "docs/frameworks.md").read_text(encoding="utf-8")

INDEX = ("UV_", "PIP_", "SSL_", "HTTP_", "HTTPS_", "NO_", "http_", "https_", "no_")


def _index() -> dict[str, str]:
    """How this machine reaches the package index, and where it keeps packages."""
    found = {name: value for name, value in os.environ.items() if name.startswith(INDEX)}
    return {"UV_CACHE_DIR": str(Path.home() / ".cache" / "uv"), **found}


def test_a_model_of_lightgbm_goes_from_a_csv_to_production_by_the_page_alone(
    environment: dict[str, str],  # noqa: F811 - as above
    tmp_path: Path,
):
    (tmp_path / "modelyard" / "scripts").mkdir(parents=True)
    shutil.copytree(ROOT / "scripts" / "demo", tmp_path / "modelyard" / "scripts" / "demo")
    reader = Reader(tmp_path / "modelyard", {**environment, **_index()})
    try:
        for line in typed(section("From a CSV to production", PAGE)):
            assert reader.type(line) == 0, reader.said[-1]
            said = reader.said[-1][2]
            for shown in line.shown:
                wanted = ".*".join(map(re.escape, shown.split("…")))
                assert re.search(rf"^\s*{wanted}", said, re.MULTILINE), (line.command, said)
    finally:
        if (reader.cwd / "modelyard.yaml").is_file():
            reader.modelyard("modelyard servers stop")
    log = subprocess.run(
        ["git", "log", "--format=%s", "origin/main"], cwd=reader.cwd, check=True,
        capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert "Merge pull request #5" in log
