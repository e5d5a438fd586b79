from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from modelyard.adapters.facts.changed_paths import MOST_UNFILTERED, has_filters
from modelyard.adapters.facts.documents import model_path, release_path
from modelyard.adapters.facts.history import read_histories
from modelyard.adapters.git.documents import Listing
from modelyard.adapters.git.repository import Git
from modelyard.adapters.specs.json_documents import dump_json
from modelyard.domain.promotion.facts import ModelFacts, ReleaseFacts

DEV, LIVE, OWN = release_path("dev", "m"), release_path("live", "m"), model_path("m")
START = 1_700_000_000
REF = "refs/heads/state"
COMMITS = MOST_UNFILTERED + 200


def value_of(path: str, number: int) -> ModelFacts | ReleaseFacts:
    return ModelFacts(told=(f"{number}",)) if path == OWN else ReleaseFacts(version=f"v{number}")


def path_of(number: int) -> str:
    """Which document a commit writes; most are of other models."""
    return {0: DEV, 7: OWN}.get(number % 100, release_path("dev", f"n{number % 5}"))


def write_commits(git: Git, numbers: range) -> None:
    rows = []
    for number in numbers:
        path = path_of(number)
        value = value_of(path, number)
        text = dump_json(value, type(value)).decode()
        rows.append(f"commit {REF}\ncommitter a <a@b> {START + number} +0000\ndata 1\nc")
        if number == numbers.start and number:
            rows.append(f"from {REF}^0")
        rows.append(f"M 100644 inline {path}\ndata {len(text.encode())}\n{text}")
    words = ["git", "fast-import", "--quiet"]
    subprocess.run(words, cwd=git.root, input="\n".join(rows).encode(), check=True)


def write_graph(git: Git, *options: str) -> None:
    git.run("commit-graph", "write", "--reachable", "--no-progress", *options)


def no_graph(git: Git) -> None:
    write_commits(git, range(COMMITS))


def graph_without_filters(git: Git) -> None:
    write_commits(git, range(COMMITS))
    write_graph(git)


def graph_with_filters(git: Git) -> None:
    write_commits(git, range(COMMITS))
    write_graph(git, "--changed-paths")


def filters_of_all_but_the_newest(git: Git) -> None:
    write_commits(git, range(COMMITS - 100))
    write_graph(git, "--changed-paths")
    write_commits(git, range(COMMITS - 100, COMMITS))


def chain_with_filters_below(git: Git) -> None:
    write_commits(git, range(COMMITS - 100))
    write_graph(git, "--changed-paths", "--split")
    write_commits(git, range(COMMITS - 100, COMMITS))
    write_graph(git, "--no-changed-paths", "--split=no-merge")


def filters_of_the_oldest(git: Git) -> None:
    write_commits(git, range(100))
    write_graph(git, "--changed-paths")
    write_commits(git, range(100, COMMITS))


def empty_graph(git: Git) -> None:
    write_commits(git, range(COMMITS))
    (git.root / ".git/objects/info/commit-graph").write_bytes(b"")


def cut_graph(git: Git) -> None:
    graph_with_filters(git)
    path = git.root / ".git/objects/info/commit-graph"
    content = path.read_bytes()[:6]
    path.unlink()
    path.write_bytes(content)


def young_with_filters(git: Git) -> None:
    write_commits(git, range(MOST_UNFILTERED))
    write_graph(git, "--changed-paths")


WALKED_ONCE = (
    no_graph, graph_without_filters, filters_of_the_oldest, empty_graph, cut_graph,
    young_with_filters,
)  # fmt: skip
WALKED_FOR_EACH = (graph_with_filters, filters_of_all_but_the_newest, chain_with_filters_below)


@pytest.mark.parametrize("prepare", [*WALKED_ONCE, *WALKED_FOR_EACH])
def test_documents_are_asked_for_one_by_one_only_where_git_can_skip_and_have_the_same_history(
    prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path / "clone")], check=True)
    git = Git(tmp_path / "clone")
    prepare(git)
    count = int(git.run("rev-list", "--count", REF).stdout)
    listing = Listing(commit=git.rev_parse(REF))
    git.kept_folder  # noqa: B018 - found by a process of its own, once
    trace = tmp_path / "trace"
    monkeypatch.setenv("GIT_TRACE", str(trace))

    found = read_histories(git, listing, [DEV, OWN, LIVE])

    assert found == {
        path: [
            (datetime.fromtimestamp(START + number, UTC), value_of(path, number))
            for number in range(count)
            if path_of(number) == path
        ]
        for path in (DEV, OWN, LIVE)
    }
    walks = trace.read_text().count("built-in: git log")
    assert walks == (3 if prepare in WALKED_FOR_EACH else 1)


def test_filters_are_found_from_a_worktree(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path / "clone")], check=True)
    git = Git(tmp_path / "clone")
    graph_with_filters(git)
    git.run("worktree", "add", "-q", "--detach", str(tmp_path / "other"), REF)

    assert has_filters(Git(tmp_path / "other"), git.rev_parse(REF))


def test_of_no_documents_no_commit_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path / "clone")], check=True)
    git = Git(tmp_path / "clone")
    write_commits(git, range(3))
    listing = Listing(commit=git.rev_parse(REF))
    monkeypatch.setenv("GIT_TRACE", str(tmp_path / "trace"))

    assert read_histories(git, listing, []) == {}
    assert not (tmp_path / "trace").exists()
