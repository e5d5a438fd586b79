"""The yard of 0.1.0 is brought to this version: one pull request, merged, and all of it holds.

The wheel beside this file has what version 0.1.0 brought for a yard (commit 5c7fdb1) and no code,
which an upgrade does not read.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
from click.testing import CliRunner

from modelyard.adapters.git.trees import GitTree, WorkingTree
from modelyard.adapters.specs.documents import dump_spec
from modelyard.adapters.specs.reader import read_specs
from modelyard.cli import cli
from modelyard.domain.specs.paths import release_file
from modelyard.operations.content.seed import seeded_files
from modelyard.operations.content.toolkit_lock import read_wheel, toolkit_files
from modelyard.operations.content.upgrade import seeds_in
from modelyard.operations.open_workspace import workspace_of
from modelyard.operations.reconcile.human_pulls import set_human_pull_statuses
from modelyard.operations.services import services_for
from modelyard.operations.watch.run_checks import run_checks
from operations.yard import MODEL, PATH, living_yard

ROOT = Path(__file__).resolve().parents[3]
OLD = Path(__file__).with_name("modelyard-0.1.0-py3-none-any.whl")
NOW = version("modelyard")
OURS = ".github/pull_request_template.md"

pytestmark = pytest.mark.long


def modelyard(root: Path, *words: object) -> str:
    done = CliRunner().invoke(cli, ["--debug", "--root", str(root), *map(str, words)])
    assert done.exit_code == 0, f"{words}: {done.output}"
    return done.output


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout


def now_wheel(folder: Path) -> Path:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in seeded_files().items():
            archive.writestr(f"modelyard/yard/{name}", text)
    folder.mkdir()
    (folder / f"modelyard-{NOW}-py3-none-any.whl").write_bytes(content.getvalue())
    return folder / f"modelyard-{NOW}-py3-none-any.whl"


@pytest.fixture
def yard(tmp_path: Path) -> Path:
    """The tour's model, and another whose v1 is released everywhere, in a yard of 0.1.0."""
    folder, wheel = tmp_path / "yard", read_wheel(OLD)
    done = CliRunner().invoke(cli, ["init", str(folder), "--wheel", str(OLD)])
    assert done.exit_code == 0, done.output
    for path in seeded_files():
        (folder / path).unlink()
    for path, content in {**seeds_in(wheel), **toolkit_files(wheel)}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    ignored = shutil.ignore_patterns("__pycache__", "data")
    shutil.copytree(ROOT / "models/wine", folder / "models/wine", ignore=ignored)
    shutil.copytree(ROOT / "models/wine/data", folder / "models/wine/data")
    other = living_yard(tmp_path / "living")
    for path in other.paths(f"models/{MODEL}/"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(other.read(path))
    catalog = read_specs(GitTree(other.git, other.main())).catalog
    for each in PATH:
        pin = folder / release_file(each.name, MODEL)
        pin.parent.mkdir(parents=True, exist_ok=True)
        pin.write_bytes(dump_spec("Release", catalog.releases[each.name, MODEL]))
    (folder / OURS).write_bytes(b"ours\n")
    modelyard(folder, "render")
    git(tmp_path, "init", "-q", "--bare", "-b", "main", "forge.git")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "--all")
    git(folder, "commit", "-q", "-m", "Yard")
    git(folder, "remote", "add", "origin", str(tmp_path / "forge.git"))
    git(folder, "push", "-q", "origin", "main")
    return folder


def test_the_merged_upgrade_is_valid_rendered_and_loses_nothing(yard: Path, tmp_path: Path) -> None:
    before = {name: git(yard, "rev-parse", f"main:{name}") for name in ("models", OURS)}
    pins = git(yard, "ls-tree", "-r", "main", *(f"environments/{e.name}/" for e in PATH))

    new = now_wheel(tmp_path / "new")
    said = modelyard(yard, "upgrade", "--wheel", new, "--as", "ada")
    assert f"#1 is open: Upgrade modelyard from 0.1.0 to {NOW}" in said
    workspace = workspace_of(services_for(yard))
    said_of_it: list[str] = []
    # What a watcher does for people's pull requests; a whole pass would start servers too.
    run_checks(workspace, said_of_it.append)
    modelyard(yard, "pr", "approve", "1", "--as", "grace")  # it changes workflows
    set_human_pull_statuses(workspace, said_of_it.append)
    (pull,) = workspace.services.pulls.open()
    assert {each.state for each in pull.statuses.values()} == {"success"}, said_of_it
    modelyard(yard, "pr", "merge", "1", "--as", "ada")
    git(yard, "pull", "-q", "origin", "main")

    # `validate` would also say that this yard's releases came by a push.
    assert read_specs(WorkingTree(yard)).all_problems() == ()
    modelyard(yard, "render", "--check")
    modelyard(yard, "render", "--check", "--platform")
    told = modelyard(yard, "status")
    assert "wine" in told
    assert {name: git(yard, "rev-parse", f"main:{name}") for name in before} == before
    releases = git(yard, "ls-tree", "-r", "main", *(f"environments/{e.name}/" for e in PATH))
    assert [line for line in releases.splitlines() if f"/{MODEL}" in line] == [
        line for line in pins.splitlines() if f"/{MODEL}" in line
    ]
    for path, content in seeds_in(read_wheel(new)).items():
        if path != OURS:
            assert (yard / path).read_bytes() == content, path
    again = modelyard(
        yard, "upgrade", "--wheel", tmp_path / f"new/modelyard-{NOW}-py3-none-any.whl"
    )
    assert again == "the main branch pins this wheel already\n"
