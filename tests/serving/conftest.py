from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.artifacts import shared_artifact
from serving.running import Running, preloaded_socket, serving


@pytest.fixture(scope="session")
def artifact() -> tuple[Path, str]:
    return shared_artifact()


@pytest.fixture(scope="session")
def server(
    artifact: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("server")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODELYARD_PRELOADED", str(preloaded_socket()))
        with serving(artifact, folder) as running:
            yield running
