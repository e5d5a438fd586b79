from __future__ import annotations

from pathlib import Path

import pytest

from serving.artifacts import make_artifact


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("artifact")
    return folder, make_artifact(folder)
