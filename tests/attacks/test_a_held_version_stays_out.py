"""A held version stays out, and out of a hold there is a way that the next pass does not undo."""

from __future__ import annotations

import shlex
from dataclasses import replace
from datetime import timedelta
from functools import partial
from threading import Thread

import pytest

from modelyard.adapters.git.remote_refs import one_snapshot
from modelyard.adapters.specs.documents import dump_spec
from modelyard.domain.promotion.facts import Freeze, TrainingFacts
from modelyard.domain.promotion.pulls import PullState
from modelyard.domain.specs.environment import FreezeWindow
from modelyard.domain.verdict import Outcome, Verdict
from modelyard.operations.reconcile.loop import reconcile_model
from operations.yard import (
    CANARY,
    MODEL,
    SHORT,
    contested_yard,
    new_yard,
    release_file,
)
from operations.yard_with_history import answer, run

FAIL = Verdict(outcome=Outcome.FAIL, reason="error rate 9 %")


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    yard = contested_yard(tmp_path_factory.mktemp("start") / "yard")
    yard.put("v2", "staging")
    return yard


@pytest.fixture
def yard(start, tmp_path):
    """v1 is verified everywhere; v2 in staging."""
    return start.copy(tmp_path / "yard")


@pytest.fixture(scope="module")
def only(tmp_path_factory):
    """The first release of all, ready in staging, with nothing to go back to."""
    yard = new_yard(tmp_path_factory.mktemp("only") / "yard", SHORT)
    yard.record("v1")
    yard.put("v1", "staging", is_verified=False)
    return yard


@pytest.fixture
def alone(only, tmp_path):
    return only.copy(tmp_path / "alone")


def goes_wrong(yard, environment):
    """The watcher sees the release there fail."""
    at = yard.clock.now()
    yard.workspace().facts.update_release(
        environment,
        MODEL,
        lambda facts: replace(
            facts, verdict=FAIL, judged_at=at, aborted=FAIL.reason, verified=facts.verified[:-1]
        ),
    )


def failed_in_canary(yard):
    """v2 was judged bad in canary, is on hold and went back everywhere."""
    yard.put("v2", "canary")
    goes_wrong(yard, "canary")
    yard.rest()
    assert yard.names() == dict.fromkeys(yard.names(), "v1")


def is_held(yard, version):
    return version in yard.model_facts.holds


@pytest.mark.long
def test_lifting_the_hold_of_a_first_release_is_not_undone_by_the_next_pass(alone):
    goes_wrong(alone, "staging")
    alone.rest()
    assert is_held(alone, "v1")
    alone.clock.wait(60)

    said = run(alone, "unhold", MODEL, "v1", "--as", "ada")
    alone.rest()

    assert (
        said.lines[-1] == f"next: modelyard promote staging {MODEL} v1, which makes a new attempt"
    )
    assert not is_held(alone, "v1")


@pytest.mark.long
def test_a_first_release_with_nothing_to_go_back_to_is_brought_again(alone):
    goes_wrong(alone, "staging")
    alone.rest()
    alone.clock.wait(60)

    said = run(alone, "unhold", MODEL, "v1", "--retry", "--as", "ada")
    alone.rest()

    assert said.code == 0
    assert alone.pull(f"modelyard/promote/staging/{MODEL}").state is PullState.MERGED
    assert b"attempt: 2" in alone.read(release_file("staging"))
    assert alone.facts("staging").verified
    assert alone.running()["staging"][0] == "v1"


@pytest.mark.long
def test_the_hold_of_an_aborted_release_is_lifted_with_a_new_attempt(yard):
    failed_in_canary(yard)
    yard.clock.wait(60)

    said = run(yard, "unhold", MODEL, "v2", "--retry", "--as", "ada")

    assert (said.code, said.lines[0]) == (0, f"{MODEL} v2 is no longer on hold")
    pull = yard.pull(f"modelyard/promote/staging/{MODEL}")
    assert (pull.state, str(pull.requester)) == (PullState.OPEN, "ada")
    yard.rest()
    assert yard.names()["staging"] == "v2"
    assert not is_held(yard, "v2")


@pytest.mark.long
def test_a_dry_run_lifts_nothing_and_proposes_nothing(yard):
    failed_in_canary(yard)
    before = yard.refs()

    said = run(yard, "unhold", MODEL, "v2", "--retry", "--as", "ada", "--dry-run")

    assert said.code == 0
    assert yard.refs() == before


@pytest.mark.long
@pytest.mark.parametrize("what", ["a freeze", "a hold"])
def test_what_another_machine_places_in_the_middle_of_a_pass_is_seen(yard, what):
    yard.rest()
    (pull,) = yard.pulls.list()
    yard.pulls.review(pull.number, sha=pull.head, by="bo", approved=True)
    freeze = Freeze(reason="a holiday", by="bo", since=yard.clock.now())
    with one_snapshot():  # a pass over a model that began before
        yard.workspace().main()
        if what == "a freeze":
            # A thread knows nothing of the snapshot, as another machine does.
            by_another = partial(yard.workspace().facts.update_freeze, "canary", lambda _: freeze)
        else:
            by_another = partial(run, yard, "hold", MODEL, "v2", "--reason", "w", "--as", "bo")
        thread = Thread(target=by_another)
        thread.start()
        thread.join()
        reconcile_model(yard.workspace(), MODEL, wait=False, report=yard.said.append)

    assert yard.names()["canary"] == "v1"


@pytest.mark.long
def test_a_retry_that_can_never_be_merged_leaves_the_hold(yard):
    failed_in_canary(yard)
    freeze = Freeze(reason="a holiday", by="bo", since=yard.clock.now())
    yard.workspace().facts.update_freeze("staging", lambda _: freeze)

    said = run(yard, "unhold", MODEL, "v2", "--retry", "--as", "ada")

    assert said.code == 3
    assert said.err.splitlines()[-1] == "hint: modelyard unfreeze staging"
    assert is_held(yard, "v2")


@pytest.mark.long
def test_a_version_that_was_never_released_is_offered_no_attempt(yard):
    yard.record("v3", champion="v1")
    run(yard, "hold", MODEL, "v3", "--reason", "wait", "--as", "ada")

    said = run(yard, "unhold", MODEL, "v3", "--retry", "--as", "ada")

    assert (said.code, said.lines) == (0, [f"{MODEL} v3 is no longer on hold"])


@pytest.mark.long
def test_what_goes_wrong_after_the_hold_was_lifted_holds_it_again(alone):
    goes_wrong(alone, "staging")
    alone.rest()
    alone.clock.wait(60)
    run(alone, "unhold", MODEL, "v1", "--retry", "--as", "ada")
    alone.never_ready.add("v1")
    alone.rest()
    alone.clock.wait(60)
    goes_wrong(alone, "staging")

    alone.rest()

    assert is_held(alone, "v1")


@pytest.mark.long
def test_the_alias_of_a_release_that_went_wrong_points_at_nothing(alone):
    goes_wrong(alone, "staging")
    alone.workspace().registry.set_alias(MODEL, alias="staging", version="v1")

    alone.rest()

    assert "staging" not in alone.aliases


@pytest.mark.long
def test_an_alias_follows_the_rollback(yard):
    failed_in_canary(yard)

    assert yard.aliases == dict.fromkeys(yard.names(), "v1")


def test_an_alias_stays_where_facts_were_lost(yard):
    yard.workspace().facts.update_release(
        "production", MODEL, lambda facts: replace(facts, release=None, verified=())
    )

    yard.reconcile()

    assert yard.aliases["production"] == "v1"


@pytest.mark.long
@pytest.mark.parametrize("how", ["pushed", "promoted"])
def test_a_held_version_is_brought_back_by_nobody(yard, how):
    failed_in_canary(yard)
    if how == "pushed":
        yard.name("v2", "canary")
    else:
        assert run(yard, "promote", "canary", MODEL, "v2").code == 3

    yard.rest()

    assert yard.names()["canary"] == "v1"
    assert is_held(yard, "v2")


# Every red line of `status` names a command that the command line takes.


def held(yard):
    run(yard, "hold", MODEL, "v2", "--reason", "odd", "--as", "ada")


def frozen(yard):
    freeze = Freeze(reason="a holiday", by="bo", since=yard.clock.now())
    yard.workspace().facts.update_freeze("canary", lambda _: freeze)
    yard.reconcile()


def failed_training(yard):
    yard.add_version("v3")
    facts = TrainingFacts(failed="out of memory")
    yard.workspace().facts.update_model(
        MODEL, lambda before: replace(before, training={"v3": facts})
    )


def waiting_training(yard):
    yard.add_version("v3")


def refused_by_the_gate(yard):
    yard.record("v3", champion="v1", skill=0.0)
    yard.put("v3", "staging")
    yard.branch("somebody/else", {"notes.md": b"nothing\n"})


def not_ready(yard):
    yard.workspace().facts.update_release(
        "staging", MODEL, lambda facts: replace(facts, healthy_since=None, verified=())
    )


def not_seen(yard):
    yard.name("v2", "canary")


def aborted(yard):
    goes_wrong(yard, "staging")


def unreviewed(yard):
    pin = yard.read(release_file("production")).replace(b"attempt: 1", b"attempt: 3")
    yard.commit({release_file("production"): pin.replace(b"server_image: ", b"server_image: x/")})


def waiting_for_approvals(yard):
    yard.rest()
    assert yard.pull(f"modelyard/promote/canary/{MODEL}").state is PullState.OPEN


def undecided(yard):
    yard.put("v2", "canary", is_verified=False)


def deleted(yard):
    yard.commit({release_file("production"): None})


RED = (
    held,
    frozen,
    failed_training,
    waiting_training,
    refused_by_the_gate,
    not_ready,
    not_seen,
    aborted,
    unreviewed,
    waiting_for_approvals,
    undecided,
    deleted,
)


@pytest.mark.sample(1)
@pytest.mark.parametrize("make", RED)
def test_every_red_line_of_status_names_a_command_that_the_command_line_takes(yard, make):
    make(yard)

    told = answer(yard, "status")

    rows = [each for part in told.values() if isinstance(part, list) for each in part]
    commands = {each["next"] for each in rows if each["next"]}
    assert commands
    for row in told["releases"]:
        assert row["verified"] or row["next"] or "soak" in row["state"] or not row["version"]
    for command in commands:
        words = shlex.split(command)
        assert words.pop(0) == "modelyard"
        if words[0] == "watch":
            continue  # it runs as long as something changes
        said = run(yard, *words, *(["--as", "grace"] if takes_a_name(words) else []))
        assert said.code != 2, (command, said.err)


def takes_a_name(words):
    return words[0] in {"unhold", "unfreeze", "promote"} or words[:2] == ["pr", "approve"]


def test_status_names_the_command_for_a_file_that_cannot_be_read(yard):
    yard.add_version("v3")
    yard.commit({f"models/{MODEL}/versions/v9.yaml": b"kind: [\n"})

    assert answer(yard, "status")["trainings"][0]["next"] == "modelyard validate"
    (line,) = (each for each in run(yard, "status").lines if "v9.yaml" in each)
    assert line.endswith("modelyard validate")


def test_status_shows_the_commands_to_people_too(yard):
    held(yard)

    assert any("modelyard unhold m v2" in line for line in run(yard, "status").lines)


def test_a_freeze_window_has_an_end_and_no_command(yard):
    window = FreezeWindow(
        since=yard.clock.now() - timedelta(hours=1),
        until=yard.clock.now() + timedelta(hours=1),
        reason="a holiday",
    )
    yard.commit(
        {
            "environments/canary/environment.yaml": dump_spec(
                "Environment", replace(CANARY, freeze_windows=(window,))
            )
        }
    )

    (freeze,) = answer(yard, "status")["freezes"]

    assert (freeze["next"], freeze["by"]) == (None, None)
