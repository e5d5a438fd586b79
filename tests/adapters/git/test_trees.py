from __future__ import annotations

import shutil
import time
from datetime import UTC, datetime

import pytest

from git_commits import write_commit
from modelyard.adapters.git.repository import Git
from modelyard.adapters.git.trees import GitTree, WorkingTree
from modelyard.errors import CannotAnswer, Refused

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def git(tmp_path):
    root = tmp_path / "clone"
    root.mkdir()
    made = Git(root)
    made.run("init", "-q", "-b", "main")
    return made


def committed(git, documents):
    return write_commit(
        git, None, documents, parents=[], message="Start", author="Ann <ann@example.org>", at=AT
    )


def test_the_working_tree_holds_what_is_tracked_or_new_but_not_what_is_ignored_or_gone(git):
    git.run("read-tree", "-u", "-m", committed(git, {"b": b"1", "a/x": b"2", "gone": b"3"}))
    (git.root / ".gitignore").write_text("ignored\n")
    (git.root / "ignored").write_text("4")
    (git.root / "a" / "ü new").write_text("5")
    (git.root / "b").write_text("changed")
    (git.root / "gone").unlink()

    tree = WorkingTree(git.root)

    assert tree.read_many(tree.paths()) == {
        ".gitignore": b"ignored\n",
        "a/x": b"2",
        "a/ü new": b"5",
        "b": b"changed",
    }
    assert (tree.paths("a/"), tree.exists("a"), tree.exists("b")) == (
        ("a/x", "a/ü new"),
        False,
        True,
    )


def test_lists_what_starts_with_a_prefix_and_nothing_beside_it(git):
    paths = ("a-b/x", "a/x/y", "a0", "b/z")
    tree = GitTree(git, committed(git, dict.fromkeys(paths, b"")))
    assert tree.paths() == paths
    assert tree.paths("a/") == ("a/x/y",)
    assert tree.paths("a") == ("a-b/x", "a/x/y", "a0")
    assert tree.paths("b/z") == tree.paths("b") == ("b/z",)
    assert tree.paths("b/zz") == tree.paths("c") == tree.paths("a/x/z") == ()


def test_a_commit_holds_what_was_committed_whatever_its_name(git):
    (git.root / "a").mkdir()
    for name, text in {"b": "1", "a/x": "2\n3", "a/é\n\tz": ""}.items():
        (git.root / name).write_text(text)
    git.run("add", ".")
    made = git.run("write-tree").stdout.decode().strip()

    tree = GitTree(git, made)

    assert tree.read_many(tree.paths()) == {"a/x": b"2\n3", "a/é\n\tz": b"", "b": b"1"}
    assert (tree.paths("a/"), tree.exists("a"), tree.exists("b")) == (
        ("a/x", "a/é\n\tz"),
        False,
        True,
    )
    assert tree.read("b") == b"1"


def test_a_symbolic_link_is_never_followed(git, tmp_path):
    (tmp_path / "secret").write_text("secret")
    (git.root / "link").symlink_to("../secret")
    git.run("add", "link")
    commit = git.commit_tree(
        git.run("write-tree").stdout.decode().strip(), parents=[], message="x", author="A", at=AT
    )

    assert WorkingTree(git.root).read("link") == GitTree(git, commit).read("link") == b"../secret"


def test_a_folder_below_the_root_is_a_tree_of_its_own(git):
    git.run("read-tree", "-u", "-m", committed(git, {"case/models/x": b"1", "b": b"2"}))

    assert WorkingTree(git.root / "case").paths() == ("models/x",)


def test_a_folder_outside_of_git_is_taken_whole(tmp_path):
    (tmp_path / "plain" / "a").mkdir(parents=True)
    (tmp_path / "plain" / "a" / "x").write_text("1")

    assert WorkingTree(tmp_path / "plain").read_many(["a/x"]) == {"a/x": b"1"}


@pytest.mark.parametrize("kind", ["working", "commit"])
def test_a_file_that_is_not_there_is_named(git, kind):
    commit = committed(git, {"b": b"1"})
    tree = WorkingTree(git.root) if kind == "working" else GitTree(git, commit)

    with pytest.raises(CannotAnswer, match="there is no file 'a/x'"):
        tree.read("a/x")
    with pytest.raises(Refused, match="not a path inside a repository"):
        tree.read("../../etc/passwd")


def test_a_submodule_is_not_a_file(git):
    commit = committed(git, {"b": b"1"})
    git.run("update-index", "--add", "--cacheinfo", f"160000,{commit},module")
    (git.root / "module").mkdir()
    with_module = git.run("write-tree").stdout.decode().strip()

    assert WorkingTree(git.root).paths() == GitTree(git, with_module).paths() == ()


@pytest.mark.sample(1)
@pytest.mark.parametrize("files", [2_000, 10_000])
def test_thousands_of_files_are_read_without_a_process_for_each(git, files):
    documents = {f"models/m{i % 100}/versions/v{i}.yaml": b"seed: %d\n" % i for i in range(files)}
    commit = committed(git, documents)
    git.run("read-tree", "-u", "-m", commit)

    for tree in (WorkingTree(git.root), GitTree(git, commit)):
        started = time.perf_counter()
        assert tree.read_many(tree.paths()) == documents
        assert time.perf_counter() - started < 10


@pytest.mark.parametrize("kind", ["a commit", "the working tree", "a folder without Git"])
def test_a_part_of_a_tree_holds_what_is_at_its_places_and_below_them(git, kind):
    documents = {"a/x": b"1", "a/y/z": b"2", "ab/x": b"3", "a.yaml": b"4", "b": b"5", "[a]/x": b"6"}
    commit = committed(git, documents)
    git.run("read-tree", "-u", "-m", commit)
    tree = GitTree(git, commit) if kind == "a commit" else WorkingTree(git.root)
    if kind == "a folder without Git":
        shutil.rmtree(git.root / ".git")

    assert tree.part(["a/", "a.yaml", "missing/", "b"]).paths() == ("a.yaml", "a/x", "a/y/z", "b")
    assert tree.part(["[a]/"]).paths() == ("[a]/x",)
    assert tree.part([]).paths() == ()
    assert tree.folders("a/") == ("y",)
    assert tree.folders("missing/") == ()
