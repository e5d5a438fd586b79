"""The images of runtime locks: written down where they are built, and found for a new version."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from pathlib import Path

from modelyard.adapters.clock import SystemClock
from modelyard.adapters.facts.store import FactStore
from modelyard.adapters.git.repository import Git
from modelyard.domain.promotion.facts import BuiltImage
from modelyard.domain.specs.repository import ForgeKind, OrchestratorKind
from modelyard.domain.specs.version import Runtime
from modelyard.errors import CannotAnswer, Refused, YardError
from modelyard.operations.services import repository_of
from modelyard.operations.workspace import facts_of
from modelyard.ports import Services

logger = logging.getLogger(__name__)

_PINNED = re.compile(r"[a-z0-9][a-z0-9._/:-]{0,254}@sha256:[0-9a-f]{64}")


def note_image(services: Services, lock: str, image: str) -> str:
    """Write down which image was built of a lock, and return the lock's SHA-256.

    Args:
        services: The outside world.
        lock: The lock's path in the checkout.
        image: The image with its digest.

    Raises:
        CannotAnswer: There is no such lock.
        Refused: The image is not pinned by a digest.
    """
    if _PINNED.fullmatch(image) is None:
        raise Refused(f"{image!r} is no image with its digest", hint="NAME@sha256:DIGEST")
    try:
        digest = hashlib.sha256((services.root / lock).read_bytes()).hexdigest()
    except OSError as error:
        why = f"cannot read the lock {lock}: {error.strerror}"
        raise CannotAnswer(why, hint="modelyard runtime list") from error
    facts_of(services).write_image(digest, BuiltImage(image=image, at=services.clock.now()))
    return digest


def read_built(folder: Path) -> dict[str, str]:
    """Return the images that the files of a folder name, by their locks.

    Raises:
        CannotAnswer: There is none, or a file names none.
    """
    found = {}
    for file in sorted(folder.glob("*.json")):
        try:
            noted = json.loads(file.read_bytes())
            found[str(noted["lock"])] = str(noted["image"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            why = f"{file} names no lock and image: {type(error).__name__}"
            raise CannotAnswer(why, hint="make image BUILT=FOLDER writes one") from error
    if not found:
        raise CannotAnswer(f"{folder} names no image", hint="make image BUILT=FOLDER writes one")
    return found


def is_job_without_forge(services: Services) -> bool:
    """Whether a workflow runs this for the local forge, whose branches only people may push."""
    return services.repository.forge is ForgeKind.LOCAL and bool(os.environ.get("GITHUB_ACTIONS"))


def find_image(root: Path, runtime: Runtime) -> str | None:
    """Return the image that was built of a version's lock; None if none is known.

    Only a cluster runs images, and a version without one can have it later.
    """
    repository = repository_of(root)
    if repository.orchestrator is not OrchestratorKind.ARGO:
        return None
    try:
        built = FactStore(Git(root), repository, SystemClock()).read_image(runtime.lock)
    except YardError as error:
        logger.warning("which image was built of the lock is not known: %s", error.message)
        return None
    return built.image if built else None
