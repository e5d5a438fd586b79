"""What a look does where one document of the forge, or one fact, cannot be read."""

from __future__ import annotations

import pytest

from commands.yard import AT, MODEL, SHORT, living_yard
from modelyard.commands.watching import look
from modelyard.domain.pulls import CHECKS, PROMOTE, StatusState

STAGING = f"modelyard/promote/staging/{MODEL}"


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return living_yard(tmp_path_factory.mktemp("start") / "yard", SHORT)


@pytest.fixture
def yard(start, tmp_path):
    """v1 is verified everywhere."""
    return start.copy(tmp_path / "yard")


def spoil(yard, ref, document=b"{"):
    """Write what nobody can read; returns what mends it."""
    git, before = yard.git, yard.refs().get(ref)
    spoilt = git.commit_tree(
        git.write_file_tree("document.json", document),
        parents=[],
        message="x",
        author="Mallory",
        at=AT,
    )
    git.push("origin", {ref: (before, spoilt)})
    return {ref: (spoilt, before)}


def looked(yard, times=3):
    """Look a few times; returns the last look."""
    for _ in range(times):
        found = look(yard.desk(), say=yard.said.append, with_checks=True)
    return found


NO = b'{"x": {"context": "x", "state": "blocked-by-security", "description": "CVE"}}'
"""A word that a newer version may say."""


def test_a_no_of_a_newer_version_keeps_its_pull_request_shut_and_no_other(yard):
    yard.record("v2", champion="v1")
    look(yard.desk(), say=yard.said.append, with_checks=False)
    docs = yard.branch("docs", {"README.md": b"hello\n"})
    more = yard.branch("more", {"x": b"x"})
    mended = spoil(yard, f"refs/modelyard/statuses/{yard.pull(STAGING).head}", NO)
    spoil(yard, f"refs/modelyard/statuses/{more.head}", NO)
    before = yard.refs()

    assert looked(yard).failures == ()

    after = yard.refs()
    written = f"refs/modelyard/statuses/{docs.head}"
    assert {ref for ref in after if after[ref] != before.get(ref)} == {written}
    said = yard.pull("docs").statuses
    assert {said[context].state for context in (CHECKS, PROMOTE)} == {StatusState.SUCCESS}

    yard.git.push("origin", mended)
    looked(yard)
    assert yard.names()["staging"] == "v2"


def test_a_no_of_a_newer_version_keeps_no_rollback_waiting(yard):
    yard.record("v2", champion="v1")
    yard.record("v3", champion="v1")
    look(yard.desk(), say=yard.said.append, with_checks=False)
    spoil(yard, f"refs/modelyard/statuses/{yard.pull(STAGING).head}", NO)
    yard.put("v2", "canary", is_verified=False)
    yard.broken.add("v2")

    assert looked(yard).failures == ()

    assert yard.names() == dict.fromkeys(yard.names(), "v1")
    assert yard.pull(STAGING).state == "open"


def test_what_cannot_be_read_is_counted_at_every_look_at_all_models(yard):
    yard.record("v2", champion="v1")
    assert look(yard.desk(), say=yard.said.append, with_checks=False).unreadable == 0
    head = yard.pull(STAGING).head
    refs = ("pulls/9", "freezes/canary", "facts/staging/other", f"statuses/{head}")
    mended = [spoil(yard, f"refs/modelyard/{ref}") for ref in refs]

    found = look(yard.desk(), say=yard.said.append, with_checks=True)
    some = look(yard.desk(), say=print, with_checks=True, models=frozenset({MODEL}))

    assert (found.failures, found.unreadable, some.unreadable) == ((), 4, None)
    for each in mended:
        yard.git.push("origin", each)
    assert looked(yard).unreadable == 0


def test_a_pull_request_that_may_be_about_anything_is_told_when_it_stops_a_proposal(yard, caplog):
    mended = spoil(yard, "refs/modelyard/pulls/1")
    yard.record("v2", champion="v1")

    assert looked(yard).unreadable == 1
    assert yard.titles() == []
    refused = f"Promote {MODEL} v2 to staging: refs/modelyard/pulls/1 cannot be read and may be "
    assert refused in caplog.text

    yard.git.push("origin", mended)
    assert looked(yard).unreadable == 0
    assert yard.names()["staging"] == "v2"
