"""Artifacts damaged in every way, and artifacts that never worked."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

from modelyard.artifact_digest import artifact_digest
from serving.artifacts import shared_artifact


def truncate(folder: Path) -> None:
    os.truncate(folder / "model" / "model.skops", 100)


def _flip_a_bit(folder: Path) -> None:
    file = folder / "model" / "model.skops"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def _put_a_folder_in_place(folder: Path) -> None:
    (folder / "model" / "MLmodel").unlink()
    (folder / "model" / "MLmodel").mkdir()


def _link_to_another(folder: Path) -> None:
    (folder / "golden.json").unlink()
    (folder / "golden.json").symlink_to("/etc/passwd")


def _put_a_file_in_place(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_bytes(b"")


DAMAGE: dict[str, Callable[[Path], None]] = {
    "truncated": truncate,
    "a bit flipped": _flip_a_bit,
    "a file missing": lambda folder: (folder / "serving.json").unlink(),
    "a folder missing": lambda folder: shutil.rmtree(folder / "model"),
    "a file more": lambda folder: (folder / "model" / "more.py").write_bytes(b""),
    "a folder for a file": _put_a_folder_in_place,
    "a link for a file": _link_to_another,
    "a file for the folder": _put_a_file_in_place,
    "a link for the folder": lambda folder: (
        folder.rename(folder.with_name("x")) and folder.symlink_to("/nowhere")
    ),
    "empty": lambda folder: [shutil.rmtree(folder), folder.mkdir()],
}


def broken_artifact(folder: Path, change: Callable[[Path], object]) -> str:
    """An artifact whose bytes are pinned as they are, and which does not work."""
    shutil.copytree(shared_artifact()[0], folder)
    change(folder)
    return artifact_digest(folder)


def _worse_golden(folder: Path) -> None:
    document = json.loads((folder / "golden.json").read_text())
    document["scores"][0] += 0.1
    (folder / "golden.json").write_text(json.dumps(document))


def _edit(folder: Path, entry: str, change: Callable[[bytes], bytes]) -> None:
    """Change some entries of a skops file, which is a zip archive."""
    file = folder / "model" / "model.skops"
    with zipfile.ZipFile(file) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    changed = {name: change(each) for name, each in entries.items() if name.endswith(entry)}
    assert changed
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in {**entries, **changed}.items():
            archive.writestr(name, content)


OWN_FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "differs on its golden rows": (_worse_golden, "golden scores differ by up to 0.1"),
    "fails on its golden rows": (
        lambda folder: _edit(folder, "json", lambda text: text.replace(b'"coef_"', b'"coeff_"')),
        "its golden rows fail",
    ),
    "cannot be opened": (
        lambda folder: _edit(folder, ".npy", lambda _: b""),
        "skops cannot load it",
    ),
}
