"""A release: the pin of a version in an environment."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

RENDERER = 3
"""Version of the renderer; a release pins the one that rendered it."""


@dataclass(frozen=True, kw_only=True)
class Release:
    """The pin of a version in an environment.

    Args:
        model: The model's name.
        environment: The environment's name.
        version: The version that runs.
        artifact: Digest of the trained model.
        server_image: The model server's image, by digest.
        renderer: Version of the renderer that made its manifests.
        manifests: SHA-256 of its rendered tree.
        attempt: The number of the attempt at the same version here; each is a new release.
        lock: SHA-256 of the lock whose runtime its server runs in. None for a version that was
            recorded before runtimes were measured: it is served in the platform's, as it was.
    """

    model: str
    environment: str
    version: str
    artifact: str
    server_image: str
    renderer: int
    manifests: str
    attempt: int = 1
    lock: str | None = None

    @cached_property
    def identity(self) -> str:
        """Identifies the release in facts, metrics and its own manifests."""
        # Without `manifests`, which contain the identity. Their renderer is part of it.
        pins = (
            self.model,
            self.environment,
            self.version,
            self.artifact,
            self.server_image,
            str(self.renderer),
            str(self.attempt),
            *([self.lock] if self.lock else []),
        )
        return hashlib.sha256("\n".join(pins).encode()).hexdigest()[:16]
