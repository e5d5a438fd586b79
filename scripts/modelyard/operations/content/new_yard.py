"""Writes a content repository: everything that a team changes, and a pin of the toolkit."""

from __future__ import annotations

import os
import shutil
from importlib import resources
from pathlib import Path
from tempfile import mkdtemp

from modelyard.errors import CannotAnswer, Refused
from modelyard.operations.content.seed import seeded_files
from modelyard.operations.content.toolkit_lock import Wheel, toolkit_files

OWN = {
    ".github/CODEOWNERS": "CODEOWNERS",
    ".gitignore": "gitignore",
    "Makefile": "Makefile",
    "README.md": "README.md",
    "models/README.md": "models.md",
}
"""Files that only a yard has, by their path, with their names in the package's `yard_files`."""

_DRIFT = ".github/workflows/drift.yml"
_ALWAYS = b"    if: github.ref == 'refs/heads/main'\n"
_IDLE = {
    b"""'["flight-delay"]'""": b"""'["NAME"]'""",
    _ALWAYS: (
        b"    # No model has a feed yet. Once one has: name it below, in place of NAME, and here\n"
        b"    # leave out `inputs.model &&`.\n"
        b"    if: inputs.model && github.ref == 'refs/heads/main'\n"
    ),
}
_LISTED = b"        model: [flight-delay]\n"
_IDLE_BEFORE = {
    _LISTED: b"        model: [NAME]\n",
    _ALWAYS: (
        b"    # No model has a feed yet. Once one has: name it below, in place of NAME, and here "
        b"say\n    # github.ref == 'refs/heads/main' in place of false.\n"
        b"    if: false\n"
    ),
}
"""What a version wrote whose nightly drift took no model: `upgrade` reads its wheel."""


def yard_files(wheel: Wheel) -> dict[str, bytes]:
    """The files of a new yard by their paths."""
    folder = resources.files("modelyard") / "yard_files"
    own = {path: (folder / name).read_bytes() for path, name in OWN.items()}
    return {**start_idle(seeded_files()), **own, **toolkit_files(wheel)}


def start_idle(files: dict[str, bytes]) -> dict[str, bytes]:
    """The files with a nightly drift that waits for a model: GitHub takes no empty list."""
    if _DRIFT not in files:
        return files
    idle = files[_DRIFT]
    for here, there in (_IDLE_BEFORE if _LISTED in idle else _IDLE).items():
        idle = idle.replace(here, there)
    return {**files, _DRIFT: idle}


def refuse_what_is_there(folder: Path) -> None:
    """Raise `Refused` if the folder of a new yard holds something."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Refused(
            f"{folder} is not empty: a new yard overwrites nothing",
            hint="choose another folder; modelyard init --forge sets up the forge of a checkout",
        )


def write_yard(folder: Path, files: dict[str, bytes]) -> None:
    """Write the files into a folder that is empty or not there yet; all of them or none.

    Raises:
        Refused: The folder holds something.
        CannotAnswer: It cannot be written.
    """
    refuse_what_is_there(folder)
    folder = folder.resolve()  # no folder is renamed to `.`, to `..` or over a link
    above = folder.parent
    try:
        above.mkdir(parents=True, exist_ok=True)
        beside = Path(mkdtemp(prefix=f".{folder.name}.", dir=above))
    except OSError as error:
        raise CannotAnswer(f"cannot write {folder}: {error.strerror}") from error
    try:
        for name, content in files.items():
            (beside / name).parent.mkdir(parents=True, exist_ok=True)
            (beside / name).write_bytes(content)
        mask = os.umask(0)
        os.umask(mask)
        beside.chmod(0o777 & ~mask)  # mkdtemp's own is for one user alone
        beside.replace(folder)  # an empty folder is replaced, one with files is not
    except OSError as error:
        shutil.rmtree(beside, ignore_errors=True)
        raise CannotAnswer(f"cannot write {folder}: {error.strerror}") from error
