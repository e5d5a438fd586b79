from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial

import pytest

from git_commits import write_commit
from modelyard.adapters.specs.documents import dump_spec
from modelyard.adapters.store.signing_keys import read_key, write_key
from modelyard.domain.people import Person
from modelyard.domain.promotion.actions import ProposeRelease, RollBack
from modelyard.domain.promotion.plan import plan
from modelyard.domain.promotion.pulls import CHECKS, PROMOTE, Status, StatusState
from modelyard.domain.signatures import (
    Bundle,
    Statement,
    key_hint,
    signed_bytes,
    write_bundle,
    write_statement,
)
from modelyard.domain.specs.paths import model_file
from modelyard.domain.verdict import Outcome
from modelyard.operations.reconcile.changes import (
    new_release,
    promotion_change,
    release_documents,
    rollback_change,
)
from modelyard.operations.reconcile.collect import collect_world
from modelyard.operations.reconcile.human_pulls import set_human_pull_statuses
from modelyard.operations.watch import pull_checks as checking
from modelyard.operations.watch.observe import observe_model
from modelyard.operations.watch.run_checks import run_checks
from modelyard.render.tree import tree_digest
from operations.yard import (
    AT,
    HELD_OUT,
    HELD_OUT_SPEC,
    MODEL,
    MODEL_SPEC,
    SHORT,
    artifact_of,
    living_yard,
    manifests,
    record_file,
    release_file,
    spec,
    spec_file,
)

VALID = Status(
    context=CHECKS,
    state=StatusState.SUCCESS,
    description="valid, rendered, and verdicts match their evidence",
)


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    yard = living_yard(tmp_path_factory.mktemp("start") / "yard", SHORT)
    yard.add_version("v2")
    yard.reconcile()
    return yard


@pytest.fixture
def yard(start, tmp_path):
    """v1 is verified everywhere, v2 is being trained."""
    return start.copy(tmp_path / "yard")


def checked(yard, branch):
    """What the checks say of the newest pull request of a branch."""
    run_checks(yard.workspace(), yard.said.append)
    return yard.pull(branch).statuses[CHECKS]


def record_checked(yard, change=lambda record: record):
    yard.finish("v2", champion="v1", change=change)
    yard.reconcile()
    return checked(yard, f"modelyard/record/v2/{MODEL}")


def pushed(yard, branch, documents):
    """Somebody's commit on top of the branch of a pull request."""
    head = yard.pull(branch).head
    after = write_commit(
        yard.git, head, documents, parents=[head], message="By hand", author="Mallory", at=AT
    )
    yard.git.push("origin", {f"refs/heads/{branch}": (head, after)})


def with_numbers(record, **numbers):
    verdict = replace(record.verdict, numbers={**record.verdict.numbers, **numbers})
    return replace(record, verdict=verdict)


@pytest.mark.long
def test_a_record_that_says_what_its_evidence_says_passes(yard):
    assert record_checked(yard) == VALID


@pytest.mark.parametrize("is_signed", [False, True])
def test_a_record_is_refused_that_none_of_the_keys_signed_that_its_model_asks_for(
    yard, tmp_path, is_signed
):
    key, other = write_key(tmp_path / "key.pem"), write_key(tmp_path / "other.pem")
    asking = replace(MODEL_SPEC, artifact=replace(MODEL_SPEC.artifact, signed_by=(key,)))
    yard.commit({model_file(MODEL): dump_spec("Model", asking)})
    if is_signed:
        payload = write_statement(Statement(subject=f"{MODEL}@v2", files={}))
        signature = read_key(tmp_path / "other.pem").sign(signed_bytes(payload))
        bundle = Bundle(payload=payload, signature=signature, hint=key_hint(other))
        store = yard.workspace().store
        store.put_signature(artifact_of("v2"), f"{MODEL}@v2", write_bundle(bundle))

    status = record_checked(yard)

    assert status.state is StatusState.FAILURE
    assert f"as artifact.signed_by of {MODEL} asks; found " in status.description
    assert ("found one by" if is_signed else "it is not signed") in status.description


@pytest.mark.long
def test_a_tampered_number_is_refused(yard):
    status = record_checked(yard, lambda record: with_numbers(record, difference=0.25))

    assert status.state is StatusState.FAILURE
    assert status.description.startswith("m v2: verdict: difference is 0.25 in the record, ")


def test_a_tampered_outcome_is_refused(yard):
    def tamper(record):
        return replace(record, verdict=replace(record.verdict, outcome=Outcome.FAIL))

    status = record_checked(yard, tamper)

    assert status == Status(
        context=CHECKS,
        state=StatusState.FAILURE,
        description="m v2: verdict: the record has fail, the evidence gives pass",
    )


@pytest.mark.long
def test_evidence_out_of_reach_is_an_error_and_asked_for_again(yard):
    kept = yard.folder / "store" / "evidence"
    yard.finish("v2", champion="v1")
    yard.reconcile()
    kept.rename(yard.folder / "elsewhere")

    status = checked(yard, f"modelyard/record/v2/{MODEL}")

    assert status.state is StatusState.ERROR
    assert "out of reach" in status.description
    assert not run_checks(yard.workspace(), yard.said.append)
    yard.reconcile()
    assert yard.names()["staging"] == "v1"
    (yard.folder / "elsewhere").rename(kept)
    assert checked(yard, f"modelyard/record/v2/{MODEL}") == VALID


@pytest.mark.long
def test_a_crash_of_the_checks_is_an_error_and_stops_nothing_else(yard, monkeypatch, caplog):
    yard.finish("v2", champion="v1")
    yard.reconcile()
    yard.branch("docs", {"README.md": b"hello\n"})

    def crash(*args):
        raise KeyError("a defect")

    monkeypatch.setattr("modelyard.operations.watch.pull_checks.find_wrong", crash)
    with caplog.at_level(logging.CRITICAL):
        status = checked(yard, f"modelyard/record/v2/{MODEL}")

    assert status == Status(
        context=CHECKS,
        state=StatusState.ERROR,
        description="the checks crashed: KeyError: 'a defect'",
    )
    assert yard.pull("docs").statuses[CHECKS] == VALID


@pytest.mark.long
def test_manifests_that_are_not_what_the_release_renders_to_are_refused(yard):
    yard.record("v2", champion="v1")
    yard.put("v2", "staging")
    yard.reconcile()
    branch = f"modelyard/promote/canary/{MODEL}"
    file = next(path for path in yard.paths(manifests("canary")))
    pushed(yard, branch, {file: b"replicas: 0\n"})

    status = checked(yard, branch)

    assert status == Status(
        context=CHECKS,
        state=StatusState.FAILURE,
        description=f"{file} is not what its release renders to",
    )
    yard.reconcile()
    assert checked(yard, branch) == VALID


def test_a_spec_that_is_not_valid_is_refused(yard):
    yard.branch("bad", {spec_file("v3"): b"version: v3\n"})

    status = checked(yard, "bad")

    assert status.state is StatusState.FAILURE
    assert status.description.startswith(f"{spec_file('v3')}:1: ")


def test_a_record_that_was_merged_may_not_change(yard):
    record = yard.workspace().catalog(yard.main()).records[MODEL, "v1"]
    yard.branch("better", {record_file("v1"): dump_spec("Record", with_numbers(record, lower=0.4))})

    status = checked(yard, "better")

    assert status.state is StatusState.FAILURE
    assert "a record and its version never change" in status.description


def test_a_conflict_with_the_main_branch_is_refused(yard):
    yard.branch("mine", {"README.md": b"mine\n"})
    yard.commit({"README.md": b"theirs\n"})

    assert checked(yard, "mine").description == "conflicts with the main branch in README.md"


@pytest.fixture
def asked(monkeypatch):
    """The heads that were checked, in order."""
    heads, real = [], checking.check_pull

    def check(workspace, pull):
        heads.append(pull.head)
        return real(workspace, pull)

    monkeypatch.setattr(checking, "check_pull", check)
    return heads


def checked_again(yard, workspace, branch, asked):
    """What a watcher's next pass leaves as status, and how often it checked for it."""
    head = yard.pull(branch).head
    before = asked.count(head)
    run_checks(workspace, yard.said.append)
    return yard.pull(branch).statuses[CHECKS], asked.count(head) - before


def test_a_refused_change_is_asked_about_again_once_main_moved_and_only_then(yard, asked):
    other = replace(spec("v3"), held_out=("newer",))
    pull = yard.branch("early", {spec_file("v3"): dump_spec("ModelVersion", other)})
    again = partial(checked_again, yard, yard.workspace(), "early", asked)

    refused, _ = again()
    assert refused.state is StatusState.FAILURE
    again()
    assert again() == (refused, 0)
    newer = replace(HELD_OUT_SPEC, name="newer")
    yard.commit({f"models/{MODEL}/heldout/newer.yaml": dump_spec("HeldOut", newer)})
    assert again() == (VALID, 1)
    assert again() == (VALID, 0)
    assert yard.pull("early").head == pull.head


def test_a_change_that_passed_is_refused_once_what_was_merged_meanwhile_forbids_it(yard, asked):
    changed = replace(spec("v2"), seed=7)
    yard.branch("mine", {spec_file("v2"): dump_spec("ModelVersion", changed)})
    again = partial(checked_again, yard, yard.workspace(), "mine", asked)

    assert again() == (VALID, 1)
    assert again() == (VALID, 0)
    yard.commit({"README.md": b"of nothing that it changes\n"})
    assert again() == (VALID, 0)
    yard.finish("v2", champion="v1")
    yard.reconcile()
    assert again() == (VALID, 0)  # the record's pull request passes too
    yard.reconcile()
    status, times = again()

    assert (status.state, times) == (StatusState.FAILURE, 1)
    assert f"models/{MODEL}/versions/v2.yaml" in status.description
    again()  # as refused, by the whole of the main branch
    assert again() == (status, 0)


def test_a_restarted_watcher_checks_what_passed_again_only_where_main_moved_below_it(yard, asked):
    """The main branch may have moved while nobody watched."""
    changed = replace(spec("v2"), seed=7)
    yard.branch("mine", {spec_file("v2"): dump_spec("ModelVersion", changed)})
    assert checked_again(yard, yard.workspace(), "mine", asked) == (VALID, 1)
    yard.commit({"README.md": b"of nothing that it changes\n"})
    assert checked_again(yard, yard.workspace(), "mine", asked) == (VALID, 0)

    yard.record("v2", champion="v1")
    restarted = yard.workspace()
    status, times = checked_again(yard, restarted, "mine", asked)

    assert (status.state, times) == (StatusState.FAILURE, 1)
    assert f"models/{MODEL}/versions/v2.yaml" in status.description


def test_a_restarted_watcher_checks_once_what_main_moved_below_without_harm(yard, asked):
    changed = replace(spec("v2"), seed=7)
    yard.branch("mine", {spec_file("v2"): dump_spec("ModelVersion", changed)})
    assert checked_again(yard, yard.workspace(), "mine", asked) == (VALID, 1)
    yard.commit({f"models/{MODEL}/README.md": b"of this model\n"})

    again = partial(checked_again, yard, yard.workspace(), "mine", asked)

    assert again() == (VALID, 1)
    assert again() == (VALID, 0)


def test_a_change_of_rules_that_passed_is_checked_again_whatever_was_merged(yard, asked):
    settings = yard.git.read_file(yard.main(), "modelyard.yaml")
    yard.branch("mine", {"modelyard.yaml": settings + b"\n# why\n"})
    again = partial(checked_again, yard, yard.workspace(), "mine", asked)

    passed, _ = again()
    assert passed.state is StatusState.SUCCESS
    assert again() == (passed, 0)
    yard.commit({"README.md": b"of nothing that it changes\n"})
    assert again() == (passed, 1)


@pytest.mark.parametrize(
    ("file", "use"),
    [
        (release_file("production"), "use modelyard promote or modelyard rollback"),
        (
            record_file("v9"),
            "records stay; to retire, modelyard rollback ENVIRONMENT m --remove",
        ),
    ],
)
def test_a_person_does_not_change_a_file_of_the_tools(yard, file, use):
    pull = yard.branch("mine", {file: b"version: v2\n", "README.md": b"hello\n"})

    assert set_human_pull_statuses(yard.workspace(), yard.said.append)

    assert yard.pulls.get(pull.number).statuses[PROMOTE] == Status(
        context=PROMOTE,
        state=StatusState.FAILURE,
        description=f"only the tool writes {file}: {use}",
    )
    assert not set_human_pull_statuses(yard.workspace(), yard.said.append)


def with_manifests(release, content):
    """The documents of a release whose only manifest says this, whatever it would render to."""
    folder = manifests(release.environment)
    files = {"rollout.yaml": content}
    return {
        folder: None,
        folder + "rollout.yaml": content,
        release_file(release.environment): dump_spec(
            "Release", replace(release, manifests=tree_digest(files))
        ),
    }


def test_manifests_a_person_rendered_must_be_what_the_release_renders_to(yard):
    release = yard.workspace().catalog(yard.main()).releases["production", MODEL]
    yard.branch("mine", with_manifests(release, b"replicas: 0\n"))

    set_human_pull_statuses(yard.workspace(), yard.said.append)
    status = checked(yard, "mine")

    assert yard.pull("mine").statuses[PROMOTE] == Status(
        context=PROMOTE,
        state=StatusState.SUCCESS,
        description="renders the same releases again",
    )
    assert status.state is StatusState.FAILURE
    assert "is not what its release renders to" in status.description


def test_manifests_of_another_renderer_are_no_persons_to_change(yard):
    """Nobody can tell what they ought to be, so their digest alone would have to be believed."""
    release = yard.workspace().catalog(yard.main()).releases["production", MODEL]
    old = replace(release, renderer=release.renderer + 1)
    yard.commit(with_manifests(old, b"replicas: 1\n"))
    yard.branch("mine", with_manifests(old, b"replicas: 0\n"))

    set_human_pull_statuses(yard.workspace(), yard.said.append)

    assert yard.pull("mine").statuses[PROMOTE].state is StatusState.FAILURE


def test_a_persons_change_of_their_own_files_waits_for_nothing(yard):
    pull = yard.branch("mine", {spec_file("v3"): b"version: v3\n"})

    set_human_pull_statuses(yard.workspace(), yard.said.append)

    assert yard.pulls.get(pull.number).statuses[PROMOTE] == Status(
        context=PROMOTE, state=StatusState.SUCCESS, description="changes no environment"
    )


@pytest.mark.sample(1)
@pytest.mark.parametrize("branch", ["spec/v2", "retrain", "record/v2", "promote/canary"])
def test_no_branch_of_the_tools_carries_a_release_past_its_approvals(yard, branch):
    """Whoever reads the required status from the name of a branch must know what is in it."""
    release = yard.workspace().catalog(yard.main()).releases["production", MODEL]
    again = dump_spec("Release", replace(release, attempt=2))
    name = f"modelyard/{branch}/{MODEL}"
    yard.branch(name, {release_file("production"): again})

    status = checked(yard, name)

    assert status.state is StatusState.FAILURE
    assert status.description.startswith(f"{name} may not change {release_file('production')}")


@pytest.mark.long
def test_a_promotion_is_for_the_version_it_pins_now_whatever_its_title_and_labels_say(yard):
    yard.record("v2", champion="v1")
    yard.put("v2", "staging")
    workspace = yard.workspace()
    world = collect_world(workspace, MODEL)
    action = ProposeRelease(environment="canary", version="v2", attempt=1)
    change = promotion_change(world, action, server_image="image:1")
    workspace.services.pulls.propose(change, requester=Person.named("ada"))
    again = new_release(world, "canary", world.record("v1"), server_image="image:1", attempt=2)
    pushed(yard, change.branch, release_documents(world, again))

    assert checked(yard, change.branch) == VALID
    yard.reconcile()

    status = yard.pull(change.branch).statuses[PROMOTE]
    assert (status.state, status.description[:27]) == (
        StatusState.FAILURE,
        "staging does not run v1; 1 ",
    )


@pytest.mark.long
def test_what_a_record_speaks_of_may_not_go_with_it(yard):
    yard.finish("v2", champion="v1")
    yard.reconcile()
    branch = f"modelyard/record/v2/{MODEL}"
    pushed(yard, branch, {f"models/{MODEL}/heldout/{HELD_OUT}.yaml": None})

    status = checked(yard, branch)

    assert status.state is StatusState.FAILURE
    assert f"{branch} may not change models/{MODEL}/heldout/{HELD_OUT}.yaml" in status.description


@pytest.mark.long
def test_a_rollback_that_a_kill_left_open_passes_the_checks(yard):
    yard.record("v2", champion="v1")
    yard.put("v2", "canary", is_verified=False)
    yard.broken.add("v2")
    workspace = yard.workspace()
    observe_model(workspace, MODEL, yard.said.append)
    world = collect_world(workspace, MODEL)
    (back,) = [action for action in plan(world) if isinstance(action, RollBack)]
    pull = workspace.services.pulls.propose(rollback_change(world, back, git=workspace.git))

    assert checked(yard, pull.branch) == VALID


def test_a_branch_without_a_common_history_is_told_so_and_in_nobody_elses_way(yard):
    alone = write_commit(
        yard.git, None, {"x": b"1"}, parents=[], message="Alone", author="Mallory", at=AT
    )
    yard.git.push("origin", {"refs/heads/alone": (None, alone)})
    yard.pulls.open_branch("alone", title="Alone", body="", author="Mallory")
    yard.branch("words", {"README.md": b"words"})

    assert set_human_pull_statuses(yard.workspace(), yard.said.append)
    assert not set_human_pull_statuses(yard.workspace(), yard.said.append)

    said = [yard.pull(branch).statuses[PROMOTE] for branch in ("alone", "words")]
    assert [each.state for each in said] == [StatusState.ERROR, StatusState.SUCCESS]
    assert said[0].description.startswith("cannot be compared with the main branch: ")
