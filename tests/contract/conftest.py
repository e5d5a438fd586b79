from __future__ import annotations

import pytest

from contract.stages import HostedStage, github_stage
from fakes.github import FakeGitHub


@pytest.fixture
def stage(fake_github: FakeGitHub, tmp_path, monkeypatch) -> HostedStage:
    monkeypatch.setenv("MODELYARD_FORGE_TOKEN", "set by the stage")
    return github_stage(fake_github, tmp_path)
