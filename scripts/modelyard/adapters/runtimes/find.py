"""Finds the runtime of a pin: the image's, this interpreter, or an environment built for it."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

from modelyard.adapters.git.repository import Git
from modelyard.adapters.runtimes.environments import (
    Environments,
    Runtime,
    packages_of,
    runtimes_folder,
)
from modelyard.adapters.runtimes.kept_locks import read_lock
from modelyard.errors import CannotAnswer
from modelyard.runtime_measure import LOCK_FILE, refuse_other_runtime

IN_IMAGE = "MODELYARD_RUNTIME"
"""The environment variable of an image, with the folder of the one runtime that it has."""


def find_runtime(root: Path, pin: str, *, commit: str, model: str) -> Runtime:
    """The runtime that a version pins, ready to start processes in.

    An image has one runtime, and no other can be built there. Elsewhere it is this interpreter, if
    that has every pin of the lock installed, or else an environment of its own, built once.

    Args:
        root: The checkout, whose history has the lock.
        pin: SHA-256 of the lock.
        commit: Where to look for the lock first, and whose history then.
        model: The model, which may have a lock of its own.

    Raises:
        CannotAnswer: The lock is not in the history, or cannot be installed.
        Refused: The image has another runtime.
    """
    if image := os.environ.get(IN_IMAGE):
        return runtime_of_image(Path(image), pin)
    environments = Environments(runtimes_folder())
    content = _kept(environments, pin) or read_lock(Git(root), pin, commit=commit, model=model)
    if content is None:
        raise CannotAnswer(
            f"{model}: no lock in the history of {commit[:10]} has the pinned SHA-256 {pin}",
            hint="commit the lock that the version pins, or add a version with `modelyard version "
            "new`; in a shallow clone: git fetch --unshallow",
        )
    lock_file = environments.keep_lock(content)
    if environments.own_fits(content):
        return Runtime(lock=pin, lock_file=lock_file, python=Path(sys.executable))
    folder = environments.get_or_build(pin)
    return Runtime(lock=pin, lock_file=lock_file, python=folder / "bin" / "python")


def lock_of_image() -> str | None:
    """SHA-256 of the lock that this image has; None outside of an image."""
    folder = os.environ.get(IN_IMAGE)
    return hashlib.sha256((Path(folder) / LOCK_FILE).read_bytes()).hexdigest() if folder else None


def runtime_of_image(folder: Path, pin: str) -> Runtime:
    """The one runtime of this image.

    Raises:
        CannotAnswer: The image has none.
        Refused: It is another one than the pinned.
    """
    lock_file = folder / LOCK_FILE
    try:
        content = lock_file.read_bytes()
    except OSError as error:
        raise CannotAnswer(f"{lock_file}: cannot be read: {error.strerror}") from error
    refuse_other_runtime(pin, content, packages_of(folder), where=folder)
    return Runtime(lock=pin, lock_file=lock_file, python=folder / "bin" / "python")


def _kept(environments: Environments, pin: str) -> bytes | None:
    """The lock, if it was kept before; one that was changed since is no longer of its name."""
    path = environments.lock_file(pin)
    if not path.exists():
        return None
    content = path.read_bytes()
    return content if environments.keep_lock(content) == path else None
