"""`modelyard gc` makes repositories smaller and changes no answer."""

from __future__ import annotations

import shutil

from click.testing import CliRunner

from modelyard.cli import cli
from modelyard.operations.doctor.compaction import list_repositories
from operations.yard import MODEL, living_yard


def answers(yard):
    """Facts, pull requests, refs and main's history, as another process would read them."""
    workspace = yard.workspace()
    history = workspace.git.log(workspace.main(), first_parent=True)
    refs = workspace.git.ls_remote("origin", ["refs/*"])
    return workspace.facts.read_snapshot(), workspace.services.pulls.closed(), refs, history


def test_it_packs_refs_and_objects_of_both_repositories_and_changes_no_answer(tmp_path):
    yard = living_yard(tmp_path / "yard")
    root, remote = yard.folder / "clone", yard.folder / "remote.git"
    (root / "modelyard.yaml").write_bytes(yard.read("modelyard.yaml"))
    lost = yard.git.write_tree(None, {"known/to/a/watcher": b"only"})
    before = answers(yard)

    done = CliRunner().invoke(cli, ["--root", str(root), "gc"])

    assert done.exit_code == 0
    assert [line.split(":")[0] for line in done.output.splitlines()] == [
        f"packed {root}",
        f"packed {root / '../remote.git'}",
    ]
    assert answers(yard) == before
    assert not yard.git.missing_objects([lost])
    for folder in (root / ".git", remote):
        assert len(list(folder.glob("objects/pack/*.pack"))) == 1
        assert (folder / "objects/info/commit-graph").is_file()
    assert not [file for file in (remote / "refs").rglob("*") if file.is_file()]
    assert yard.workspace().past("dev", MODEL)


def test_a_forge_on_another_machine_packs_its_own(tmp_path):
    yard = living_yard(tmp_path / "yard")
    root = yard.folder / "clone"
    (root / "modelyard.yaml").write_bytes(yard.read("modelyard.yaml"))
    addresses = ["git@example.org:yard.git", "https://example.org/yard.git", "file:///not/here"]
    for address in addresses:
        yard.git.run("remote", "set-url", "origin", address)
        assert [each.root for each in list_repositories(root)] == [root]
    shutil.move(yard.folder / "remote.git", yard.folder / "a b.git")
    yard.git.run("remote", "set-url", "origin", f"file://{yard.folder}/a%20b.git")
    assert [each.root.name for each in list_repositories(root)] == ["clone", "a b.git"]
