"""Finds the repositories of a yard that are on this machine, and may be packed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from modelyard.adapters.git.repository import Git
from modelyard.domain.specs.repository import ForgeKind
from modelyard.operations.services import repository_of


def list_repositories(root: Path) -> Iterator[Git]:
    """The checkout, and the bare repository of a local forge that is a folder of this machine.

    Raises:
        CannotAnswer: modelyard.yaml cannot be read, or there is no such remote.
    """
    git, repository = Git(root), repository_of(root)
    yield git
    if repository.forge is not ForgeKind.LOCAL:
        return
    address = git.remote_url(repository.remote)
    if address.startswith("file://"):
        address = unquote(urlsplit(address).path)
    # As Git reads it: relative to the checkout. What has a host is on another machine.
    if (folder := root / address).is_dir():
        yield Git(folder)
