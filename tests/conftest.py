from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from fakes.github import FakeGitHub

settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci")

IDENTITY = {
    "GIT_AUTHOR_NAME": "Ada Example",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada Example",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}


@pytest.fixture(scope="session", autouse=True)
def clean_environment() -> Iterator[None]:
    """No setting of the developer's shell reaches a test, and Git needs no setup.

    But for those that are made for tests on a cluster.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("MODELYARD_", "GIT_")) and not name.startswith("MODELYARD_E2E_"):
                patch.delenv(name)
        for name, value in IDENTITY.items():
            patch.setenv(name, value)
        yield


@pytest.fixture
def fake_github(tmp_path: Path) -> Iterator[FakeGitHub]:
    """A GitHub with an empty repository; a request or answer that is none of GitHub's fails."""
    from fakes.github import FakeGitHub

    fake = FakeGitHub(tmp_path / "github")
    yield fake
    fake.close()
    fake.verify()
