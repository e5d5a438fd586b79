"""By which means a trainer was closed in."""

from __future__ import annotations

from enum import StrEnum


class Isolation(StrEnum):
    """The means of the system that keep a trainer from what it may not reach."""

    LANDLOCK = "landlock"
    NAMESPACES = "namespaces"
    NONE = "none"
