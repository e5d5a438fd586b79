from __future__ import annotations

from e2e.forge.fixture import gitea_forge

__all__ = ["gitea_forge"]
