"""The promise: damaged bytes in the artifact store are found when used, and put right."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest

from modelyard.adapters.store.artifacts import COMPLETE, Store
from modelyard.artifact_digest import artifact_digest
from modelyard.errors import CannotAnswer

FILES = {"model/model.skops": b"weights " * 500, "model/MLmodel": b"flavors", "golden.json": b"{}"}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def digest(model: Path) -> str:
    return artifact_digest(model)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store("store", tmp_path)


@pytest.fixture
def kept(store: Store, model: Path, digest: str, tmp_path: Path) -> Path:
    store.put_model(model, digest)
    return tmp_path / "store" / "models" / digest.removeprefix("sha256:")


def _flip_a_bit(kept: Path) -> None:
    content = bytearray((kept / "model/model.skops").read_bytes())
    content[100] ^= 1
    (kept / "model/model.skops").write_bytes(content)


def _make_a_folder_of_a_file(kept: Path) -> None:
    (kept / "golden.json").unlink()
    (kept / "golden.json").mkdir()
    (kept / "golden.json" / "more").write_bytes(b"")


DAMAGE: dict[str, Callable[[Path], object]] = {
    "truncated": lambda kept: os.truncate(kept / "model/model.skops", 10),
    "empty": lambda kept: (kept / "golden.json").write_bytes(b""),
    "a bit flipped": _flip_a_bit,
    "a file missing": lambda kept: (kept / "golden.json").unlink(),
    "a file more": lambda kept: (kept / "model/more.py").write_bytes(b"import os"),
    "a file renamed": lambda kept: (kept / "golden.json").rename(kept / "golden"),
    "a folder for a file": _make_a_folder_of_a_file,
    "all files missing": lambda kept: [
        shutil.rmtree(kept / "model"),
        (kept / "golden.json").unlink(),
    ],
    "never finished": lambda kept: (kept / COMPLETE).unlink(),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_copy_is_replaced_by_the_whole_one_that_is_put(
    how: str, store: Store, model: Path, digest: str, kept: Path, tmp_path: Path
):
    DAMAGE[how](kept)
    with pytest.raises(CannotAnswer, match=digest.removeprefix("sha256:")):
        store.fetch_model(digest, tmp_path / "before")

    store.put_model(model, digest)

    assert artifact_digest(store.fetch_model(digest, tmp_path / "after")) == digest
    assert {p.relative_to(kept).as_posix() for p in kept.rglob("*") if p.is_file()} == {
        *FILES,
        COMPLETE,
    }


def test_a_whole_copy_is_not_written_again(store: Store, model: Path, digest: str, kept: Path):
    before = {path: path.stat() for path in kept.rglob("*")}
    shutil.rmtree(model)  # nothing of it is needed

    store.put_model(model, digest)

    assert {path: path.stat() for path in kept.rglob("*")}.keys() == before.keys()
    assert all(path.stat().st_ino == stat.st_ino for path, stat in before.items())


@pytest.mark.parametrize("how", ["truncated", "a file more"])
def test_where_both_copies_are_damaged_the_error_names_them_and_nothing_is_overwritten(
    how: str, store: Store, model: Path, digest: str, kept: Path
):
    DAMAGE[how](kept)
    DAMAGE[how](model)
    before = {p: p.read_bytes() for p in kept.rglob("*") if p.is_file()}

    with pytest.raises(CannotAnswer) as caught:
        store.put_model(model, digest)

    assert f"{model}: its files do not have the digest {digest}" in caught.value.message
    assert str(kept) in caught.value.message
    assert {p: p.read_bytes() for p in kept.rglob("*") if p.is_file()} == before


def test_a_folder_with_another_digest_is_never_kept(store: Store, model: Path, tmp_path: Path):
    with pytest.raises(CannotAnswer, match="do not have the digest"):
        store.put_model(model, f"sha256:{'0' * 64}")

    assert not (tmp_path / "store").exists()


def put_and_be_killed(store: Store, model: Path, digest: str, written: int) -> None:
    """Put the model in a process that is killed after it wrote so many files."""
    child = os.fork()
    if child == 0:
        real, calls = Store._write, []

        def killed(*args: object, **options: object) -> None:
            real(*args, **options)
            calls.append(args)
            if len(calls) == written:
                os.kill(os.getpid(), signal.SIGKILL)

        Store._write = killed
        store.put_model(model, digest)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL


def test_a_repair_that_is_killed_is_made_good_by_the_next(
    store: Store, model: Path, digest: str, kept: Path, tmp_path: Path
):
    for written in range(1, len(FILES) + 2):
        for name in FILES:
            (kept / name).write_bytes(b"other")
        put_and_be_killed(store, model, digest, written)

        store.put_model(model, digest)

        here = store.fetch_model(digest, tmp_path / f"here {written}")
        assert artifact_digest(here) == digest


@pytest.fixture
def objects() -> Iterator[fsspec.AbstractFileSystem]:
    """An object store, as far as the store's code goes: it has no folders and no renames."""
    memory = fsspec.filesystem("memory")
    yield memory
    memory.store.clear()


@pytest.mark.parametrize("what", ["truncated", "missing", "more"])
def test_a_damaged_copy_in_an_object_store_is_replaced(
    what: str, objects: fsspec.AbstractFileSystem, model: Path, digest: str, tmp_path: Path
):
    store = Store("memory://bucket/artifacts", tmp_path)
    store.put_model(model, digest)
    place = f"/bucket/artifacts/models/{digest.removeprefix('sha256:')}"
    if what == "missing":
        objects.rm(f"{place}/golden.json")
    else:
        name = "model/model.skops" if what == "truncated" else "model/more.py"
        objects.pipe_file(f"{place}/{name}", b"weights")

    store.put_model(model, digest)

    assert artifact_digest(store.fetch_model(digest, tmp_path / "here")) == digest


@pytest.mark.parametrize("damaged", [b"", b"score", b"scores and more", b"SCORES"])
def test_damaged_evidence_is_written_again(store: Store, tmp_path: Path, damaged: bytes):
    digest = store.put_evidence(b"scores")
    (tmp_path / "store" / "evidence" / digest.removeprefix("sha256:")).write_bytes(damaged)

    assert store.put_evidence(b"scores") == digest

    assert store.read_evidence(digest) == b"scores"
