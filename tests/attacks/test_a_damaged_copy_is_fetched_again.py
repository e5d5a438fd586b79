"""The promise: a damaged copy of an artifact is never served, and is fetched again."""

from __future__ import annotations

import os
import resource
import shutil
from pathlib import Path

import pytest

import modelyard.artifact_digest
from attacks.damaged_artifacts import DAMAGE
from modelyard.adapters.store.artifacts import Store
from modelyard.artifact_digest import artifact_digest
from modelyard.errors import CannotAnswer
from serving.artifacts import shared_artifact


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(str(tmp_path / "store"), tmp_path)
    store.put_model(*shared_artifact())
    return store


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_copy_is_fetched_again(how: str, store: Store, tmp_path: Path):
    digest = shared_artifact()[1]
    here = store.fetch_model(digest, tmp_path / "cache" / "artifact")
    DAMAGE[how](here)

    assert artifact_digest(store.fetch_model(digest, here)) == digest

    assert {path.name for path in here.parent.iterdir()} <= {"artifact", "x"}


def test_a_copy_that_cannot_be_read_is_fetched_again(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    digest = shared_artifact()[1]
    here = store.fetch_model(digest, tmp_path / "artifact")
    before = (here / "golden.json").stat().st_ino
    real = modelyard.artifact_digest._file_digest

    def refused(path: Path) -> str:
        if path.stat().st_ino == before:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr("modelyard.artifact_digest._file_digest", refused)

    store.fetch_model(digest, here)

    assert (here / "golden.json").stat().st_ino != before


def test_a_whole_copy_is_used_while_the_store_is_down(store: Store, tmp_path: Path):
    digest = shared_artifact()[1]
    here = store.fetch_model(digest, tmp_path / "artifact")
    shutil.rmtree(tmp_path / "store")

    assert store.fetch_model(digest, here) == here


@pytest.mark.parametrize("how", ["truncated", "a bit flipped", "a file missing", "a file more"])
def test_a_damaged_copy_in_the_store_is_named_and_never_comes_into_the_cache(
    how: str, store: Store, tmp_path: Path
):
    digest = shared_artifact()[1]
    DAMAGE[how](tmp_path / "store" / "models" / digest.removeprefix("sha256:"))

    with pytest.raises(CannotAnswer, match="its files do not have the digest") as caught:
        store.fetch_model(digest, tmp_path / "cache" / "artifact")

    assert (caught.value.hint or "").startswith("restore it from a copy of the store, or from")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_full_disk_leaves_no_part_of_an_artifact(store: Store, tmp_path: Path):
    digest = shared_artifact()[1]
    here = tmp_path / "cache" / "artifact"
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            store.fetch_model(digest, here)
        except CannotAnswer as error:
            os._exit(42 if "cannot be written: File too large" in error.message else 1)
        os._exit(0)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42

    assert list((tmp_path / "cache").iterdir()) == []
    assert artifact_digest(store.fetch_model(digest, here)) == digest
