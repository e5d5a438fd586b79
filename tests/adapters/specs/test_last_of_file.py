from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from modelyard.adapters.git.commit_stream import NewCommit, write_commits
from modelyard.adapters.git.repository import Git
from modelyard.adapters.specs import last_of_file, schemas
from modelyard.adapters.specs.last_of_file import read_last

FILE = "environments/dev/environment.yaml"
GOOD = b"""\
apiVersion: modelyard/v1
kind: Environment
name: dev
description: It answers.
namespace: models-dev
"""


def commits(root: Path, *contents: bytes | None) -> str:
    """A branch on which each commit gives the file these bytes, or another file, for None."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return write_commits(
        root,
        None,
        [
            NewCommit(
                documents={FILE: content} if content is not None else {"other": b"%d" % number},
                message=f"Commit {number}",
                author="ann",
                at=at,
            )
            for number, content in enumerate(contents)
        ],
    )


@pytest.fixture
def git(tmp_path: Path) -> Git:
    git = Git(tmp_path)
    git.run("init", "-q")
    return git


def broken(number: int) -> bytes:
    return b"a: [%d\n" % number


@pytest.mark.parametrize("count", [1, 7, 8, 9, 10, 51, 200])
def test_rules_stand_in_however_many_commits_broke_them(git, count):
    tip = commits(git.root, GOOD, None, *map(broken, range(count)), None)

    found = read_last(git, tip, "Environment", FILE, name="dev")

    assert found is not None
    environment, before = found
    assert environment.namespace == "models-dev"
    assert git.log_of([before])[0].subject == "Commit 2"


def test_rules_of_another_name_and_commits_without_them_are_passed_over(git):
    other = GOOD.replace(b"name: dev", b"name: prod", 1)
    tip = commits(git.root, GOOD, *[other, broken(1)] * 30)

    found = read_last(git, tip, "Environment", FILE, name="dev")

    assert found is not None
    assert git.log_of([found[1]])[0].subject == "Commit 1"


@pytest.mark.parametrize("count", [1, 8, 9, 100])
def test_rules_that_never_were_readable_have_no_stand_in(git, count):
    tip = commits(git.root, *map(broken, range(count)))

    assert read_last(git, tip, "Environment", FILE, name="dev") is None


def test_a_file_that_nobody_ever_wrote_has_no_stand_in(git):
    assert read_last(git, commits(git.root, None), "Environment", FILE, name="dev") is None


def test_what_was_found_counts_until_the_file_changes_again(git, monkeypatch):
    first = [GOOD, *map(broken, range(60))]
    asked = []
    look = last_of_file._Search._look_through
    monkeypatch.setattr(
        last_of_file._Search, "_look_through", lambda *a: asked.append(a[1]) or look(*a)
    )

    found = [
        read_last(git, commits(git.root, *first, *more), "Environment", FILE, name="dev")
        for more in ((), (None,), (None, None), (None, b"b: ["))
    ]

    assert found == found[:1] * 4
    assert len(asked) == 2


def test_a_file_that_is_broken_again_is_not_looked_through_once_more(git, monkeypatch):
    first = [GOOD, *map(broken, range(30))]
    found = read_last(git, commits(git.root, *first), "Environment", FILE, name="dev")
    read = []
    real = git.read_many
    monkeypatch.setattr(Git, "read_many", lambda _, names: read.extend(names) or real(names))

    again = read_last(git, commits(git.root, *first, b"b: ["), "Environment", FILE, name="dev")

    assert again == found
    assert len(read) == 1


def test_of_many_large_files_one_at_a_time_is_in_memory(git, monkeypatch):
    asked = []
    real = git.read_many
    monkeypatch.setattr(
        Git, "read_many", lambda _, names: asked.append([*names]) or real(asked[-1])
    )

    tip = commits(git.root, GOOD, *map(broken, range(100)))

    assert read_last(git, tip, "Environment", FILE, name="dev") is not None
    assert {len(names) for names in asked} == {1}


def test_nobody_is_told_each_unknown_key_of_what_is_passed_over(git, monkeypatch):
    """To look for what each of them may have meant takes seconds for a megabyte."""
    monkeypatch.setattr(schemas, "schema_errors", lambda *_: pytest.fail("it was asked"))

    tip = commits(git.root, GOOD, *(GOOD + b"unknown: %d\n" % each for each in range(3)))

    assert read_last(git, tip, "Environment", FILE, name="dev") is not None


def test_after_many_long_versions_only_short_ones_are_parsed(git, monkeypatch):
    """Else a push of a megabyte lets a watcher parse for longer than it may be silent."""
    monkeypatch.setattr(last_of_file, "_MOST_BYTES", 100_000)
    parsed = []
    real = last_of_file.load_yaml

    def load(text, *, name):
        parsed.append(text)
        return real(text, name=name)

    monkeypatch.setattr(last_of_file, "load_yaml", load)
    long = [broken(each) + b" " * 30_000 for each in range(50)]

    tip = commits(git.root, GOOD, *map(broken, range(20)), *long)

    assert read_last(git, tip, "Environment", FILE, name="dev") is not None
    assert len([text for text in parsed if len(text) > 20_000]) == 3
    assert len(parsed) == 3 + 20 + 1
