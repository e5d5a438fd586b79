"""The kept history of the main branch says what git's own walks say."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from modelyard.adapters.git import first_parents
from modelyard.adapters.git.first_parents import read_main_history, read_order
from modelyard.adapters.git.repository import Git
from modelyard.domain.specs.paths import manifests_folder, model_folder, release_file
from modelyard.errors import CannotAnswer

WINE, PIN = model_folder("wine"), release_file("dev", "wine")
MANIFESTS = manifests_folder("dev", "wine")
PATHS = (
    "models/wine/versions/v1.yaml",
    PIN,
    f"{MANIFESTS}rollout.yaml",
    "models/Not a name/model.yaml",
    "environments/platform/manifests/workflows/train.yaml",
    "README.md",
)


@pytest.fixture
def git(tmp_path: Path) -> Git:
    """A repository with 120 commits on main, of which every fifth merges one of another branch."""
    made = new_repository(tmp_path)
    add(tmp_path, range(1, 121))
    return made


def new_repository(root: Path) -> Git:
    subprocess.run(["git", "init", "-q", "--template=", "-b", "main", root], check=True)
    return Git(root)


@pytest.fixture(autouse=True)
def _no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """What another process would know: nothing but the file."""
    for name in ("_HISTORIES", "_LATEST"):
        monkeypatch.setattr(first_parents, name, first_parents.AnswerCache(2))


def add(root: Path, numbers: range) -> None:
    """Commits on main; every fifth merges one of a side branch that changed the pin."""
    exists = (root / ".git/refs/heads/main").exists()
    last = "refs/heads/main^0" if exists else None
    rows = []
    for number in numbers:
        merged = None
        if number % 5 == 0 and last is not None:
            merged = f":{number + 1000}"
            rows.append(commit("side", number + 1000, PIN, last))
        rows.append(commit("main", number, PATHS[number % len(PATHS)], last, merged))
        last = f":{number}"
    import_into(root, rows)


def import_into(root: Path, rows: list[str]) -> None:
    words = ["git", "fast-import", "--quiet", "--force"]
    subprocess.run(words, cwd=root, input="".join(rows).encode(), check=True)


def commit(branch: str, mark: int, path: str, on: str | None, merged: str | None = None) -> str:
    head = f"commit refs/heads/{branch}\nmark :{mark}\ncommitter A <a@b> {mark} +0000\ndata 1\nx\n"
    parents = (f"from {on}\n" if on else "") + (f"merge {merged}\n" if merged else "")
    return f'{head}{parents}M 100644 inline "{path}"\ndata {len(str(mark))}\n{mark}\n\n'


def walked(git: Git, *paths: str) -> tuple[str, ...]:
    """What git finds with a walk of its own, the oldest first."""
    words = ("rev-list", "--first-parent", "--reverse", "main", "--", *paths)
    return tuple(git.run(*words).stdout.decode().split())


def assert_as_walked(git: Git) -> None:
    main = git.rev_parse("main")
    found = read_main_history(git, main)
    assert tuple(found.order) == walked(git)
    assert found.changes == {
        WINE: walked(git, WINE.rstrip("/")),
        MANIFESTS: walked(git, PIN, MANIFESTS.rstrip("/")),
    }


def test_it_has_the_commits_of_each_place_as_git_finds_them(git: Git) -> None:
    assert_as_walked(git)


UNUSUAL = {
    "an accent": (f"{MANIFESTS}é.yaml", "100644"),
    "a tab": (f"{MANIFESTS}a\tb.yaml", "100644"),
    "a quote": (f'{MANIFESTS}a"b.yaml', "100644"),
    "a backslash": (f"{MANIFESTS}a\\b.yaml", "100644"),
    "a line break": (f"{MANIFESTS}a\nb.yaml", "100644"),
    "a commit's name": (f"{MANIFESTS}{'0' * 40}", "100644"),
    "bytes that are no text": (f"{MANIFESTS}\udcff.yaml", "100644"),
    "a file named like the folder": (MANIFESTS.rstrip("/"), "100644"),
    "a link named like the folder": (MANIFESTS.rstrip("/"), "120000"),
    "a submodule named like the folder": (MANIFESTS.rstrip("/"), "160000"),
    "a folder named like the pin": (f"{PIN}/x", "100644"),
}


@pytest.mark.parametrize("earlier", [f"{MANIFESTS}rollout.yaml", "README.md"])
def test_a_commit_of_an_unusual_path_is_about_its_place(tmp_path: Path, earlier: str) -> None:
    git = new_repository(tmp_path)
    ignoring = f'[submodule "x"]\n\tpath = {MANIFESTS.rstrip("/")}\n\tignore = all\n'
    (tmp_path / ".gitmodules").write_text(ignoring)
    base = commit("main", 1, earlier, None)
    rows = [unusual(10 + number, *case) for number, case in enumerate(UNUSUAL.values())]
    import_into(git.root, [base, *rows])

    names = [git.rev_parse(f"refs/heads/b{10 + number}") for number in range(len(UNUSUAL))]
    found = first_parents._read_places(git, names)

    places = [tuple(found[name]) for name in names]
    assert dict(zip(UNUSUAL, places, strict=True)) == dict.fromkeys(UNUSUAL, (MANIFESTS,))


def unusual(mark: int, path: str, mode: str) -> str:
    """A commit on the first one that changes one path, with one beside it that has no place."""
    quoted = "".join(f"\\{byte:03o}" for byte in os.fsencode(path))
    head, _, _ = commit(f"b{mark}", mark, "x", ":1").rpartition("M 100644")
    row = f'M {mode} {"1" * 40} "{quoted}"\n' if mode == "160000" else ""
    row = row or f'M {mode} inline "{quoted}"\ndata 1\nx\n'
    beside = 'M 100644 inline "environments/dev/manifests/é/x"\ndata 1\nx\n'
    return f"{head}{row}{beside}\n"


def test_both_sides_of_a_rename_are_places(tmp_path: Path) -> None:
    git = new_repository(tmp_path)
    old, new = f"{MANIFESTS}é", "environments/canary/manifests/wine/é"
    moved, _, _ = commit("main", 2, "x", ":1").rpartition("M 100644")
    import_into(git.root, [commit("main", 1, old, None), f'{moved}R "{old}" "{new}"\n\n'])

    found = read_main_history(git, git.rev_parse("main")).changes

    assert found == {
        MANIFESTS: walked(git, old),
        manifests_folder("canary", "wine"): walked(git, new),
    }


def test_another_process_reads_only_what_came_since(
    git: Git, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_as_walked(git)
    _forget(monkeypatch)
    add(git.root, range(121, 180))
    read = list[int]()
    compare = first_parents._read_places

    def counted(git: Git, commits: tuple[str, ...]) -> dict[str, dict[str, None]]:
        read.append(len(commits))
        return compare(git, commits)

    monkeypatch.setattr(first_parents, "_read_places", counted)
    assert_as_walked(git)
    _forget(monkeypatch)
    assert_as_walked(git)
    assert read == [59]


@pytest.mark.parametrize("content", ["", "no commits", "0" * 40, "\0\xff", "f" * 40 + " models/x/"])
def test_a_file_that_says_nothing_of_this_history_is_as_good_as_none(
    git: Git, content: str
) -> None:
    file = git.kept_folder / first_parents._KEPT
    file.parent.mkdir()
    file.write_bytes(content.encode("latin-1"))
    assert_as_walked(git)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut by 40 bytes": lambda content: content[:-40],
    "cut in the digest": lambda content: content[:-3],
    "cut to whole lines": lambda content: b"".join(content.splitlines(keepends=True)[:60]),
    "without a line": lambda content: b"".join(content.splitlines(keepends=True)[1:]),
    "with a block of zeros": lambda content: content[:64] + bytes(64) + content[128:],
    "with a place exchanged": lambda content: content.replace(b"/wine/", b"/wime/", 1),
    "with a line after the digest": lambda content: content + content[:41],
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_not_believed(
    git: Git, monkeypatch: pytest.MonkeyPatch, damage: Callable[[bytes], bytes]
) -> None:
    assert_as_walked(git)
    file = git.kept_folder / first_parents._KEPT
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert file.read_bytes() != whole
    for _ in range(2):
        _forget(monkeypatch)
        assert_as_walked(git)
    assert file.read_bytes() == whole


def test_an_exchanged_history_is_read_anew(git: Git, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_as_walked(git)
    git.run("update-ref", "refs/heads/main", "main~7")
    assert_as_walked(git)  # a part of what is known
    add(git.root, range(300, 320))
    assert_as_walked(git)
    _forget(monkeypatch)
    assert_as_walked(git)


@pytest.fixture
def shallow(git: Git, tmp_path: Path) -> Git:
    words = ["git", "clone", "-q", "--depth=60", f"file://{git.root}", str(tmp_path / "shallow")]
    subprocess.run(words, check=True)
    return Git(tmp_path / "shallow")


def test_a_shallow_clone_keeps_nothing(shallow: Git) -> None:
    assert len(read_order(shallow, shallow.rev_parse("HEAD"))) == 60
    assert not (shallow.kept_folder / first_parents._KEPT).exists()


@pytest.mark.parametrize("since", [0, 60])
@pytest.mark.parametrize("deeper", ["--unshallow", "--deepen=20", "--depth=10"])
def test_what_is_known_of_a_shallow_clone_is_not_believed_of_a_deeper_one(
    git: Git, shallow: Git, monkeypatch: pytest.MonkeyPatch, deeper: str, since: int
) -> None:
    read_order(shallow, shallow.rev_parse("main"))
    add(git.root, range(121, 121 + since))
    shallow.run("fetch", "-q", deeper, "origin", "+main:main", "--update-head-ok")
    is_whole = deeper == "--unshallow"

    for _ in range(2):
        assert_as_walked(shallow)
        assert (shallow.kept_folder / first_parents._KEPT).exists() == is_whole
        _forget(monkeypatch)
    assert shallow.is_shallow() != is_whole


def test_a_worktree_of_a_shallow_clone_is_shallow(git: Git, shallow: Git, tmp_path: Path) -> None:
    shallow.run("worktree", "add", "-q", str(tmp_path / "tree"), "HEAD^0")

    assert Git(tmp_path / "tree").read_cut() == shallow.read_cut() != git.read_cut() is None


def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_HISTORIES", "_LATEST"):
        monkeypatch.setattr(first_parents, name, first_parents.AnswerCache(2))


def test_no_question_about_history_keeps_the_answer_of_a_shallow_clone(
    git: Git, shallow: Git
) -> None:
    main, old = shallow.rev_parse("main"), git.rev_parse("main~100")
    asked = (
        lambda here: here.is_ancestor(old, main),
        lambda here: here.merge_base(old, main),
        lambda here: len(here.log(main)),
    )
    shallow.run("fetch", "-q", "--depth=1", f"file://{git.root}", f"{old}:refs/heads/old")
    before = [_or_none(ask, shallow) for ask in asked]

    shallow.run("fetch", "-q", "--unshallow", "origin")

    after = [ask(shallow) for ask in asked]
    assert after == [ask(git) for ask in asked]
    assert all(one != other for one, other in zip(before, after, strict=True))


def _or_none(ask: Callable[[Git], object], here: Git) -> object:
    try:
        return ask(here)
    except CannotAnswer:  # it has no common commit of the two
        return None
