from __future__ import annotations

import hashlib
import os
import shutil
import signal
import stat
from pathlib import Path

import fsspec
import pytest

from modelyard.adapters.store.artifacts import Store
from modelyard.adapters.tables.data_files import sha256_of
from modelyard.errors import CannotAnswer, Refused

FILES = {"serving.json": b"{}", "model/model.skops": b"\x00\x01"}
DIGEST = (
    "sha256:"
    + hashlib.sha256(
        "".join(
            sorted(
                f"{hashlib.sha256(content).hexdigest()}  {name}\n"
                for name, content in FILES.items()
            )
        ).encode()
    ).hexdigest()
)


@pytest.fixture(params=["folder", "memory"])
def store(request, tmp_path):
    """A folder, and an object store that has no folders and no renaming."""
    if request.param == "folder":
        return Store("artifacts", tmp_path)
    fsspec.filesystem("memory").store.clear()
    return Store("memory://artifacts", tmp_path)


@pytest.fixture
def folder(tmp_path):
    return Store(str(tmp_path / "artifacts"), tmp_path)


@pytest.fixture
def artifact(tmp_path):
    made = tmp_path / "artifact"
    (made / "model").mkdir(parents=True)
    for name, content in FILES.items():
        (made / name).write_bytes(content)
    return made


def files(folder):
    """Every file below a folder, by its path there."""
    found = [path for path in Path(folder).rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(found)}


def test_evidence_comes_back_by_its_own_digest(store):
    digest = store.put_evidence(b"scores")

    assert digest == "sha256:" + hashlib.sha256(b"scores").hexdigest()
    assert store.put_evidence(b"scores") == digest
    assert store.read_evidence(digest) == b"scores"


def test_evidence_that_is_not_there_is_no_answer(store):
    with pytest.raises(CannotAnswer, match="out of reach") as caught:
        store.read_evidence(DIGEST)

    assert "`artifacts` in modelyard.yaml" in (caught.value.hint or "")


def test_evidence_that_was_changed_is_refused(folder, tmp_path):
    digest = folder.put_evidence(b"scores")
    (tmp_path / "artifacts" / "evidence" / digest.removeprefix("sha256:")).write_bytes(b"better")

    with pytest.raises(Refused, match="does not match its digest"):
        folder.read_evidence(digest)


@pytest.mark.parametrize(
    "digest", ["", "abc", "ab" * 32, f"md5:{'ab' * 32}", f"sha256:{'zz' * 32}", "sha256:../../x"]
)
def test_refuses_a_text_that_is_not_a_digest(store, digest):
    with pytest.raises(Refused, match="is not a digest"):
        store.read_evidence(digest)


def test_an_artifact_comes_back_as_it_went(store, artifact, tmp_path):
    uri = store.put_model(artifact, DIGEST)

    fetched = store.fetch_model(DIGEST, tmp_path / "here" / "artifact")

    assert uri.endswith(f"artifacts/models/{DIGEST.removeprefix('sha256:')}")
    assert files(fetched) == files(artifact)
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["artifact"]


def test_an_artifact_that_was_never_kept_whole_is_not_fetched(folder, tmp_path):
    place = tmp_path / "artifacts" / "models" / DIGEST.removeprefix("sha256:")
    place.mkdir(parents=True)
    (place / "serving.json").write_bytes(b"{}")

    with pytest.raises(CannotAnswer, match="no such artifact"):
        folder.fetch_model(DIGEST, tmp_path / "here")


def test_an_artifact_that_was_fetched_before_is_not_fetched_again(folder, artifact, tmp_path):
    folder.put_model(artifact, DIGEST)
    here = folder.fetch_model(DIGEST, tmp_path / "here")
    fetched = (here / "serving.json").stat()
    shutil.rmtree(tmp_path / "artifacts")

    assert (folder.fetch_model(DIGEST, here) / "serving.json").stat() == fetched


@pytest.mark.parametrize("written", range(1, 4))
def test_a_process_killed_in_the_middle_of_a_write_spoils_nothing(
    folder, artifact, tmp_path, written
):
    """Killed when the bytes are on disk and not yet in their place; then somebody tries again."""
    child = os.fork()
    if child == 0:
        replace, count = Path.replace, 0

        def replaced(path, target):
            nonlocal count
            count += 1
            if count == written:
                os.kill(os.getpid(), signal.SIGKILL)
            return replace(path, target)

        Path.replace = replaced
        folder.put_model(artifact, DIGEST)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL

    folder.put_model(artifact, DIGEST)

    assert files(folder.fetch_model(DIGEST, tmp_path / "here")) == files(artifact)
    assert sorted(p.name for p in (tmp_path / "artifacts").iterdir()) == [".writing", "models"]


@pytest.mark.parametrize("stray", ["stray", "a/b/stray", "model/more/stray"])
def test_a_file_too_many_is_removed_and_no_folder_above_the_artifact(
    folder, artifact, tmp_path, stray
):
    target = tmp_path / "artifacts" / "models" / DIGEST.removeprefix("sha256:")
    (target / stray).parent.mkdir(parents=True)
    (target / stray).write_bytes(b"alone in the store")
    above = [(place, place.stat().st_ino) for place in (target, *target.parents[:3])]
    (tmp_path / "artifacts").chmod(0o2775)

    folder.put_model(artifact, DIGEST)

    assert [(place, place.stat().st_ino) for place, _ in above] == above
    assert stat.S_IMODE((tmp_path / "artifacts").stat().st_mode) == 0o2775
    assert sorted(p.name for p in target.iterdir()) == [".complete", "model", "serving.json"]
    assert files(folder.fetch_model(DIGEST, tmp_path / "here")) == files(artifact)


def test_stored_files_have_the_permissions_of_their_folder(folder, tmp_path):
    before = os.umask(0o022)
    try:
        digest = folder.put_evidence(b"scores").removeprefix("sha256:")
    finally:
        os.umask(before)

    mode = (tmp_path / "artifacts" / "evidence" / digest).stat().st_mode
    assert stat.S_IMODE(mode) == 0o644


def test_steps_pass_files_on_under_the_workflows_name(store):
    store.put_run_file("m-v1-0123456789", "data.json", b'{"rows": 3}')
    store.put_run_file("m-v1-0123456789", "data.json", b'{"rows": 4}')

    assert store.read_run_file("m-v1-0123456789", "data.json") == b'{"rows": 4}'
    assert store.read_run_document("m-v1-0123456789", "data.json") == {"rows": 4}
    assert store.read_run_document("m-v1-0123456789", "outcome.json") is None
    assert store.read_run_document("m-v2-0123456789", "data.json") is None


def test_a_file_of_this_disk_is_passed_on_as_it_is(store, tmp_path):
    (tmp_path / "rows").write_bytes(b"rows")
    assert store.copy_run_file("w", "rows.parquet", tmp_path / "rows") == sha256_of(b"rows")
    assert store.read_run_file("w", "rows.parquet") == b"rows"


def test_a_store_that_cannot_be_asked_is_no_answer(folder, tmp_path):
    class Down:
        protocol = ("s3",)

        def exists(self, path):
            raise PermissionError(path)

    folder.__dict__["_place"] = (Down(), "bucket")

    with pytest.raises(CannotAnswer, match="out of reach"):
        folder.read_run_document("m-v1-0123456789", "outcome.json")


@pytest.fixture
def no_object_store(monkeypatch, tmp_path):
    """S3 at an address where nobody listens."""
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret-of-the-store",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    return Store("s3://models/artifacts", tmp_path)


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    "ask",
    [
        lambda store, folder: store.read_evidence(f"sha256:{'0' * 64}"),
        lambda store, folder: store.put_evidence(b"scores"),
        lambda store, folder: store.read_run_document("workflow", "outcome.json"),
        lambda store, folder: store.put_run_file("workflow", "data.json", b"{}"),
        lambda store, folder: store.copy_run_file("workflow", "rows", Path(__file__)),
        lambda store, folder: store.fetch_model(f"sha256:{'0' * 64}", folder / "model"),
        lambda store, folder: store.put_model(folder, f"sha256:{'0' * 64}"),
    ],
)
def test_an_object_store_out_of_reach_cannot_answer_and_names_no_secret(
    no_object_store, tmp_path, ask
):
    with pytest.raises(CannotAnswer, match=r"s3://models/artifacts/.*out of reach") as raised:
        ask(no_object_store, tmp_path)

    assert "secret-of-the-store" not in str(raised.value)
