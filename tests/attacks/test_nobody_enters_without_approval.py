"""Whatever a person pushes, opens or writes into the forge, nothing enters past its approvals."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from git_commits import write_commit
from modelyard.adapters.forge.local.snapshot import STATUSES
from modelyard.adapters.specs.documents import dump_spec
from modelyard.domain.promotion.pulls import CHECKS, PROMOTE, PullState, Status, StatusState
from modelyard.domain.specs.environment import Approvals
from modelyard.domain.specs.repository import Repository
from modelyard.errors import Refused
from modelyard.operations.reconcile.changes import new_release, release_documents
from modelyard.operations.reconcile.human_pulls import set_human_pull_statuses
from modelyard.operations.watch.pass_once import run_checks
from operations.yard import (
    AT,
    BOT,
    CANARY,
    HELD_OUT_SPEC,
    MODEL,
    SHORT,
    living_yard,
    release_file,
    spec,
    spec_file,
)
from operations.yard_with_history import run, world_of

OLD_WORDS = "changes no environment"


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    yard = living_yard(tmp_path_factory.mktemp("start") / "yard", SHORT)
    yard.record("v2", champion="v1")
    return yard


@pytest.fixture
def yard(start, tmp_path):
    """v1 is verified everywhere, v2 was never released anywhere."""
    return start.copy(tmp_path / "yard")


def pin_of(yard, version, environment="production"):
    """The documents that release a version, as the tool itself would write them."""
    world = world_of(yard)
    release = new_release(world, environment, world.record(version), server_image="image:1")
    return release_documents(world, release)


def judged(yard):
    """Everything that a pass says of pull requests."""
    run_checks(yard.workspace(), yard.said.append)
    set_human_pull_statuses(yard.workspace(), yard.said.append)
    yard.reconcile()


def forged(yard, pull):
    """Statuses that people who may push write for themselves."""
    for context in (CHECKS, PROMOTE):
        yard.pulls.set_status(
            pull, Status(context=context, state=StatusState.SUCCESS, description=OLD_WORDS)
        )


def refused_merge(yard, pull, by="Mallory"):
    """Why the forge does not merge it."""
    before = yard.main()
    with pytest.raises(Refused) as caught:
        yard.pulls.merge(pull.number, sha=pull.head, by=by)
    assert yard.main() == before
    return caught.value.message


# A word said of one pull request


def pushed_again(yard, commit, branch):
    """The same commit on another branch, with its pull request."""
    before = yard.refs().get(f"refs/heads/{branch}")
    yard.git.push("origin", {f"refs/heads/{branch}": (before, commit)})
    return yard.open(branch, "Mallory")


@pytest.mark.parametrize(
    "second",
    [
        f"modelyard/retrain/{MODEL}",
        f"modelyard/promote/production/{MODEL}",
        f"modelyard/rollback/production/{MODEL}",
        f"modelyard/record/v2/{MODEL}",
        f"modelyard/spec/v2/{MODEL}",
        "modelyard/retrain/nobody",
        "also-sneaky",
    ],
)
def test_a_word_said_of_one_branch_does_not_open_another_with_the_same_commit(yard, second):
    first = yard.branch("sneaky", pin_of(yard, "v2"))
    judged(yard)
    yard.pulls.close(first.number, by="Mallory", reason="never mind")

    again = pushed_again(yard, first.head, second)
    assert yard.pulls.get(again.number).statuses == {}
    judged(yard)

    found = yard.pulls.get(again.number)
    said = {context: status.state for context, status in found.statuses.items()}
    assert found.state is PullState.CLOSED or StatusState.FAILURE in said.values()
    assert PROMOTE not in said or said[PROMOTE] is StatusState.FAILURE
    refused_merge(yard, found)
    assert yard.names()["production"] == "v1"


def test_a_word_said_of_a_branch_of_the_tools_does_not_open_a_plain_one(yard):
    """The other way round: what was said of the bot's own promotion."""
    yard.put("v2", "staging")
    yard.reconcile()
    pull = yard.pull(f"modelyard/promote/canary/{MODEL}")
    judged(yard)
    forged(yard, yard.pulls.get(pull.number))

    plain = pushed_again(yard, pull.head, "plain")

    assert plain.statuses == {}
    assert "modelyard/checks has not reported" in refused_merge(yard, plain)


def test_a_word_said_for_another_base_does_not_count(yard):
    pull = yard.branch("words", {"README.md": b"words\n"})
    workspace = yard.workspace()
    elsewhere = type(yard.pulls)(yard.git, Repository(main="trunk"), workspace.services.clock)
    for context in (CHECKS, PROMOTE):
        success = Status(context=context, state=StatusState.SUCCESS, description="for trunk")
        elsewhere.set_status(pull, success)

    assert yard.pulls.get(pull.number).statuses == {}
    assert "has not reported" in refused_merge(yard, pull)


def test_statuses_of_version_0_1_have_not_reported_and_are_set_again(yard):
    """They name a commit alone."""
    pull = yard.branch("words", {"README.md": b"words\n"})
    old = {
        context: {"context": context, "state": "success", "description": OLD_WORDS}
        for context in (CHECKS, PROMOTE)
    }
    tree = yard.git.write_file_tree("document.json", json.dumps(old).encode())
    commit = yard.git.commit_tree(tree, parents=[], message="Old", author=BOT, at=AT)
    yard.git.push("origin", {STATUSES + pull.head: (None, commit)})

    assert yard.pulls.unreadable() == ()
    assert "has not reported" in refused_merge(yard, pull)
    judged(yard)
    yard.pulls.merge(pull.number, sha=pull.head, by="ada")

    assert yard.pulls.get(pull.number).state is PullState.MERGED


# Forged statuses


def test_forged_statuses_do_not_merge_a_release_from_a_plain_branch(yard):
    pull = yard.branch("plain", pin_of(yard, "v2"))
    forged(yard, pull)

    assert "only the tool writes environments/production/" in refused_merge(yard, pull)


@pytest.mark.parametrize("purpose", ["retrain", "spec/v2", "record/v2", "promote/canary"])
def test_forged_statuses_do_not_merge_a_stray_release_from_a_branch_of_the_tools(yard, purpose):
    pull = yard.branch(f"modelyard/{purpose}/{MODEL}", pin_of(yard, "v2"), author=BOT)
    forged(yard, pull)

    said = refused_merge(yard, pull)

    assert f"{pull.branch} may not change " in said


def test_forged_statuses_do_not_merge_a_promotion_without_its_approvals(yard):
    yard.put("v2", "staging")
    yard.reconcile()
    pull = yard.pull(f"modelyard/promote/canary/{MODEL}")
    forged(yard, pull)

    assert "1 more approval of" in refused_merge(yard, pull)
    assert yard.names()["canary"] == "v1"


def test_forged_statuses_do_not_merge_a_persons_pull_request_from_a_branch_of_the_tools(yard):
    pull = yard.branch(f"modelyard/promote/canary/{MODEL}", pin_of(yard, "v2", "canary"))
    yard.pulls.review(pull.number, sha=pull.head, by="ada", approved=True)
    forged(yard, pull)

    assert f"only the tool opens pull requests from {pull.branch}" in refused_merge(yard, pull)


def test_a_rollback_that_restores_nothing_is_no_way_in(yard):
    """A rollback needs no approval, so it brings back only what was there before."""
    pull = yard.branch(f"modelyard/rollback/production/{MODEL}", pin_of(yard, "v2"), author=BOT)
    forged(yard, pull)

    assert "restores no release that production had" in refused_merge(yard, pull)


def test_a_rollback_with_other_manifests_than_the_release_had_is_no_way_in(yard):
    yard.put("v2", "production")
    world = world_of(yard)
    back = new_release(world, "production", world.record("v1"), server_image="image:1")
    documents = release_documents(world, back)
    changed = next(path for path, text in documents.items() if "/manifests/" in path and text)
    documents[changed] = b"kind: Pod\n"
    pull = yard.branch(f"modelyard/rollback/production/{MODEL}", documents, author=BOT)
    forged(yard, pull)

    assert "restores no release that production had" in refused_merge(yard, pull)


@pytest.mark.parametrize(
    ("branch", "path"),
    [
        (f"modelyard/retrain/{MODEL}", f"models/{MODEL}/model.yaml"),
        (f"modelyard/retrain/{MODEL}", f"models/{MODEL}/trainer/train.py"),
        (f"modelyard/promote/production/{MODEL}", "environments/production/environment.yaml"),
        (
            "modelyard/promote/platform/workflows",
            "environments/platform/manifests/workflows/a.yaml",
        ),
        (f"modelyard/record/v2/{MODEL}", "modelyard.yaml"),
    ],
)
def test_no_branch_of_the_tools_carries_a_rule_or_code(yard, branch, path):
    """Nobody reads it there: its page says that a version or a release is proposed."""
    pull = yard.branch(branch, {path: b"x: 1\n"}, author=BOT)
    forged(yard, pull)

    assert f"{branch} may not change {path}" in refused_merge(yard, pull)


# One person alone


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
def brought(start, tmp_path_factory):
    """v3, which Mallory wrote with Carl, Opener of v3 asked for, and Meg merged, is due in canary.

    Its held-out set is Hal's.
    """
    yard = start.copy(tmp_path_factory.mktemp("brought") / "yard")
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


def due(yard):
    return yard.pull(f"modelyard/promote/canary/{MODEL}")


MAKERS = {
    "Mallory": "wrote v3",
    "Carl": "wrote v3",
    "Meg": "merged v3",
    "Opener of v3": "asked for v3",
    "Hal": "wrote v3",
    "Merle": "merged v3",
}


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


def test_an_objection_withdraws_the_approval_of_every_spelling(yard):
    yard.put("v2", "staging")
    yard.reconcile()
    pull = due(yard)
    yard.pulls.review(pull.number, sha=pull.head, by="Ann", approved=True)
    yard.pulls.review(pull.number, sha=pull.head, by="ann", approved=False)
    judged(yard)

    assert due(yard).statuses[PROMOTE].state is StatusState.PENDING


@pytest.mark.parametrize(
    "name", ["", " ", "\t", "\n", "\u200b", "\u00a0", "Ann\x1b[2J", "Ann\nBob", "\u202eennA"]
)
def test_nobody_approves_under_a_name_that_shows_nobody(yard, name):
    yard.put("v2", "staging")
    yard.reconcile()

    said = run(yard, "pr", "approve", str(due(yard).number), "--as", name)

    assert said.code == 2
    assert due(yard).reviews == ()


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


# Opening


def test_people_cannot_open_pull_requests_from_branches_of_the_tools(yard):
    branch = f"modelyard/promote/production/{MODEL}"
    main = yard.main()
    head = write_commit(
        yard.git, main, pin_of(yard, "v2"), parents=[main], message="x", author="Mallory", at=AT
    )
    yard.git.push("origin", {f"refs/heads/{branch}": (None, head)})

    for author in ("Mallory", BOT):
        with pytest.raises(Refused, match="only the tool opens pull requests from") as caught:
            yard.pulls.open_branch(branch, title="x", body="", author=author)
    assert caught.value.hint == f"modelyard promote production {MODEL} VERSION"


def test_one_that_appears_anyway_is_closed_with_a_reason_and_its_commits_stay(yard):
    pull = yard.branch(f"modelyard/promote/canary/{MODEL}", pin_of(yard, "v2", "canary"))

    yard.reconcile()

    closed = yard.pulls.get(pull.number)
    assert (closed.state, closed.closed_by) == (PullState.CLOSED, BOT)
    assert "only the tool opens pull requests from" in closed.comments[-1].body
    assert f"refs/heads/{pull.branch}" not in yard.refs()
    assert yard.git.read_file(closed.head, release_file("canary"))


def test_a_promotion_is_not_built_on_the_pull_request_that_a_person_put_there(yard):
    """Its approvals were given to something else."""
    pull = yard.branch(f"modelyard/promote/canary/{MODEL}", pin_of(yard, "v2", "canary"))
    yard.pulls.review(pull.number, sha=pull.head, by="ada", approved=True)
    yard.put("v2", "staging")

    yard.rest()

    ours = yard.pull(pull.branch)
    assert ours.number > pull.number
    assert (ours.author, ours.reviews) == (BOT, ())
    assert yard.names()["canary"] == "v1"


def test_a_version_that_a_person_adds_on_their_own_branch_is_nobodys_release(yard):
    """What is allowed stays allowed."""
    pull = yard.branch("v3", {spec_file("v3"): dump_spec("ModelVersion", spec("v3"))})
    judged(yard)
    yard.pulls.merge(pull.number, sha=pull.head, by="Mallory")

    assert yard.names()["production"] == "v1"
