"""What a pass does when one document of the forge, or one fact, cannot be read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from git_commits import spoil_state
from modelyard.domain.promotion.pulls import CHECKS, PROMOTE, StatusState
from modelyard.domain.verdict import Outcome, Verdict
from modelyard.operations.watch.pass_once import run_pass, undecided_releases
from operations.yard import AT, MODEL, SHORT, living_yard
from operations.yard_with_history import run

CANARY = f"modelyard/promote/canary/{MODEL}"
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
        git.write_tree(None, {"document.json": document}),
        parents=[],
        message="x",
        author="Mallory",
        at=AT,
    )
    git.push("origin", {ref: (before, spoilt)})
    return {ref: (spoilt, before)}


def run_passes(yard, times=3):
    """Run a few passes; returns the last result."""
    for _ in range(times):
        found = run_pass(yard.workspace(), report=yard.said.append, with_checks=True)
    return found


NO = b'{"x": {"context": "x", "state": "blocked-by-security", "description": "CVE"}}'
"""A word that a newer version may say."""


@pytest.mark.long
def test_a_no_of_a_newer_version_keeps_its_pull_request_shut_and_no_other(yard):
    yard.record("v2", champion="v1")
    run_pass(yard.workspace(), report=yard.said.append, with_checks=False)
    docs = yard.branch("docs", {"README.md": b"hello\n"})
    more = yard.branch("more", {"x": b"x"})
    mended = spoil(yard, f"refs/modelyard/statuses/{yard.pull(STAGING).head}", NO)
    spoil(yard, f"refs/modelyard/statuses/{more.head}", NO)
    before = yard.refs()

    assert run_passes(yard).failures == ()

    after = yard.refs()
    written = f"refs/modelyard/statuses/{docs.head}"
    assert {ref for ref in after if after[ref] != before.get(ref)} == {written}
    said = yard.pull("docs").statuses
    assert {said[context].state for context in (CHECKS, PROMOTE)} == {StatusState.SUCCESS}

    yard.git.push("origin", mended)
    run_passes(yard)
    assert yard.names()["staging"] == "v2"


@pytest.mark.long
def test_a_no_of_a_newer_version_keeps_no_rollback_waiting(yard):
    yard.record("v2", champion="v1")
    yard.record("v3", champion="v1")
    run_pass(yard.workspace(), report=yard.said.append, with_checks=False)
    spoil(yard, f"refs/modelyard/statuses/{yard.pull(STAGING).head}", NO)
    yard.put("v2", "canary", is_verified=False)
    yard.broken.add("v2")

    assert run_passes(yard).failures == ()

    assert yard.names() == dict.fromkeys(yard.names(), "v1")
    assert yard.pull(STAGING).state == "open"


@pytest.mark.long
def test_what_cannot_be_read_is_counted_in_every_pass_over_all_models(yard):
    yard.record("v2", champion="v1")
    assert run_pass(yard.workspace(), report=yard.said.append, with_checks=False).unreadable == 0
    head = yard.pull(STAGING).head
    refs = ("pulls/9", f"statuses/{head}")
    mended = [spoil(yard, f"refs/modelyard/{ref}") for ref in refs]
    paths = ("freezes/canary.json", "facts/staging/other.json")
    mends = [spoil_state(yard.git, path) for path in paths]

    found = run_pass(yard.workspace(), report=yard.said.append, with_checks=True)
    some = run_pass(yard.workspace(), report=print, with_checks=True, models=frozenset({MODEL}))

    assert (found.failures, found.unreadable, some.unreadable) == ((), 4, None)
    for each in mended:
        yard.git.push("origin", each)
    for mend in mends:
        mend()
    assert run_passes(yard).unreadable == 0


@pytest.mark.long
def test_a_pull_request_that_may_be_about_anything_is_told_when_it_stops_a_proposal(yard, caplog):
    mended = spoil(yard, "refs/modelyard/pulls/9")
    yard.record("v2", champion="v1")
    before = yard.titles()

    assert run_passes(yard).unreadable == 1
    assert yard.titles() == before
    refused = f"Promote {MODEL} v2 to staging: refs/modelyard/pulls/9 cannot be read and may be "
    assert refused in caplog.text

    yard.git.push("origin", mended)
    assert run_passes(yard).unreadable == 0
    assert yard.names()["staging"] == "v2"


@pytest.mark.long
@pytest.mark.parametrize("where", ["staging", "production", "nowhere"])
def test_facts_that_cannot_be_read_keep_no_other_environment_from_its_rollback(yard, where):
    yard.record("v2", champion="v1")
    yard.put("v2", "staging")
    yard.put("v2", "canary", is_verified=False)
    yard.broken.add("v2")
    mend = spoil_state(yard.git, f"facts/{where}/{MODEL}.json")

    found = run_passes(yard)

    v1 = dict.fromkeys(yard.names(), "v1")
    assert yard.names() == ({**v1, "staging": "v2"} if where == "staging" else v1)
    assert found.failing_models == (frozenset() if where == "nowhere" else {MODEL})
    assert found.unreadable == 1
    assert yard.model_facts.incidents == ()

    mend()
    assert run_passes(yard).failures == ()
    assert yard.names() == v1


@pytest.mark.long
@pytest.mark.parametrize("where", ["staging", "canary"])
def test_nothing_goes_into_or_out_of_an_environment_whose_facts_cannot_be_read(yard, where):
    yard.record("v2", champion="v1")
    yard.put("v2", "staging")
    yard.reconcile()
    head = yard.pull(CANARY).head
    yard.approve("canary")
    mend = spoil_state(yard.git, f"facts/{where}/{MODEL}.json")

    run_passes(yard)

    pull = yard.pull(CANARY)
    assert (pull.state, pull.head, yard.names()["canary"]) == ("open", head, "v1")
    assert pull.statuses[PROMOTE].state is StatusState.FAILURE
    assert "cannot be read" in pull.statuses[PROMOTE].description

    mend()
    run_passes(yard)
    assert yard.names()["canary"] == "v2"


def test_what_is_judged_elsewhere_is_observed_as_often_as_before(yard):
    yard.put("v1", "canary", is_verified=False)
    undecided_now = Verdict(outcome=Outcome.INCONCLUSIVE, reason="more traffic")
    yard.workspace().facts.update_release(
        "canary", MODEL, lambda facts: replace(facts, verdict=undecided_now)
    )
    spoil_state(yard.git, f"facts/staging/{MODEL}.json")

    assert undecided_releases(yard.workspace()) == (f"canary {MODEL}",)


OF_A_PULL = {
    "no JSON": (b"{", True),
    "its branch alone": (f'{{"pull": {{"branch": "{CANARY}"}}}}'.encode(), True),
    "another branch alone": (b'{"pull": {"branch": "docs"}}', False),
    "a list": (b"[]", True),
    "no text": (b"\xff", True),
}


@pytest.mark.long
@pytest.mark.parametrize("what", OF_A_PULL)
def test_a_dry_run_names_the_proposal_that_an_unreadable_pull_request_keeps_away(yard, what):
    document, is_left_out = OF_A_PULL[what]
    yard.record("v2", champion="v1")
    yard.put("v2", "staging")
    yard.rest()
    number = yard.pull(CANARY).number
    spoil(yard, f"refs/modelyard/pulls/{number}", document)

    said = run(yard, "reconcile", MODEL, "--dry-run")
    yard.said.clear()
    yard.reconcile()

    left_out = f"m: left out: propose the release of v2 to canary: refs/modelyard/pulls/{number}: "
    assert (left_out in said.err) == is_left_out
    assert ("would propose" in said.out) != is_left_out
    assert any("opened" in line for line in yard.said) != is_left_out
