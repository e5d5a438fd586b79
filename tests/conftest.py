from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from built_once import share_what_is_built

if TYPE_CHECKING:
    from fakes.github import FakeGitHub

settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci")

IDENTITY = {
    "GIT_AUTHOR_NAME": "Ada Example",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada Example",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
    "GIT_CONFIG_NOSYSTEM": "1",
}

# A yard of a test outlives no power failure, and no repository of a test lives long enough for
# Git to tidy it up.
GIT_SETTINGS = """\
[core]
	fsync = none
[gc]
	auto = 0
[receive]
	autoGC = false
"""


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.add_cleanup(share_what_is_built())


@pytest.fixture(scope="session", autouse=True)
def clean_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No setting of the developer's shell reaches a test, and Git needs no setup.

    But for those that are made for tests on a cluster.
    """
    settings = tmp_path_factory.mktemp("git") / "config"
    settings.write_text(GIT_SETTINGS)
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("MODELYARD_", "GIT_")) and not name.startswith("MODELYARD_E2E_"):
                patch.delenv(name)
        for name, value in IDENTITY.items():
            patch.setenv(name, value)
        patch.setenv("GIT_CONFIG_GLOBAL", str(settings))
        yield


@pytest.fixture
def fake_github(tmp_path: Path) -> Iterator[FakeGitHub]:
    """A GitHub with an empty repository; a request or answer that is none of GitHub's fails."""
    from fakes.github import FakeGitHub

    fake = FakeGitHub(tmp_path / "github")
    yield fake
    fake.close()
    fake.verify()
