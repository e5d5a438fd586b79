"""What a runtime's lock pins and what its interpreter has installed; measured where it runs."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.errors import CannotAnswer, Refused, join_first

if TYPE_CHECKING:
    from packaging.requirements import Requirement

LOCK_FILE = "requirements.lock"
"""In the folder of an environment: the lock that it was built from."""

_INFO = ".dist-info"
_SHOWN = 5
_SHORT = 12
_OPTIONS = frozenset(
    {
        *("--index-url", "-i", "--extra-index-url", "--find-links", "-f", "--no-index"),
        *("--only-binary", "--no-binary", "--prefer-binary", "--require-hashes", "--trusted-host"),
        "--pre",
    }
)
"""Where packages come from, which hashes decide; other options bring what no digest covers."""

_LOCK_HINT = "write it with `modelyard runtime lock MODEL`"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a process found about the interpreter that it runs in.

    Args:
        lock: SHA-256 of the lock file whose every pin is installed.
        python: The interpreter's version.
        distributions: The installed versions by normalized name.
    """

    lock: str
    python: str
    distributions: Mapping[str, str]

    def to_evidence(self) -> bytes:
        """The document that is stored as evidence; equal runtimes give equal bytes."""
        document = {
            "python": self.python,
            "implementation": platform.python_implementation(),
            "platform": f"{sys.platform}-{platform.machine()}",
            "distributions": dict(self.distributions),
        }
        return json.dumps(document, indent=1, sort_keys=True).encode()


def measure_runtime(pin: str, lock_file: Path | None = None) -> Measured:
    """What this interpreter is, once it is known to be the pinned one.

    Args:
        pin: SHA-256 of the lock that a version pins.
        lock_file: The lock that this interpreter was built from; None for the one in its folder.

    Raises:
        CannotAnswer: There is no such file.
        Refused: The file is another lock, or something else is installed than it pins.
    """
    path = lock_file or Path(sys.prefix) / LOCK_FILE
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CannotAnswer(
            f"{path}: cannot be read, so nobody knows what runs here: {error.strerror}",
            hint="a runtime is built by `modelyard`, which writes its lock there",
        ) from error
    found = installed_distributions(sys.path)
    refuse_other_runtime(pin, content, found, where=sys.prefix)
    return Measured(lock=pin, python=platform.python_version(), distributions=found)


def refuse_other_runtime(
    pin: str, content: bytes, found: Mapping[str, str], *, where: object
) -> None:
    """Refuse a lock that is not the pinned one, and installed packages that are not the lock's.

    Args:
        pin: SHA-256 of the lock that a version pins.
        content: The lock that the runtime was built from.
        found: What is installed, see `installed_distributions`.
        where: The runtime's folder, for the message.

    Raises:
        Refused: They differ; the message names both.
    """
    lock = hashlib.sha256(content).hexdigest()
    if lock != pin:
        raise Refused(
            f"runtime {where}: its lock is {lock[:_SHORT]}..., the version pins {pin[:_SHORT]}...",
            hint="run it in the pinned runtime, or pin this one with `modelyard version new`",
        )
    if unmet := list(unmet_pins(content, found)):
        raise Refused(
            f"runtime {where}: the version pins lock {pin[:_SHORT]}..., but this is installed: "
            f"{join_first(unmet, _SHOWN, between='; ')}",
            hint="`modelyard runtime prune` removes environments; the next step builds them again",
        )


def installed_distributions(folders: Sequence[str]) -> dict[str, str]:
    """The versions of the distributions in these folders, by normalized name; the first one counts.

    Reads names of folders alone, so it is quick enough for every start.
    """
    found: dict[str, str] = {}
    for folder in folders:
        try:
            names = sorted(each.name for each in Path(folder).iterdir())
        except OSError:  # a zip file, or a folder that is not there
            continue
        for name in names:
            if name.endswith(_INFO):
                distribution, _, version = name.removesuffix(_INFO).rpartition("-")
                found.setdefault(normalized_name(distribution), version)
    return found


def unmet_pins(lock: bytes, found: Mapping[str, str]) -> Iterator[str]:
    """What is installed otherwise than a lock pins it, one sentence each.

    Raises:
        Refused: See `applied_pins`.
    """
    for wanted in applied_pins(lock):
        version = found.get(normalized_name(wanted.name))
        pin = str(wanted.specifier).removeprefix("==") or wanted.url or "a version"
        if version is None:
            yield f"{wanted.name} is missing, pinned {pin}"
        elif wanted.specifier and not wanted.specifier.contains(version, prereleases=True):
            yield f"{wanted.name} is {version}, pinned {pin}"


def applied_pins(lock: bytes) -> list[Requirement]:
    """The pins of a lock that apply here.

    Raises:
        Refused: It has a line that pins nothing, or no pin applies here.
    """
    found = [
        pin for pin in lock_pins(lock) if pin.marker is None or pin.marker.evaluate({"extra": ""})
    ]
    if not found:
        raise Refused(
            f"lock {hashlib.sha256(lock).hexdigest()[:_SHORT]}... pins nothing on this machine "
            f"({sys.platform}, Python {platform.python_version()}), so anything could run",
            hint=_LOCK_HINT,
        )
    return found


def lock_pins(lock: bytes) -> list[Requirement]:
    """The pins of a lock, for this machine and others.

    Raises:
        Refused: It has a line that pins no single version, or that brings what its digest does not
            cover, such as another file.
    """
    # Here, because `serve --help` needs none of it.
    from packaging.requirements import InvalidRequirement, Requirement  # noqa: PLC0415

    name = f"lock {hashlib.sha256(lock).hexdigest()[:_SHORT]}..."
    try:
        text = lock.decode()
    except UnicodeDecodeError as error:
        raise Refused(f"{name} is no text in UTF-8: {error}", hint=_LOCK_HINT) from error
    found = []
    for line in _lines(text):
        if line.startswith("-"):
            if re.split(r"[=\s]", line, maxsplit=1)[0] not in _OPTIONS:
                raise Refused(f"{name}: {line!r} is not covered by its digest", hint=_LOCK_HINT)
            continue
        try:
            pin = Requirement(line)
        except InvalidRequirement as error:
            raise Refused(
                f"{name} has a line that pins nothing: {line!r}", hint=_LOCK_HINT
            ) from error
        if pin.url is None and not _is_one_version(pin):
            raise Refused(f"{name}: {line!r} pins no single version", hint=_LOCK_HINT)
        found.append(pin)
    return found


def _is_one_version(pin: Requirement) -> bool:
    each = list(pin.specifier)
    return len(each) == 1 and each[0].operator in {"==", "==="} and "*" not in each[0].version


def requirement_lines(lock: str) -> Iterator[str]:
    """The requirements of a lock, or of wishes, without hashes, comments and options."""
    return (line for line in _lines(lock) if not line.startswith("-"))


def _lines(lock: str) -> Iterator[str]:
    """The lines of a lock or of wishes without hashes and comments; a backslash joins two."""
    for line in re.sub(r"\\\r?\n", " ", lock).splitlines():
        if text := re.split(r"(?:^|\s)(?:#|--hash=)", line, maxsplit=1)[0].strip():
            yield text


def normalized_name(name: str) -> str:
    """The name of a distribution as its index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()
