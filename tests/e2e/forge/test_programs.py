"""Programs in the cache: whole or not there, whatever ended an earlier build."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from e2e.cluster.programs import SOURCES
from e2e.go_programs import Source, build_program, is_possible

PAUSE = next(source for source in SOURCES if source.folder.name == "pause")


@pytest.fixture
def built(tmp_path: Path) -> Path:
    return build_program(PAUSE, "pause", tmp_path)


def test_a_program_that_is_damaged_is_built_again(built: Path, tmp_path: Path):
    whole = built.read_bytes()
    for damage in (whole[: len(whole) // 2], b"", whole[:-1] + b"!"):
        built.write_bytes(damage)
        assert build_program(PAUSE, "pause", tmp_path).read_bytes() == whole


def test_a_program_that_is_whole_is_not_built_again(built: Path, tmp_path: Path):
    before = built.stat().st_mtime_ns
    assert build_program(PAUSE, "pause", tmp_path).stat().st_mtime_ns == before


def test_another_go_mod_is_another_program(built: Path, tmp_path: Path):
    folder = tmp_path / "pause"
    folder.mkdir()
    for path in PAUSE.folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    assert build_program(Source(folder=folder, packages=PAUSE.packages), "pause", tmp_path) == built
    with (folder / "go.mod").open("a") as file:
        file.write("// another\n")
    other = Source(folder=folder, packages=PAUSE.packages)
    assert build_program(other, "pause", tmp_path).parent != built.parent


def test_a_build_that_fails_leaves_no_program(tmp_path: Path):
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "go.mod").write_text("module broken\n\ngo 1.24\n")
    (folder / "main.go").write_text("package main\n\nfunc main() { nothing() }\n")
    source = Source(folder=folder, packages={"broken": "."})
    for _ in range(2):
        with pytest.raises(subprocess.CalledProcessError):
            build_program(source, "broken", tmp_path)
    assert not list(tmp_path.glob("programs/broken-*/broken"))


def test_a_machine_without_go_uses_what_is_built(built: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert is_possible(PAUSE, tmp_path)
    assert build_program(PAUSE, "pause", tmp_path) == built
    assert not is_possible(PAUSE, tmp_path / "another cache")
    with pytest.raises(SystemExit, match="building pause needs go"):
        build_program(PAUSE, "pause", tmp_path / "another cache")
