"""A file is written whole or not at all, and what a killed process left does not stay."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

import pytest

from modelyard.adapters.kept_file import read_kept, write_kept
from modelyard.adapters.replaced_file import replace_file


def test_a_kept_file_is_written_beside_what_killed_processes_left(tmp_path: Path) -> None:
    left, running = tmp_path / ".main-history-1.4711", tmp_path / ".a.json.4712"
    others = [tmp_path / name for name in (".keep", "a.json.1", ".hidden.x")]
    folder = tmp_path / ".folder.1"
    folder.mkdir()
    for file in (left, running, *others):
        file.write_bytes(b"x")
    for path in (left, folder, *others):
        then = time.time() - 7200
        os.utime(path, (then, then))

    write_kept(tmp_path / "a.json", {"a": 1})

    assert read_kept(tmp_path / "a.json") == {"a": 1}
    assert set(tmp_path.iterdir()) == {tmp_path / "a.json", running, folder, *others}


def test_a_write_that_the_disk_refuses_leaves_the_old_content_and_nothing_else(
    tmp_path: Path,
) -> None:
    file = tmp_path / "a"
    replace_file(file, b"old")
    most, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            replace_file(file, bytes(100))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))

    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]
