"""The digest of an artifact's folder; store and server compute the same one."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from modelyard.errors import CannotAnswer, Refused


def artifact_digest(folder: Path) -> str:
    """`sha256:` and the SHA-256 over the sorted lines `<sha256 of a file>  <relative path>`.

    Raises:
        CannotAnswer: There is no such folder, or a file of it cannot be read.
        Refused: The folder holds a symbolic link, a device, or a name that no manifest can hold.
    """
    return manifest_digest(file_digests(folder).items())


def file_digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file of an artifact, by its name in the manifest.

    Raises:
        CannotAnswer: As for `artifact_digest`.
        Refused: As for `artifact_digest`.
    """
    try:
        return {name: _file_digest(path) for name, path in artifact_files(folder)}
    except OSError as error:
        raise CannotAnswer(f"artifact {folder}: cannot be read: {error}") from error


def manifest_digest(files: Iterable[tuple[str, str]]) -> str:
    """The digest of an artifact of these files, each with its name and its own SHA-256."""
    lines = sorted(f"{content}  {name}\n" for name, content in files)
    return f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"


def artifact_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """The files of an artifact, each with its name in the manifest.

    Raises:
        CannotAnswer: There is no such folder.
        Refused: As for `artifact_digest`.
    """
    if not folder.is_dir():
        raise CannotAnswer(f"artifact {folder}: no such folder")
    pending = [folder]
    while pending:
        with os.scandir(pending.pop()) as entries:
            listed = list(entries)
        for entry in listed:
            mode = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                pending.append(Path(entry.path))
            elif stat.S_ISREG(mode):
                yield _manifest_name(folder, entry.path), Path(entry.path)
            else:
                raise Refused(
                    f"artifact {folder}: {entry.path} is not a regular file;"
                    " links and devices have no bytes to pin"
                )


def _manifest_name(folder: Path, path: str) -> str:
    name = Path(path).relative_to(folder).as_posix()
    if not name.isprintable():
        raise Refused(f"artifact {folder}: {name!r} is not a printable name")
    return name


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
