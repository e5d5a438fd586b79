"""The environments of runtimes on this machine, by lock: built once, beside and then renamed."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from modelyard.adapters.runtimes.contents import (
    CONTENTS,
    find_changes,
    note_contents,
    unlike_records,
)
from modelyard.adapters.runtimes.run_uv import run_uv
from modelyard.errors import Refused, join_first
from modelyard.runtime_measure import (
    LOCK_FILE,
    applied_pins,
    installed_distributions,
    refuse_other_runtime,
    unmet_pins,
)

FOLDER = "MODELYARD_RUNTIMES"
"""The environment variable with the folder of all environments; shared by yards."""

_SHOWN = 5
_KEPT = frozenset(
    {"PATH", "HOME", "LANG", "TMPDIR", "XDG_CACHE_HOME", "SSL_CERT_FILE", "SSL_CERT_DIR", "NETRC"}
)
"""What uv needs to install; the credentials of the platform are none of its business."""

_OF_LOCK = ("UV_CONSTRAINT", "UV_OVERRIDE", "UV_EXCLUDE", "UV_NO_BINARY", "UV_PRERELEASE",
            "UV_PYTHON", "UV_TORCH_BACKEND", "UV_VENV_SEED")  # fmt: skip
"""Settings of uv that say what is installed, by how their names start: that is up to the lock."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """An interpreter with the packages of one lock.

    Args:
        lock: SHA-256 of the lock.
        lock_file: The lock itself.
        python: The interpreter.
    """

    lock: str
    lock_file: Path
    python: Path

    @property
    def is_own(self) -> bool:
        """Whether it is the interpreter of this process."""
        return self.python.parent.parent.resolve() == Path(sys.prefix).resolve()

    @property
    def other_python(self) -> Path | None:
        """The interpreter to start processes with, or None for that of this process."""
        return None if self.is_own else self.python


@dataclass(frozen=True, kw_only=True)
class Built:
    """One environment of the folder.

    Args:
        lock: SHA-256 of its lock.
        folder: Where it is.
        megabytes: What its files take, those shared with uv's cache included.
        processes: The numbers of the processes that run in it.
    """

    lock: str
    folder: Path
    megabytes: float
    processes: tuple[int, ...]


def runtimes_folder() -> Path:
    """Where environments are kept: `MODELYARD_RUNTIMES`, else the user's cache."""
    given = os.environ.get(FOLDER)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(given) if given else Path(cache) / "modelyard" / "runtimes"


def packages_of(environment: Path) -> dict[str, str]:
    """What is installed in an environment, read from outside of it."""
    return installed_distributions([str(p) for p in environment.glob("lib/python*/site-packages")])


def import_folders(environment: Path) -> frozenset[str]:
    """The folders that the `.pth` files of an environment name.

    They are read, and the interpreter is not asked: as it starts, it runs code of what is installed
    there, which nobody has closed in yet.
    """
    found = set()
    for file in environment.glob("lib/python*/site-packages/*.pth"):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            folder = file.parent / line.strip()
            if line.strip() and not line.startswith(("import ", "import\t", "#")):
                found |= {str(folder)} if folder.is_dir() else set()
    return frozenset(found)


class Environments:
    """All environments of this user.

    A folder has the name of its lock's digest, and is whole: it was built beside and renamed.

    Args:
        folder: Where they are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def lock_file(self, pin: str) -> Path:
        """Where the lock of this digest is kept."""
        return self.folder / f"{pin}.lock"

    def keep_lock(self, content: bytes) -> Path:
        """Keep a lock under its digest; an equal one stays as it is."""
        path = self.lock_file(hashlib.sha256(content).hexdigest())
        if not path.exists() or path.read_bytes() != content:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.folder, delete=False) as file:
                file.write(content)
            Path(file.name).replace(path)
        return path

    def own_fits(self, content: bytes) -> bool:
        """Whether this process's interpreter has every pin of a lock installed.

        Nobody knows whether it has what is at an address.

        Raises:
            Refused: The text is no lock.
        """
        if any(pin.url for pin in applied_pins(content)):
            return False
        return next(unmet_pins(content, installed_distributions(sys.path)), None) is None

    def get_or_build(self, pin: str) -> Path:
        """The environment of a lock that was kept here; built if it is missing or was changed.

        Raises:
            CannotAnswer: uv is missing, or cannot install the lock.
        """
        lock, target = self.lock_file(pin), self.folder / pin
        if self._is_whole(target, pin):
            return target
        with self._building(pin):
            # Another process may have built it meanwhile.
            if not self._is_whole(target, pin) and not self._fits_records(target, pin):
                self._build(lock, target, pin)
        return target

    def list_built(self) -> list[Built]:
        """The environments that are here, by digest."""
        names = sorted(path.name for path in self.folder.glob("*") if _is_digest(path.name))
        running = _processes_by_folder(self.folder) if names else {}
        return [
            Built(
                lock=name,
                folder=self.folder / name,
                megabytes=_size(self.folder / name) / 1e6,
                processes=tuple(running.get(name, ())),
            )
            for name in names
        ]

    def remove(self, pin: str) -> bool:
        """Remove an environment; False if a process runs in it or another one builds it."""
        try:
            with self._building(pin, wait=False):
                if _processes_by_folder(self.folder).get(pin):
                    return False
                self._remove(self.folder / pin)
        except BlockingIOError:
            return False
        return True

    def _is_whole(self, target: Path, pin: str) -> bool:
        return (target / "bin" / "python").exists() and self._fault(target, pin) is None

    def _fault(self, target: Path, pin: str) -> str | None:
        """Why an environment is not what was built of its lock; None if it is."""
        try:
            content = (target / LOCK_FILE).read_bytes()
            refuse_other_runtime(pin, content, packages_of(target), where=target)
            changed = find_changes(target)
        except OSError as error:
            return f"runtime {target} is not whole: {error.filename}: {error.strerror}"
        except Refused as refused:
            return str(refused)
        what = join_first(changed, _SHOWN)
        return f"runtime {target} was changed since it was built: {what}" if changed else None

    def _fits_records(self, target: Path, pin: str) -> bool:
        """Whether one that an older modelyard built, which noted nothing, is as it was built."""
        if not target.exists() or (target / CONTENTS).exists() or any(unlike_records(target)):
            return False
        note_contents(target)
        return self._is_whole(target, pin)

    def _build(self, lock: Path, target: Path, pin: str) -> None:
        for left in self.folder.glob(f".{pin}-*"):  # of a build that was killed
            shutil.rmtree(left, ignore_errors=True)
        if target.exists():
            logger.warning("%s; it is built again", self._fault(target, pin))
        logger.info("building runtime %s from %s, once for all yards", pin[:12], lock)
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=f".{pin}-") as name:
            beside = self._install(lock, Path(name))
            if unlike := list(unlike_records(beside)):
                # What still differs is the package's own fault: its bytes are those of the lock.
                logger.warning("uv's cache was changed: %s: not used", join_first(unlike, _SHOWN))
                shutil.rmtree(beside)
                beside = self._install(lock, Path(name), "--no-cache")
            shutil.copyfile(lock, beside / LOCK_FILE)
            refuse_other_runtime(pin, lock.read_bytes(), packages_of(beside), where=target)
            note_contents(beside)
            self._remove(target)  # so late, because a server may run in it and still import
            beside.rename(target)

    def _install(self, lock: Path, folder: Path, *options: str) -> Path:
        """A new environment of the lock, in a folder."""
        beside = folder / "environment"
        # Relocatable: its scripts must not name the folder that it is built in.
        self._uv(
            "venv", "--quiet", "--relocatable", "--no-project", "--python", sys.executable,
            str(beside), log=folder / "log",
        )  # fmt: skip
        # Copied: a file that is linked is changed wherever somebody edits it.
        self._uv(
            "pip", "sync", "--quiet", "--require-hashes", "--compile-bytecode", "--no-build",
            "--link-mode", "copy", *options,
            "--python", str(beside / "bin" / "python"), str(lock), log=folder / "log",
        )  # fmt: skip
        return beside

    def _uv(self, *arguments: str, log: Path) -> None:
        kept = {
            name: value
            for name, value in os.environ.items()
            if name in _KEPT or name.startswith("UV_") or name.lower().endswith("_proxy")
            if not name.startswith(_OF_LOCK)
        }
        run_uv(arguments, log=log, environment={**kept, "UV_PYTHON_DOWNLOADS": "never"})

    def _remove(self, target: Path) -> None:
        if target.exists():
            # Renamed first: one that is half removed must not have the name of a whole one.
            gone = Path(tempfile.mkdtemp(dir=self.folder, prefix=f".{target.name}-"))
            target.rename(gone / "environment")
            shutil.rmtree(gone)

    @contextmanager
    def _building(self, pin: str, *, wait: bool = True) -> Iterator[None]:
        """Keep other builders of the same lock out; the kernel ends that with the process."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{pin}.busy").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            yield


def _is_digest(name: str) -> bool:
    return len(name) == 64 and set(name) <= set("0123456789abcdef")  # noqa: PLR2004 - of SHA-256


def _size(folder: Path) -> int:
    return sum(entry.lstat().st_size for entry in folder.rglob("*") if not entry.is_dir())


def _processes_by_folder(folder: Path) -> dict[str, list[int]]:
    """The processes whose interpreter is in an environment below the folder."""
    found: dict[str, list[int]] = {}
    place = folder.absolute()
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or [""]
        path = Path(words[0])
        if path.is_relative_to(place):
            found.setdefault(path.relative_to(place).parts[0], []).append(process.pid)
    return found
