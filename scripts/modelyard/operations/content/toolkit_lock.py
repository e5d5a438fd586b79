"""The lock of a yard: modelyard's own wheel and everything that it needs, each by its hash."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from modelyard.adapters.tables.data_files import sha256_of
from modelyard.errors import CannotAnswer, Refused
from modelyard.operations.content.seed import read_seed, seed_folder

TOOLKIT_LOCK = "toolkit.lock"
WHEELS = "toolkit/"
"""The folder of the wheel; it is committed, so no index has to have it."""

HEADER = "# Written by modelyard. Do not edit: `modelyard upgrade` pins another version.\n"

_WHEEL = re.compile(r"modelyard-(?P<version>[^-]+)-py3-none-any\.whl")
_BUILT_WITHIN = 300


@dataclass(frozen=True, kw_only=True)
class Wheel:
    """A wheel of modelyard."""

    name: str
    content: bytes

    @property
    def version(self) -> str:
        """The version that its name gives."""
        found = _WHEEL.fullmatch(self.name)
        return found["version"] if found else ""


def is_wheel(name: str) -> bool:
    """Whether a file of this name is a wheel of modelyard."""
    return _WHEEL.fullmatch(name) is not None


def read_wheel(file: Path | None) -> Wheel:
    """The wheel in a file; without a file the one that this checkout builds.

    Raises:
        Refused: The file is no wheel of modelyard.
        CannotAnswer: It cannot be read; or none was given, and this is no checkout of the toolkit.
    """
    if file is None:
        return _build_wheel()
    if not is_wheel(file.name):
        raise Refused(f"{file.name} is no wheel of modelyard (modelyard-VERSION-py3-none-any.whl)")
    try:
        return Wheel(name=file.name, content=file.read_bytes())
    except OSError as error:
        raise CannotAnswer(f"cannot read {file}: {error.strerror}") from error


def toolkit_files(wheel: Wheel) -> dict[str, bytes]:
    """The lock and the wheel that it pins, by their paths in a yard."""
    place = f"{WHEELS}{wheel.name}"
    pin = f"./{place} \\\n    --hash=sha256:{sha256_of(wheel.content)}\n"
    needs = read_seed("requirements-image.lock") + read_seed("requirements-uv.lock")
    return {TOOLKIT_LOCK: f"{HEADER}{pin}".encode() + needs, place: wheel.content}


def _build_wheel() -> Wheel:
    root = seed_folder()
    if not (root / "pyproject.toml").is_file():
        raise CannotAnswer(
            "modelyard is installed from a wheel here: which one should the yard pin?",
            hint="modelyard init DIR --wheel FILE, such as one of a release or of `pip download`",
        )
    with TemporaryDirectory(prefix="modelyard-wheel-") as folder:
        words = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder]
        done = subprocess.run(
            words, cwd=root, capture_output=True, text=True, check=False, timeout=_BUILT_WITHIN
        )
        found = sorted(Path(folder).glob("*.whl"))
        if done.returncode or not found:
            last = (done.stderr or done.stdout).strip().rpartition("\n")[2]
            raise CannotAnswer(
                f"the wheel of {root} cannot be built: {last}",
                hint="make install, or --wheel FILE for a wheel that there is",
            )
        return Wheel(name=found[0].name, content=found[0].read_bytes())
