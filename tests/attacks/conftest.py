from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from attacks.attacked_server import attacked_server
from operations.yard import Yard, contested_yard
from serving.running import Running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with attacked_server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    """v1 is verified everywhere, v2 has a record and was never released."""
    return contested_yard(tmp_path / "yard")
