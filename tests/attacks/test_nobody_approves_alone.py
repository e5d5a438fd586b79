"""The promise: who made a version, under whatever name, does not approve its promotion."""

from __future__ import annotations

from dataclasses import replace

import pytest

from attacks.pull_requests import due, forged, judged, refused_merge
from git_commits import write_commit
from modelyard.adapters.specs.documents import dump_spec
from modelyard.domain.promotion.pulls import PROMOTE, PullState, StatusState
from modelyard.domain.specs.environment import Approvals
from operations.yard import (
    AT,
    CANARY,
    HELD_OUT_SPEC,
    MODEL,
    contested_yard,
    spec,
    spec_file,
)
from operations.yard_with_history import run


def merged(yard, branch, documents, *, author, by, message="By hand"):
    """What a person proposes on a branch of their own, merged by somebody."""
    main = yard.main()
    head = write_commit(
        yard.git, main, documents, parents=[main], message=message, author=author, at=AT
    )
    yard.git.push("origin", {f"refs/heads/{branch}": (None, head)})
    pull = yard.pulls.open_branch(branch, title="By hand", body="", author=f"Opener of {branch}")
    forged(yard, pull)
    yard.pulls.merge(pull.number, sha=pull.head, by=by)


@pytest.fixture(scope="module")
def brought(tmp_path_factory):
    """v3, which Mallory wrote with Carl, Opener of v3 asked for, and Meg merged, is due in canary.

    Its held-out set is Hal's.
    """
    yard = contested_yard(tmp_path_factory.mktemp("brought") / "yard")
    newer = replace(HELD_OUT_SPEC, name="newer")
    held_out = {f"models/{MODEL}/heldout/newer.yaml": dump_spec("HeldOut", newer)}
    merged(yard, "newer", held_out, author="Hal", by="Merle")
    wanted = replace(spec("v3"), held_out=("recent", "newer"))
    documents = {spec_file("v3"): dump_spec("ModelVersion", wanted)}
    message = "Add v3\n\nCo-authored-by: Carl <carl@example.org>\n"
    merged(yard, "v3", documents, author="Mallory <m@example.org>", by="Meg", message=message)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(yard), "add_version", lambda *_: None)
        yard.record("v3", champion="v1")
    yard.put("v3", "staging")
    yard.reconcile()
    return yard


@pytest.fixture
def proposed(brought, tmp_path):
    """The same yard for one test."""
    return brought.copy(tmp_path / "proposed")


MAKERS = {
    "Mallory": "wrote v3",
    "Carl": "wrote v3",
    "Meg": "merged v3",
    "Opener of v3": "asked for v3",
    "Hal": "wrote v3",
    "Merle": "merged v3",
}


@pytest.mark.sample(1)
@pytest.mark.parametrize(("name", "did"), MAKERS.items())
def test_who_made_a_version_does_not_approve_its_promotion(proposed, name, did):
    pull = due(proposed)

    said = run(proposed, "pr", "approve", str(pull.number), "--as", name)
    assert (said.code, said.err.splitlines()[0]) == (
        3,
        f"error: {name} {did}, which pull request {pull.number} releases, and cannot approve it",
    )
    proposed.pulls.review(pull.number, sha=pull.head, by=name, approved=True)
    judged(proposed)

    assert due(proposed).statuses[PROMOTE].state is StatusState.PENDING
    forged(proposed, pull)
    assert "1 more approval of" in refused_merge(proposed, pull)


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    "name",
    [
        "mallory",
        " MALLORY ",
        "Mallory <other@example.org>",
        "\uff2d\uff41\uff4c\uff4c\uff4f\uff52\uff59",
        "Mal\u200blory",
        "Mallory\u00a0",
        "Mallory\x00",
    ],
)
def test_another_spelling_is_nobody_else(proposed, name):
    pull = due(proposed)
    proposed.pulls.review(pull.number, sha=pull.head, by=name, approved=True)
    forged(proposed, pull)

    assert "1 more approval of" in refused_merge(proposed, pull)


@pytest.mark.long
@pytest.mark.parametrize("second", ["Ann", "grace"])
def test_who_asks_for_a_promotion_after_somebody_else_does_not_approve_it_either(proposed, second):
    for name in ("Zoe", second):
        said = run(proposed, "promote", "canary", MODEL, "v3", "--as", name)
        assert said.code == 0, said.err
    pull = due(proposed)

    assert run(proposed, "pr", "approve", str(pull.number), "--as", second.upper()).code == 3
    proposed.pulls.review(pull.number, sha=pull.head, by=second, approved=True)
    forged(proposed, pull)
    assert "1 more approval of" in refused_merge(proposed, pull)


@pytest.mark.long
def test_a_teammate_who_took_no_part_approves(proposed):
    pull = due(proposed)
    assert run(proposed, "pr", "approve", str(pull.number), "--as", "Grace").code == 0
    judged(proposed)

    assert due(proposed).state is PullState.MERGED


def test_the_page_says_who_may_not_approve_and_why(proposed):
    pull = due(proposed)

    shown = " ".join(run(proposed, "pr", "show", str(pull.number)).out.split())

    for name, did in MAKERS.items():
        assert f"{name} {did}" in pull.body
        assert f"{name} {did}" in shown


@pytest.mark.long
def test_two_spellings_of_one_name_are_one_approval(yard):
    two = replace(CANARY, approvals=Approvals(needed=2))
    yard.land(
        "ada/rules",
        {"environments/canary/environment.yaml": dump_spec("Environment", two)},
        "Rules",
    )
    yard.put("v2", "staging")
    yard.reconcile()
    pull = due(yard)
    for name in ("Ann", "ann ", "ANN", "A\u200bnn", "Ann <ann@example.org>"):
        yard.pulls.review(pull.number, sha=pull.head, by=name, approved=True)
    judged(yard)

    assert due(yard).statuses[PROMOTE].description.startswith("1 more approval of")
    yard.pulls.review(pull.number, sha=pull.head, by="Bob", approved=True)
    judged(yard)
    assert due(yard).state is PullState.MERGED


@pytest.mark.long
def test_an_objection_withdraws_the_approval_of_every_spelling(yard):
    yard.put("v2", "staging")
    yard.reconcile()
    pull = due(yard)
    yard.pulls.review(pull.number, sha=pull.head, by="Ann", approved=True)
    yard.pulls.review(pull.number, sha=pull.head, by="ann", approved=False)
    judged(yard)

    assert due(yard).statuses[PROMOTE].state is StatusState.PENDING


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    "name", ["", " ", "\t", "\n", "\u200b", "\u00a0", "Ann\x1b[2J", "Ann\nBob", "\u202eennA"]
)
def test_nobody_approves_under_a_name_that_shows_nobody(yard, name):
    yard.put("v2", "staging")
    yard.reconcile()

    said = run(yard, "pr", "approve", str(due(yard).number), "--as", name)

    assert said.code == 2
    assert due(yard).reviews == ()


@pytest.mark.long
def test_a_list_of_approvers_without_anybody_left_says_so(proposed):
    only = replace(CANARY, approvals=Approvals(needed=1, approvers=("mallory", "Meg")))
    proposed.land(
        "ada/rules",
        {"environments/canary/environment.yaml": dump_spec("Environment", only)},
        "Rules",
    )
    judged(proposed)

    assert (
        due(proposed)
        .statuses[PROMOTE]
        .description.endswith("from nobody left; but mallory wrote v3, Meg merged v3")
    )


@pytest.mark.long
def test_an_approver_is_on_the_list_however_the_list_spells_the_name(proposed):
    only = replace(CANARY, approvals=Approvals(needed=1, approvers=("GRACE",)))
    proposed.land(
        "ada/rules",
        {"environments/canary/environment.yaml": dump_spec("Environment", only)},
        "Rules",
    )
    pull = due(proposed)
    proposed.pulls.review(pull.number, sha=pull.head, by="grace", approved=True)
    judged(proposed)

    assert due(proposed).state is PullState.MERGED
