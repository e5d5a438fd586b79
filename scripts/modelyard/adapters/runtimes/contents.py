"""What an environment holds, file by file: noted when it is built, compared before it is used."""

from __future__ import annotations

import base64
import csv
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from modelyard.runtime_measure import LOCK_FILE

CONTENTS = "contents.txt"
"""In the folder of an environment: a line for each of its files, as they were built."""

_CACHE = "__pycache__"
"""Made of the files beside it, whenever an interpreter wants: not compared."""

_OWN = frozenset({CONTENTS, f".{CONTENTS}", LOCK_FILE})
_OF_VENV = frozenset({"_virtualenv.py", "_virtualenv.pth"})
"""What an environment has in site-packages besides what is installed."""


def note_contents(environment: Path) -> None:
    """Write down what an environment holds; nothing else may have been done to it."""
    part = environment / f".{CONTENTS}"
    part.write_text("\n".join(_lines(environment)), encoding="utf-8", errors="surrogateescape")
    part.replace(environment / CONTENTS)


def find_changes(environment: Path) -> list[str]:
    """The files that were changed, added or removed since an environment was noted.

    A file counts as changed by its size and the second of its last change, so this takes a look at
    each file and reads none.

    Raises:
        FileNotFoundError: It was not noted.
    """
    noted = (environment / CONTENTS).read_text(encoding="utf-8", errors="surrogateescape")
    found = list(_lines(environment))
    if noted == "\n".join(found):
        return []
    differing = set(noted.split("\n")) ^ set(found)
    return sorted({line.split(" ", 2)[2] for line in differing if line.count(" ") > 1})


def unlike_records(environment: Path) -> Iterator[str]:
    """The files of site-packages that are not what their package's RECORD says, or in none.

    It has the SHA-256 of each file of a wheel. uv installs from files that it unpacked before, and
    does not compare them again: somebody may have edited one in another environment.
    """
    for packages in environment.glob("lib/python*/site-packages"):
        recorded = dict(_recorded(packages))
        for path in sorted(_files(packages)):
            name = path.relative_to(packages).as_posix()
            if name in _OF_VENV:
                continue
            if name not in recorded or recorded.pop(name) not in {"", _digest(path)}:
                yield name
        yield from (name for name in recorded if _CACHE not in name)


def _recorded(packages: Path) -> Iterator[tuple[str, str]]:
    """The files that RECORDs list below site-packages, with their digests where they have one."""
    for record in packages.glob("*.dist-info/RECORD"):
        with record.open(encoding="utf-8", newline="") as file:
            for row in csv.reader(file):
                name = os.path.normpath(row[0]) if row else ".."
                if not name.startswith(("..", "/")):
                    yield name, row[1] if len(row) > 1 else ""


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
    return f"sha256={base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


def _files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = [each for each in folders if each != _CACHE]
        yield from (Path(parent, name) for name in names)


def _lines(environment: Path) -> Iterator[str]:
    """`SIZE SECOND NAME` of each file, in order; of a link, also where it leads."""
    pending, start = [str(environment)], len(str(environment)) + 1
    while pending:
        with os.scandir(pending.pop()) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
        for entry in listed:
            name = entry.path[start:]
            if entry.is_dir(follow_symlinks=False):
                pending += [] if entry.name == _CACHE else [entry.path]
            elif name not in _OWN:
                found = entry.stat(follow_symlinks=False)
                to = f" -> {Path(entry.path).readlink()}" if entry.is_symlink() else ""
                line = f"{found.st_size} {int(found.st_mtime)} {name}{to}"
                yield line.replace("\n", "\\n") if "\n" in line else line
