"""A checkout whose modelyard.yaml a commit broke: what has to go back starts all the same."""

from __future__ import annotations

import subprocess
import sys

import pytest

from modelyard.adapters.specs.documents import dump_spec
from modelyard.domain.specs.repository import Repository
from modelyard.errors import CannotAnswer
from modelyard.operations.services import services_for

SETTINGS = Repository(bot="robot")


@pytest.fixture
def checkout(tmp_path):
    """A checkout with settings, in its first commit."""
    subprocess.run(["git", "init", "-q", "-b", "main", str(tmp_path)], check=True)
    commit(tmp_path, dump_spec("Repository", SETTINGS))
    return tmp_path


def commit(checkout, settings):
    file = checkout / "modelyard.yaml"
    if settings is None:
        file.unlink()
    else:
        file.write_bytes(settings)
    who = ["-c", "user.name=ada", "-c", "user.email=ada@example.org"]
    for words in (["add", "-A"], [*who, "commit", "-q", "-m", "x"]):
        subprocess.run(["git", "-C", str(checkout), *words], check=True)


def run(folder, *words):
    command = [sys.executable, "-m", "modelyard", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


BROKEN = {"no YAML": b"bot: [", "a key too many": b"evil: true\n", "gone": None}


@pytest.mark.parametrize("how", BROKEN)
def test_the_settings_before_the_commit_count_with_a_warning(checkout, caplog, how):
    for settings in (BROKEN[how], b"format: [", BROKEN[how]):  # whatever it was in between
        commit(checkout, settings)

    assert services_for(checkout).repository == SETTINGS
    assert "modelyard.yaml" in caplog.text
    assert "this works by the file before commit" in caplog.text


@pytest.mark.parametrize("how", BROKEN)
def test_whoever_breaks_the_file_without_a_commit_is_told(checkout, how):
    file = checkout / "modelyard.yaml"
    file.unlink()
    if BROKEN[how] is not None:
        file.write_bytes(BROKEN[how])

    with pytest.raises(CannotAnswer, match=r"modelyard\.yaml"):
        services_for(checkout)


def test_settings_that_never_could_be_read_are_refused(tmp_path):
    subprocess.run(["git", "init", "-q", "-b", "main", str(tmp_path)], check=True)
    commit(tmp_path, b"bot: [")

    with pytest.raises(CannotAnswer, match=r"modelyard\.yaml:2: is not YAML"):
        services_for(tmp_path)


def test_a_command_finds_a_checkout_whose_settings_a_commit_deleted(checkout):
    commit(checkout, None)
    below = checkout / "models"
    below.mkdir()

    said = run(below, "servers", "stop")

    assert said.returncode == 0, said.stderr
    assert "this works by the file before commit" in said.stderr


def test_a_repository_of_something_else_is_no_checkout(tmp_path):
    subprocess.run(["git", "init", "-q", "-b", "main", str(tmp_path)], check=True)

    said = run(tmp_path, "servers", "stop")

    assert said.returncode == 1
    assert "no modelyard.yaml in" in said.stderr
