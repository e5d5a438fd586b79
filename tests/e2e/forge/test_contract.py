"""The contract of `tests/contract`, played on a real Gitea."""

from __future__ import annotations

import pytest

from contract.stages import gitea_stage
from contract.test_break_glass import *  # noqa: F403
from contract.test_history_of_any_merge import *  # noqa: F403
from contract.test_merged_on_a_page import *  # noqa: F403
from contract.test_pull_requests import *  # noqa: F403 - every promise is played here again


@pytest.fixture
def stage(gitea_forge, tmp_path, monkeypatch):
    monkeypatch.setenv("MODELYARD_FORGE_TOKEN", "set by the stage")
    return gitea_stage(gitea_forge, tmp_path)
