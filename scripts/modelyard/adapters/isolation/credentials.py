"""Finds credentials that a process of this container could read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

MOUNTED = Path("/var/run/secrets")
"""Where Kubernetes and clouds mount the tokens of a pod."""

_WORDS = ("TOKEN", "SECRET", "PASSWORD", "CREDENTIAL", "ACCESS_KEY", "API_KEY", "PRIVATE_KEY")


def in_pod() -> bool:
    """Whether this process runs in a pod of Kubernetes."""
    return "KUBERNETES_SERVICE_HOST" in os.environ


def find_credentials(environment: Mapping[str, str], mounted: Path = MOUNTED) -> Iterator[str]:
    """The names of variables and files that look like credentials. Values are not returned."""
    for name, value in sorted(environment.items()):
        if value and any(word in name.upper() for word in _WORDS):
            yield name
    # The names of mounted files are links to a folder that is replaced when a token is.
    yield from (str(path) for path in sorted(mounted.rglob("*")) if path.is_file())
