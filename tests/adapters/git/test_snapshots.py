from __future__ import annotations

from datetime import UTC, datetime

import pytest

from git_commits import write_commit
from modelyard.adapters.git import remote_refs
from modelyard.adapters.git.remote_refs import RemoteRefs, one_snapshot, renew_snapshot
from modelyard.adapters.git.repository import Git

AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def refs(tmp_path):
    """The refs of a remote, and a way to push another commit to its main branch."""
    git = Git(tmp_path / "clone")
    (tmp_path / "clone").mkdir()
    Git(tmp_path).run("init", "-q", "--bare", "-b", "main", str(tmp_path / "remote.git"))
    git.run("init", "-q", "-b", "main")
    git.run("remote", "add", "origin", "../remote.git")

    def push(text: bytes) -> str:
        commit = write_commit(
            git, None, {"file": text}, parents=(), message="m", author="ada <a@b.c>", at=AT
        )
        git.run("push", "-q", "--force", "origin", f"{commit}:refs/heads/main")
        return commit

    return RemoteRefs(git, "origin"), push


def main_of(refs: RemoteRefs) -> str:
    return refs.read_refs("refs/heads/main")["refs/heads/main"]


def test_a_snapshot_that_lasts_is_renewed_once_it_is_too_old(refs, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(remote_refs.time, "monotonic", lambda: now[0])
    remote, push = refs
    first = push(b"1")
    with one_snapshot(lasts=2.0):
        assert renew_snapshot()
        assert main_of(remote) == first
        second = push(b"2")
        now[0] += 1.9
        with one_snapshot():
            assert not renew_snapshot()
            assert main_of(remote) == first
            now[0] += 0.2
            assert renew_snapshot()
            assert main_of(remote) == second


def test_any_other_snapshot_is_renewed_whenever_somebody_asks(refs):
    remote, push = refs
    first = push(b"1")
    with one_snapshot():
        assert main_of(remote) == first
        second = push(b"2")
        assert main_of(remote) == first
        assert renew_snapshot()
        assert main_of(remote) == second
