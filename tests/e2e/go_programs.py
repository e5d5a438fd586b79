"""Programs built from their Go modules into a cache, once for each go.sum."""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from e2e.cluster.progress import say, step

# How go says that it does not reach a module, or has no toolchain for it.
_MISSED = re.compile(
    "dial tcp|read tcp|timeout|proxyconnect|handshake|x509|lookup disabled|requires go"
    r"|toolchain not available|: 4(?:0\d|10) |: 50\d "
)
_SHOWN = 300


@dataclass(frozen=True, kw_only=True)
class Source:
    """A folder with a go.mod and a go.sum, and how to build the packages it pins.

    Args:
        folder: The folder. Its name and a hash of its content name the folder of the cache.
        packages: The Go package of each program.
        flags: What the linker is told.
        tags: The build tags.
        cgo: Whether a C compiler takes part.
        prepare: Called with the copy of the folder in which a program is built.
    """

    folder: Path
    packages: dict[str, str] = field(hash=False)
    flags: str = ""
    tags: str = ""
    cgo: bool = False
    prepare: Callable[[Path], None] | None = None

    @cached_property
    def key(self) -> str:
        """The hash of everything that decides what is built."""
        digest = hashlib.sha256((self.flags + self.tags).encode())
        for path in sorted(self.folder.iterdir()):
            digest.update(path.name.encode() + path.read_bytes())
        return digest.hexdigest()[:12]


def build_program(source: Source, program: str, cache: Path) -> Path:
    """The program of this very source, built when it is missing or not what was built."""
    path = _path(source, program, cache)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _alone(path.with_name("lock")):
        if not _is_whole(path):
            _build(source, program, path)
    return path


def is_possible(source: Source, cache: Path) -> bool:
    """Whether every program of the source is there or can be built here."""
    return not _missing_tools(source) or all(
        _path(source, program, cache).exists() for program in source.packages
    )


def find_obstacle(source: Source, cache: Path) -> str | None:
    """Why a program of the source that is not there cannot be built here; None if nothing is."""
    if all(_path(source, program, cache).exists() for program in source.packages):
        return None
    if missing := _missing_tools(source):
        return f"{' and '.join(missing)} not installed"
    # The build needs all of it, so nothing is fetched in vain.
    listed = subprocess.run(
        ["go", "list", "-deps", "-tags", source.tags, *source.packages.values()],
        cwd=source.folder, env=_environment(source), capture_output=True, text=True, check=False,
    )  # fmt: skip
    lines = [line for line in listed.stderr.splitlines() if not line.startswith("go: downloading")]
    said = " ".join(" ".join(lines).split())
    if listed.returncode and not _MISSED.search(said):
        raise SystemExit(said)
    return said[-_SHOWN:] if listed.returncode else None


def _environment(source: Source) -> dict[str, str]:
    return {
        **os.environ,
        "CGO_ENABLED": "1" if source.cgo else "0",
        # Only what go.sum names is compiled.
        "GOFLAGS": "-mod=readonly -buildvcs=false",
        "GOWORK": "off",
    }


def _path(source: Source, program: str, cache: Path) -> Path:
    return cache / "programs" / f"{source.folder.name}-{source.key}" / program


def _missing_tools(source: Source) -> list[str]:
    tools = ("go", "gcc") if source.cgo else ("go",)
    return [tool for tool in tools if shutil.which(tool) is None]


def _build(source: Source, program: str, path: Path) -> None:
    if missing := _missing_tools(source):
        raise SystemExit(f"building {program} needs {' and '.join(missing)}; Go 1.26 or newer")
    say(f"building {program}: this takes minutes, once")
    work = path.with_name("source")
    shutil.copytree(source.folder, work, dirs_exist_ok=True)
    if source.prepare is not None:
        source.prepare(work)
    beside = path.with_name(f"{program}.new")
    with step(f"built {program}"):
        subprocess.run(
            [
                *("nice", "-n", "10", "go", "build", "-p", "2", "-tags", source.tags),
                *("-ldflags", f"-s -w {source.flags}", "-o", beside, source.packages[program]),
            ],
            check=True,
            cwd=work,
            env=_environment(source),
        )
    _digest_path(path).write_text(_digest(beside))
    beside.replace(path)


def _is_whole(path: Path) -> bool:
    """Whether the file is what was built; older caches have no digest beside a program."""
    if not path.exists():
        return False
    recorded = _digest_path(path)
    return not recorded.exists() or recorded.read_text() == _digest(path)


def _digest_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
