"""Pushes of facts that wait for the next push: one push, all or none, and read as written."""

from __future__ import annotations

import subprocess

import pytest

from git_commits import write_commit
from modelyard.adapters.clock import SystemClock
from modelyard.adapters.forge.hosted.heads import Heads
from modelyard.adapters.git.commit_stream import NewCommit
from modelyard.adapters.git.documents import BranchDocuments
from modelyard.adapters.git.process import Rejected
from modelyard.adapters.git.remote_refs import (
    Overtaken,
    RemoteRefs,
    WaitedInVain,
    joined_pushes,
    push_waiting,
    pushed_at_once,
)
from modelyard.adapters.git.repository import Git

STATE = "facts/state"


class Counted(Git):
    """Git that counts its pushes."""

    pushes = 0

    def push(self, remote, updates):
        self.pushes += bool(updates)
        super().push(remote, updates)


@pytest.fixture
def refs(tmp_path):
    remote = tmp_path / "remote.git"
    subprocess.run(["git", "init", "-q", "--bare", str(remote)], check=True)
    subprocess.run(["git", "init", "-q", str(tmp_path / "clone")], check=True)
    git = Counted(tmp_path / "clone")
    git.run("remote", "add", "origin", str(remote))
    return RemoteRefs(git, "origin")


def facts(refs):
    return BranchDocuments(refs, STATE)


def note(refs, name, text, documents=None):
    """Write a document of the state branch."""
    documents = documents or facts(refs)
    new = NewCommit(documents={name: text}, message=name, author="bot", at=SystemClock().now())
    documents.write(new, expected={name: documents.read().files.get(name)})


def head(refs):
    at = SystemClock().now()
    return write_commit(refs.git, None, {"x": b"1"}, parents=[], message="x", author="bot", at=at)


def branches(refs):
    return {ref.removeprefix("refs/heads/") for ref in refs.git.ls_remote("origin", ["*"])}


def test_what_waits_goes_with_the_next_push_and_is_read_before(refs):
    with joined_pushes():
        note(refs, "a", b"1")
        note(refs, "b", b"2")
        assert set(facts(refs).read().files) == {"a", "b"}
        assert (refs.git.pushes, branches(refs)) == (0, set())
        refs.push_refs({"refs/heads/topic": (None, head(refs))})
        assert refs.git.pushes == 1
        assert branches(refs) == {STATE, "topic"}

    assert refs.git.pushes == 1
    assert set(facts(refs).read().files) == {"a", "b"}


@pytest.mark.parametrize("inner", [True, False])
def test_what_waits_is_pushed_at_the_end_also_of_one_inside_another(refs, inner):
    with joined_pushes():
        note(refs, "a", b"1")
        if inner:
            with joined_pushes():
                note(refs, "b", b"2")
            assert branches(refs) == {STATE}
            with pushed_at_once():
                note(refs, "c", b"3")

    assert refs.git.pushes == (2 if inner else 1)
    assert set(facts(refs).read().files) == ({"a", "b", "c"} if inner else {"a"})


def test_an_error_inside_keeps_nothing_from_being_written(refs):
    @joined_pushes()
    def fail():
        note(refs, "a", b"1")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    assert set(facts(refs).read().files) == {"a"}


@pytest.mark.parametrize("goes_with", ["a branch", "nothing"])
def test_what_waits_is_not_written_over_what_others_wrote_first(refs, goes_with):
    note(refs, "a", b"0")

    @joined_pushes()
    def lose():
        note(refs, "b", b"1")
        Git(refs.git.root).push("origin", {f"refs/heads/{STATE}": (facts_commit(refs), head(refs))})
        if goes_with == "a branch":
            refs.push_refs({"refs/heads/topic": (None, head(refs))})

    with pytest.raises(Overtaken):
        lose()

    # Neither is the branch: it was decided with what waited.
    assert branches(refs) == {STATE}
    assert "b" not in facts(refs).read().files


def facts_commit(refs):
    return refs.git.ls_remote("origin", [f"refs/heads/{STATE}"])[f"refs/heads/{STATE}"]


@pytest.mark.parametrize("refused", [True, False])
def test_who_deletes_a_branch_that_is_over_is_told_that_what_waited_is_not_written(
    refs, tmp_path, refused
):
    note(refs, "a", b"0")
    refs.push_refs({"refs/heads/over": (None, over := head(refs))})
    heads = Heads(git=refs.git, remote=refs, main="main", bot="bot", clock=SystemClock())
    if refused:
        hook = tmp_path / "remote.git/hooks/update"
        hook.parent.mkdir()
        hook.write_text(f'#!/bin/sh\n[ "$1" != refs/heads/{STATE} ]\n')
        hook.chmod(0o755)

    @joined_pushes()
    def delete():
        note(refs, "b", b"1")
        if not refused:
            before = facts_commit(refs)
            Git(refs.git.root).push("origin", {f"refs/heads/{STATE}": (before, head(refs))})
        heads.delete("over", over)

    with pytest.raises(WaitedInVain if refused else Overtaken):
        delete()

    assert "b" not in facts(refs).read().files


def test_a_branch_that_is_gone_already_is_deleted_with_what_waits(refs):
    refs.push_refs({"refs/heads/over": (None, over := head(refs))})
    heads = Heads(git=refs.git, remote=refs, main="main", bot="bot", clock=SystemClock())

    with joined_pushes():
        note(refs, "a", b"1")
        Git(refs.git.root).push("origin", {"refs/heads/over": (over, None)})
        heads.delete("over", over)

    assert set(facts(refs).read().files) == {"a"}


def test_a_name_that_is_occupied_keeps_back_its_own_push_alone(refs):
    refs.push_refs({"refs/heads/topic": (None, head(refs))})

    with joined_pushes():
        note(refs, "a", b"1")
        with pytest.raises(Rejected):
            refs.push_refs({"refs/heads/topic/below": (None, head(refs))})
        refs.push_refs({"refs/heads/free": (None, head(refs))})

    assert branches(refs) == {STATE, "topic", "free"}
    assert set(facts(refs).read().files) == {"a"}


def test_what_the_remote_refuses_is_told_and_nothing_goes_on_without_it(refs, tmp_path):
    hook = tmp_path / "remote.git/hooks/update"
    hook.parent.mkdir()
    hook.write_text(f'#!/bin/sh\n[ "$1" != refs/heads/{STATE} ]\n')
    hook.chmod(0o755)

    @joined_pushes()
    def write():
        note(refs, "a", b"1")
        refs.push_refs({"refs/heads/topic": (None, head(refs))})

    with pytest.raises(WaitedInVain):
        write()

    assert branches(refs) == set()


def test_where_nothing_may_wait_each_push_is_made_at_once(refs):
    note(refs, "a", b"1")
    push_waiting()

    assert refs.git.pushes == 1
