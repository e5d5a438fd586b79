"""A release: the pin of a version in an environment."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

RENDERER = 2
"""Version of the rendered documents; a release names the one it was rendered with."""


@dataclass(frozen=True, kw_only=True)
class Release:
    """What runs.

    Args:
        model: The model's name.
        environment: The environment's name.
        version: The version that runs.
        artifact: Digest of the trained model.
        server_image: The model server's image, by digest.
        renderer: Version of the renderer its manifests came from.
        manifests: SHA-256 of its rendered tree.
        attempt: Counts the tries of the same version here; a new try is a new release.
    """

    model: str
    environment: str
    version: str
    artifact: str
    server_image: str
    renderer: int
    manifests: str
    attempt: int = 1

    @cached_property
    def identity(self) -> str:
        """Names this very release in facts and metrics; its manifests carry it."""
        pins = (
            self.model,
            self.environment,
            self.version,
            self.artifact,
            self.server_image,
            str(self.renderer),
            str(self.attempt),
        )
        return hashlib.sha256("\n".join(pins).encode()).hexdigest()[:16]
