from __future__ import annotations

import io
import subprocess
import zipfile
from importlib.metadata import version

import pytest
from click.testing import CliRunner

from modelyard.cli import cli
from modelyard.operations.content.seed import seeded_files
from modelyard.operations.content.upgrade import merge_seeds

NOW = version("modelyard")
SETUP = ".github/actions/setup/action.yml"
TEMPLATE = ".github/pull_request_template.md"
CONTENT = ".github/workflows/content.yml"


def test_what_the_team_left_follows_and_what_it_changed_stays():
    current = {"left": b"1", "changed": b"mine", "both": b"mine", "same": b"2", "own": b"x"}
    old = {"left": b"1", "changed": b"1", "both": b"1", "same": b"1", "deleted": b"1"}
    new = {"left": b"2", "changed": b"1", "both": b"2", "same": b"2", "deleted": b"1", "more": b"3"}

    merged = merge_seeds(current, old, new)

    assert merged.documents == {"left": b"2", "more": b"3"}
    assert merged.conflicts == ("both",)


def test_what_the_toolkit_drops_is_deleted_unless_the_team_changed_it():
    merged = merge_seeds({"a": b"1", "b": b"mine"}, {"a": b"1", "b": b"1"}, {})

    assert merged.documents == {"a": None}
    assert merged.conflicts == ("b",)


def wheel(folder, number, **changes):
    """A wheel with this checkout's files for a yard, some of them changed; None leaves one out."""
    files = {**seeded_files(), **changes}
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            if text is not None:
                archive.writestr(f"modelyard/yard/{name}", text)
    folder.mkdir(exist_ok=True)
    file = folder / f"modelyard-{number}-py3-none-any.whl"
    file.write_bytes(content.getvalue())
    return file


def modelyard(*arguments):
    return CliRunner().invoke(cli, ["--debug", *map(str, arguments)])


def git(folder, *words):
    done = subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout


@pytest.fixture
def yard(tmp_path):
    """A yard of an older version, whose team changed one file."""
    older = {SETUP: b"older\n", TEMPLATE: b"older\n", CONTENT: None}
    folder = tmp_path / "yard"
    assert modelyard("init", folder, "--wheel", wheel(tmp_path / "old", "0.0.9")).exit_code == 0
    pinned = wheel(tmp_path / "old", "0.0.9", **older)
    (folder / "toolkit" / pinned.name).write_bytes(pinned.read_bytes())
    (folder / SETUP).write_bytes(older[SETUP])
    (folder / TEMPLATE).write_bytes(b"ours\n")
    (folder / CONTENT).unlink()
    git(tmp_path, "init", "-q", "--bare", "-b", "main", "forge.git")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "--all")
    git(folder, "commit", "-q", "-m", "Yard")
    git(folder, "remote", "add", "origin", str(tmp_path / "forge.git"))
    git(folder, "push", "-q", "origin", "main")
    return folder


@pytest.mark.long
def test_one_pull_request_brings_the_pin_and_what_it_brought(yard, tmp_path):
    new = wheel(tmp_path / "new", NOW)

    said = modelyard("--root", yard, "upgrade", "--wheel", new, "--as", "ada")
    again = modelyard("--root", yard, "upgrade", "--wheel", new, "--as", "ada")

    assert said.exit_code == 0, said.output
    assert f"#1 is open: Upgrade modelyard from 0.0.9 to {NOW}" in said.output
    assert f"stays as you have it, and modelyard changed it too: {TEMPLATE}" in said.output
    assert "#1 is open" in again.output
    git(yard, "fetch", "-q", "origin")
    changed = git(yard, "diff", "--name-status", "main", "origin/toolkit/upgrade", "--no-renames")
    assert sorted(line.split("\t")[::-1] for line in changed.splitlines()) == [
        [SETUP, "M"],
        [CONTENT, "A"],
        ["toolkit.lock", "M"],
        ["toolkit/modelyard-0.0.9-py3-none-any.whl", "D"],
        [f"toolkit/{new.name}", "A"],
    ]


def test_another_version_than_the_one_that_runs_renders_nothing(yard, tmp_path):
    said = modelyard("--root", yard, "upgrade", "--wheel", wheel(tmp_path / "new", "99.0"))

    assert said.exit_code == 3
    assert "cannot render what 99.0 would" in said.output


def test_no_file_of_a_wheel_is_written_outside_of_a_yard(yard, tmp_path):
    outside = f"workflows/{'../' * 12}{(tmp_path / 'outside').relative_to('/')}"
    new = wheel(tmp_path / "new", NOW, **{outside: b"written"})

    said = modelyard("--root", yard, "upgrade", "--wheel", new, "--dry-run")

    assert said.exit_code == 3, said.output
    assert "is not a path inside a repository" in said.output
    assert not (tmp_path / "outside").exists()


def test_a_wheel_that_is_only_named_as_the_one_that_runs_runs_nothing(yard, tmp_path):
    ran = tmp_path / "ran"
    new = wheel(tmp_path / "new", NOW, **{"workflows/a.py": f"open({str(ran)!r}, 'w')".encode()})

    said = modelyard("--root", yard, "upgrade", "--wheel", new, "--dry-run")

    assert said.exit_code == 3, said.output
    assert "is not the modelyard that runs here: workflows/a.py differs" in said.output
    assert not ran.exists()
