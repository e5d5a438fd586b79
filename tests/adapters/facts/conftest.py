from __future__ import annotations

import subprocess

import pytest

from adapters.facts.fact_stores import StoppedClock
from modelyard.adapters.facts.store import FactStore
from modelyard.adapters.git.repository import Git
from modelyard.domain.specs.repository import Repository


@pytest.fixture
def clock():
    return StoppedClock()


@pytest.fixture
def store(tmp_path, clock):
    subprocess.run(["git", "init", "-q", "--bare", str(tmp_path / "remote.git")], check=True)
    subprocess.run(["git", "init", "-q", str(tmp_path / "clone")], check=True)
    git = Git(tmp_path / "clone")
    git.run("remote", "add", "origin", str(tmp_path / "remote.git"))
    return FactStore(git, Repository(), clock)


@pytest.fixture
def elsewhere(tmp_path, store, clock):
    subprocess.run(["git", "init", "-q", str(tmp_path / "other")], check=True)
    git = Git(tmp_path / "other")
    git.run("remote", "add", "origin", str(tmp_path / "remote.git"))
    return FactStore(git, Repository(), clock)
