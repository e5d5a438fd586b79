"""By which means a trainer was closed in."""

from __future__ import annotations

from enum import StrEnum


class Isolation(StrEnum):
    """The means of the system that keep a trainer from what it may not reach."""

    LANDLOCK = "landlock"
    NAMESPACES = "namespaces"
    POD = "pod"
    """None of the kernel's, but a container of its own without credentials."""

    NONE = "none"


class Unisolated(StrEnum):
    """What follows in a pod whose kernel offers no means to close a trainer in."""

    REFUSED = "refused"
    WITHOUT_CREDENTIALS = "without-credentials"
    ACCEPTED = "accepted"
