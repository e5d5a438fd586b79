"""The running Gitea as a fixture, for every suite that wants a real forge."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.forge.server import Gitea
from e2e.forge.site import Site, open_site


@pytest.fixture(scope="session")
def gitea_forge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One Gitea for all tests of the process, each of which takes a repository of its own.

    A conftest offers it with `from e2e.forge.fixture import gitea_forge`.
    """
    folder: Path = tmp_path_factory.mktemp("gitea")
    gitea = Gitea(folder=folder)
    try:
        yield open_site(gitea)
    finally:
        gitea.stop()
