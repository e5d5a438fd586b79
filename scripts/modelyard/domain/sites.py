"""Sites: who runs the servers of an environment, and so may say how they are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

SEEN_EVERY = timedelta(hours=1)
"""How often an owner writes down that it is there."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """A place that runs servers: one state folder, or one Kubernetes cluster.

    Args:
        id: Unique, and the same as long as the place exists.
        name: What a person calls it.
    """

    id: str
    name: str


@dataclass(frozen=True, kw_only=True)
class Owner:
    """The site that runs an environment's servers. Any other site only reads.

    Args:
        site: The site's identity.
        name: What a person calls it.
        since: When it took the environment.
        seen_at: When it last wrote down that it is there.
    """

    site: str
    name: str
    since: datetime
    seen_at: datetime
