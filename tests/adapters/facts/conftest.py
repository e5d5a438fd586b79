from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from adapters.facts.fact_stores import StoppedClock, new_store, store_of
from built_once import built_once
from modelyard.adapters.facts.store import FactStore
from modelyard.adapters.git.repository import Git
from modelyard.domain.specs.repository import Repository


@pytest.fixture
def clock():
    return StoppedClock()


@pytest.fixture
def store(tmp_path, clock):
    shutil.copytree(built_once("store-of-facts", _new_store), tmp_path, dirs_exist_ok=True)
    return store_of(tmp_path, clock)


def _new_store(folder: Path) -> Path:
    folder.mkdir()
    new_store(folder)
    return folder


@pytest.fixture
def elsewhere(tmp_path, store, clock):
    subprocess.run(["git", "init", "-q", str(tmp_path / "other")], check=True)
    git = Git(tmp_path / "other")
    git.run("remote", "add", "origin", str(tmp_path / "remote.git"))
    return FactStore(git, Repository(), clock)
