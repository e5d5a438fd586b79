"""The image of a lock is written down where it is built, and a new version pins it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from modelyard.cli import cli
from modelyard.domain.specs.repository import OrchestratorKind
from modelyard.domain.specs.version import Runtime
from modelyard.errors import CannotAnswer, Refused
from modelyard.operations.runtimes import built
from modelyard.operations.runtimes.built import find_image, note_image, read_built
from operations.yard import SHORT, new_yard

IMAGE = f"ghcr.io/acme/yard@sha256:{'a' * 64}"
LOCK = "models/m/trainer/requirements.lock"


@pytest.fixture
def services(tmp_path):
    found = new_yard(tmp_path / "yard", SHORT).workspace().services
    file = found.root / LOCK
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("numpy==2.0\n")
    return found


def test_a_version_for_a_cluster_pins_the_image_that_was_built_of_its_lock(services, monkeypatch):
    digest = hashlib.sha256(b"numpy==2.0\n").hexdigest()
    assert note_image(services, LOCK, IMAGE) == digest

    def asked(kind, lock=digest):
        settings = replace(services.repository, orchestrator=kind)
        monkeypatch.setattr(built, "repository_of", lambda _: settings)
        return find_image(services.root, Runtime(lock=lock))

    assert asked(OrchestratorKind.ARGO) == IMAGE
    assert asked(OrchestratorKind.ARGO, "0" * 64) is None
    assert asked(OrchestratorKind.LOCAL) is None
    monkeypatch.setattr(
        built,
        "repository_of",
        lambda _: replace(
            services.repository, orchestrator=OrchestratorKind.ARGO, remote="nowhere"
        ),
    )
    assert find_image(services.root, Runtime(lock=digest)) is None


@pytest.mark.parametrize(
    "image", ["ghcr.io/acme/yard:v1", f"{IMAGE}0", f"x y@sha256:{'a' * 64}", ""]
)
def test_an_image_without_its_digest_is_refused(services, image):
    with pytest.raises(Refused, match="no image with its digest"):
        note_image(services, LOCK, image)


def test_a_lock_that_is_not_there_is_named(services):
    with pytest.raises(CannotAnswer, match="cannot read the lock models/n"):
        note_image(services, "models/n/trainer/requirements.lock", IMAGE)


def test_what_was_built_is_read_from_every_file_of_a_folder_or_named(tmp_path):
    for name in ("a", "b"):
        noted = {"lock": f"models/{name}/trainer/requirements.lock", "image": IMAGE}
        (tmp_path / f"{name}.json").write_text(json.dumps(noted))
    assert list(read_built(tmp_path)) == [
        f"models/{name}/trainer/requirements.lock" for name in ("a", "b")
    ]
    for wrong in ("{", "[]", "{}", '"x"'):
        (tmp_path / "c.json").write_text(wrong)
        with pytest.raises(CannotAnswer, match=r"c\.json names no lock and image"):
            read_built(tmp_path)
    with pytest.raises(CannotAnswer, match="nowhere names no image"):
        read_built(tmp_path / "nowhere")


def test_a_workflow_without_a_forge_writes_nothing_down_and_is_no_failure(services, monkeypatch):
    def run(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(cli, ["runtime", "image", *words], obj=services)
        return done.exit_code, done.output

    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    code, said = run(LOCK, IMAGE)
    assert (code, "nothing is written down: forge: local" in said) == (0, True), said
    monkeypatch.delenv("GITHUB_ACTIONS")
    code, said = run(LOCK, IMAGE)
    assert (code, "is built as" in said) == (0, True), said
    for words in ((), (LOCK,), (LOCK, IMAGE, "--built", "built")):
        assert run(*words)[0] == 2
