from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from git_commits import spoil_state
from modelyard.adapters.specs.documents import dump_spec
from modelyard.domain.promotion.actions import ProposeRecord, ProposeRelease
from modelyard.domain.promotion.facts import Freeze, Hold, ModelFacts, TrainingFacts
from modelyard.domain.promotion.incidents import Incident
from modelyard.domain.promotion.plan import plan
from modelyard.domain.promotion.pulls import CHECKS, PROMOTE, Status, StatusState
from modelyard.domain.verdict import Outcome, Verdict
from modelyard.operations.reconcile.changes import promotion_change
from modelyard.ports import Phase
from operations.yard import MODEL, artifact_of
from operations.yard_with_history import (
    IMAGE,
    answer,
    faked_registry,
    in_production,
    promoted,
    recorded,
    run,
    trained,
    watched,
    world_of,
)

BOT = "modelyard[bot]"
HEAVY = ("mlflow", "evidently", "kserve", "hera", "sklearn", "pandas", "scipy", "pyarrow")


@pytest.fixture
def yard(tmp_path, tmp_path_factory):
    return in_production(tmp_path / "yard")


def test_a_long_table_says_what_a_short_one_does(yard, monkeypatch):
    change_model(yard, holds={"v1": Hold(reason="bad \x1b[2J", by="ann", since=yard.clock.at)})
    short = run(yard, "status").lines
    monkeypatch.setattr("modelyard.commands.output.formatting.LONG", 0)
    long = run(yard, "status")

    assert long.lines == short
    assert len(long.out.splitlines()) == len(short) + 2 * 3  # a rule and two empty lines each
    assert "\x1b" not in long.out


def states(told):
    return {each["environment"]: each["state"] for each in told["releases"]}


def change_model(yard, **fields):
    yard.workspace().facts.update_model(MODEL, lambda facts: replace(facts, **fields))


def pull_to(yard, environment, version="v1", attempt=2):
    action = ProposeRelease(environment=environment, version=version, attempt=attempt)
    change = promotion_change(world_of(yard), action, server_image=IMAGE)
    return yard.pulls.propose(change, author=BOT)


def say(yard, pull, context, state, description="so"):
    told = Status(context=context, state=state, description=description)
    yard.pulls.set_status(pull, told)


def test_shows_each_environment_in_the_order_a_version_passes_them(yard):
    told = answer(yard, "status")

    assert [(each["environment"], each["version"]) for each in told["releases"]] == [
        ("dev", "v1"),
        ("staging", "v1"),
        ("canary", "v1"),
        ("production", "v1"),
    ]
    assert told["releases"][3] == {
        "model": MODEL,
        "environment": "production",
        "version": "v1",
        "artifact": artifact_of("v1"),
        "attempt": 1,
        "state": "verified",
        "verified": True,
        "since": "2026-03-01T12:03:30Z",
        "verdict": None,
        "next": None,
        "alias": None,
    }
    assert told["commit"] == yard.main()


def test_an_environment_that_names_nothing_is_shown_too(yard):
    commit = yard.commit({"environments/production/releases/m.yaml": None})

    told = answer(yard, "status", MODEL)

    assert told["releases"][3] == {
        "model": MODEL,
        "environment": "production",
        "version": None,
        "artifact": None,
        "attempt": None,
        "state": f"no release, unreviewed: commit {commit[:10]} by Cleo deleted it without a "
        "merged pull request",
        "verified": False,
        "since": None,
        "verdict": None,
        # `unreviewed: report`: reconcile restores nothing, and a person decides.
        "next": "modelyard promote production m",
        "alias": None,
    }


@pytest.mark.long
def test_says_why_a_release_is_not_verified(yard):
    recorded(yard, "v2", 5, champion="v1")
    promoted(yard, "v2", "staging", 6)
    watched(yard, "staging", ready=False)
    promoted(yard, "v2", "canary", 7)
    unsure = Verdict(outcome=Outcome.INCONCLUSIVE, reason="10 rows of 1000")
    watched(yard, "canary", verdict=unsure)
    promoted(yard, "v2", "production", 8)
    watched(yard, "production")
    yard.clock.wait(7)
    bad = Verdict(outcome=Outcome.FAIL, reason="error rate 9 %")
    watched(yard, "production", ready=False, verdict=bad)

    told = answer(yard, "status")

    assert states(told) == {
        "dev": "not seen running yet",
        "staging": "not ready",
        "canary": f"the judge has not passed it; why: modelyard judge canary {MODEL}",
        "production": "judged fail: error rate 9 %",
    }
    assert [each["since"] for each in told["releases"]] == [
        None,
        "2026-03-01T12:04:00Z",
        "2026-03-01T12:04:00Z",
        "2026-03-01T12:04:07Z",
    ]
    assert told["releases"][3]["verdict"] == {"outcome": "fail", "reason": "error rate 9 %"}
    assert not any(each["verified"] for each in told["releases"])


def test_shows_holds_freezes_and_incidents(yard):
    now = yard.clock.now()
    change_model(
        yard,
        holds={"v0": Hold(reason="bad", by="ann", since=now)},
        incidents=(Incident(what="look here", at=now),),
    )
    freeze = Freeze(reason="a holiday", by="bo", since=now)
    yard.workspace().facts.update_freeze("production", lambda _: freeze)

    told = answer(yard, "status")

    at = "2026-03-01T12:04:00Z"
    assert told["holds"] == [
        {
            "model": MODEL,
            "version": "v0",
            "reason": "bad",
            "by": "ann",
            "since": at,
            "next": "modelyard unhold m v0",
        }
    ]
    assert told["freezes"] == [
        {
            "environment": "production",
            "reason": "a holiday",
            "by": "bo",
            "since": at,
            "until": None,
            "next": "modelyard unfreeze production",
        }
    ]
    assert told["incidents"] == [
        {"model": MODEL, "what": "look here", "at": at, "next": "modelyard history m"}
    ]


def test_a_person_is_shown_the_newest_incidents_and_how_many_more_there_are(yard):
    incidents = []
    for number in range(7):
        yard.clock.wait(1)
        incidents.append(Incident(what=f"incident {number}", at=yard.clock.now()))
    change_model(yard, incidents=tuple(incidents))

    lines = run(yard, "status").lines

    assert lines[lines.index("Incidents, newest first") + 2 :] == [
        *(f"m 2026-03-01 12:04:0{n + 1} incident {n}" for n in (6, 5, 4, 3, 2)),
        "- - and 2 more: modelyard history MODEL",
    ]


def test_follows_a_version_through_its_training(yard):
    yard.add_version("v2")
    first = answer(yard, "status")["trainings"]
    name = yard.workflow("v2")
    yard.orchestrator.submit(name, template="train-and-evaluate", parameters={})
    second = answer(yard, "status")["trainings"]
    yard.orchestrator.end(name, Phase.ERROR, "the disk is full")
    third = answer(yard, "status")["trainings"]
    change_model(yard, training={"v2": TrainingFacts(failed="three times")})
    fourth = answer(yard, "status")["trainings"]

    (told,) = first
    assert told == {
        "model": MODEL,
        "version": "v2",
        "attempt": 1,
        "workflow": name,
        "state": "waiting",
        "message": "reconcile starts it",
        "next": "modelyard reconcile m",
    }
    assert [(each["state"], each["message"]) for (each,) in (second, third, fourth)] == [
        ("running", ""),
        ("lost", "the disk is full"),
        ("failed", "three times"),
    ]


def test_a_finished_training_says_what_the_gate_said(yard):
    trained(yard, "v2", champion="v1")

    (told,) = answer(yard, "status")["trainings"]

    assert (told["state"], told["message"]) == (
        "finished",
        "gate: pass; its record is not merged yet",
    )


def test_a_workflow_that_was_removed_after_it_ended_is_not_started_again(yard):
    trained(yard, "v2", champion="v1")
    yard.ledger("workflows").put(yard.workflow("v2"), None)

    (told,) = answer(yard, "status")["trainings"]

    assert isinstance(plan(world_of(yard))[0], ProposeRecord)
    assert (told["state"], told["message"]) == (
        "finished",
        "gate: pass; its record is not merged yet",
    )


def test_an_orchestrator_out_of_reach_leaves_the_rest_of_the_report(yard):
    yard.add_version("v2")
    yard.out_of_reach.add("orchestrator")

    told = answer(yard, "status")

    assert set(states(told).values()) == {"verified"}
    (training,) = told["trainings"]
    assert (training["state"], training["message"]) == (
        "running",
        "unknown: the orchestrator is out of reach",
    )


def test_a_version_on_hold_is_not_waited_for(yard):
    yard.add_version("v2")
    change_model(yard, holds={"v2": Hold(reason="no", by="ann", since=yard.clock.now())})

    assert answer(yard, "status")["trainings"] == []


def test_says_what_a_promotion_waits_for(yard):
    pull = pull_to(yard, "production")

    (told,) = answer(yard, "status")["pulls"]

    assert told == {
        "number": pull.number,
        "title": "Promote m v1 to production",
        "branch": "modelyard/promote/production/m",
        "author": BOT,
        "waits_for": [
            f"{CHECKS} to pass for {pull.head[:10]}",
            f"1 more approval of {pull.head[:10]}, from among ada, bob",
        ],
        "next": f"modelyard pr approve {pull.number}",
    }


def test_a_promotion_that_lacks_nothing_waits_for_reconcile(yard):
    pull = pull_to(yard, "staging")
    say(yard, pull, CHECKS, StatusState.SUCCESS)

    assert answer(yard, "status")["pulls"][0]["waits_for"] == ["reconcile to merge it"]


@pytest.mark.long
def test_a_release_that_is_about_to_go_back_blocks_the_next_one(yard):
    recorded(yard, "v2", 5, champion="v1")
    promoted(yard, "v2", "staging", 6)
    watched(yard, "staging", verdict=Verdict(outcome=Outcome.FAIL, reason="error rate 9 %"))
    pull = pull_to(yard, "staging", "v2", 2)
    say(yard, pull, CHECKS, StatusState.SUCCESS)

    (told,) = answer(yard, "status")["pulls"]

    assert told["waits_for"][0] == ("staging still has v2, which is rolled back: error rate 9 %")


@pytest.mark.long
def test_compares_with_what_production_runs_now_before_it_says_what_is_missing(yard):
    recorded(yard, "v2", 5)  # against the baseline, not against v1
    promoted(yard, "v2", "staging", 6)
    watched(yard, "staging", verified=True)
    pull = pull_to(yard, "canary", "v2", 1)
    say(yard, pull, CHECKS, StatusState.SUCCESS)

    (told,) = answer(yard, "status")["pulls"]

    assert told["waits_for"] == [f"1 more approval of {pull.head[:10]}, from a teammate"]


@pytest.mark.long
def test_evidence_out_of_reach_is_a_verdict_that_is_missing(yard):
    recorded(yard, "v2", 5)
    promoted(yard, "v2", "staging", 6)
    watched(yard, "staging", verified=True)
    pull = pull_to(yard, "canary", "v2", 1)
    say(yard, pull, CHECKS, StatusState.SUCCESS)
    for file in (yard.folder / "store" / "evidence").iterdir():
        file.unlink()

    (told,) = answer(yard, "status")["pulls"]

    assert told["waits_for"][0] == "a gate verdict of v2 against v1, the version in production"


def test_a_persons_pull_request_waits_for_its_statuses_and_a_person(yard):
    pull = yard.branch("ann/v9", {"README.md": b"hello\n"}, author="Ann")
    say(yard, pull, CHECKS, StatusState.FAILURE, "not valid")

    everything, of_one = answer(yard, "status"), answer(yard, "status", MODEL)

    assert everything["pulls"][0]["waits_for"] == [
        f"{CHECKS}: not valid",
        f"{PROMOTE} to pass for {pull.head[:10]}",
        "a person to merge it",
    ]
    assert of_one["pulls"] == []


def test_of_one_model_it_says_what_it_says_of_that_one_among_all(yard):
    facts, now = yard.workspace().facts, yard.clock.now()
    change_model(yard, holds={"v9": Hold(reason="bad", by="ann", since=now)})
    facts.update_model("other", lambda _: ModelFacts(told=("x",)))
    facts.update_freeze("staging", lambda _: Freeze(reason="closed", by="ann", since=now))
    pull_to(yard, "dev")

    of_one = answer(yard, "status", MODEL)  # first: what is known of all must not help it

    assert of_one == answer(yard, "status")
    assert all(of_one[each] for each in ("releases", "holds", "freezes", "pulls"))


def test_specs_that_cannot_be_read_are_counted_and_block_their_pull_requests(yard):
    pull_to(yard, "production")
    yard.commit({f"models/{MODEL}/heldout/recent.yaml": b"kind: HeldOut\n"})

    told = answer(yard, "status")

    assert told["problems"] == 1
    assert told["pulls"][0]["waits_for"] == ["valid specs on the main branch: modelyard validate"]
    (row,) = told["unreadable"]
    assert (row["file"], row["line"], row["stands_in_before"]) == (
        f"models/{MODEL}/heldout/recent.yaml",
        1,
        None,
    )
    shown = " ".join(run(yard, "status").lines)
    assert "Cannot be read on the main branch: nothing is promoted" in shown
    assert f"{row['file']} 1 {row['what']} nothing modelyard validate" in shown


def test_another_models_unreadable_release_blocks_no_pull_request_of_this_one(yard):
    pull = pull_to(yard, "staging")
    say(yard, pull, CHECKS, StatusState.SUCCESS)
    yard.commit({"environments/dev/releases/other.yaml": b"kind: nonsense\n"})

    told = answer(yard, "status")

    assert told["problems"] == 1
    assert told["pulls"][0]["waits_for"] == ["reconcile to merge it"]


def test_facts_that_cannot_be_read_are_unknown_there_and_nowhere_else(yard):
    pull = pull_to(yard, "staging")
    spoil_state(yard.git, f"facts/staging/{MODEL}.json")

    told = answer(yard, "status")

    assert states(told) == {
        "dev": "verified",
        "staging": "its facts there cannot be read",
        "canary": "verified",
        "production": "verified",
    }
    assert told["pulls"][0]["waits_for"] == [
        "the facts of staging cannot be read",
        f"{CHECKS} to pass for {pull.head[:10]}",
    ]


def test_a_model_whose_holds_cannot_be_read_is_reported_and_blocked(yard):
    pull_to(yard, "staging")
    yard.add_version("v2")
    spoil_state(yard.git, f"models/{MODEL}.json")

    told = answer(yard, "status")

    why = "holds and incidents that can be read: modelyard doctor"
    assert set(states(told).values()) == {"verified"}
    assert told["pulls"][0]["waits_for"] == [why]
    (training,) = told["trainings"]
    assert (training["state"], training["message"]) == ("waiting", why)


@pytest.mark.long
def test_a_release_that_goes_back_with_the_production_it_joins_blocks_the_next_one(yard):
    recorded(yard, "v2", 5, champion="v1")
    for number, environment in enumerate(("staging", "canary", "production"), 6):
        promoted(yard, "v2", environment, number)
        watched(yard, environment, verified=environment != "production")
    watched(yard, "production", verdict=Verdict(outcome=Outcome.FAIL, reason="error rate 9 %"))
    pull_to(yard, "canary", "v2", 2)

    (told,) = answer(yard, "status")["pulls"]

    assert told["waits_for"][0] == (
        "canary still has v2, which is rolled back: production: error rate 9 %"
    )


def test_says_whether_aliases_agree_when_the_registry_is_asked(yard, monkeypatch):
    monkeypatch.setattr("modelyard.operations.workspace.Registry", faked_registry(yard))
    aliases = {"dev": "v1", "staging": "v1", "canary": "v0"}
    yard.ledger("registry").put(MODEL, aliases)

    told = answer(yard, "status", "--registry")

    assert {each["environment"]: each["alias"] for each in told["releases"]} == {
        "dev": {"version": "v1", "agrees": True},
        "staging": {"version": "v1", "agrees": True},
        "canary": {"version": "v0", "agrees": False},
        "production": {"version": None, "agrees": False},
    }
    assert [
        line.split(" verified ")[1] for line in run(yard, "status", "--registry").lines[2:]
    ] == [
        "2026-03-01 12:00:30 agrees",
        "2026-03-01 12:01:30 agrees",
        "2026-03-01 12:02:30 points at v0: modelyard reconcile",
        "2026-03-01 12:03:30 points at nothing: modelyard reconcile",
    ]


def test_a_person_reads_one_table(yard):
    assert run(yard, "status").lines == [
        f"Releases as of {yard.main()[:10]}",
        "model environment version artifact state since",
        *(
            f"m {environment} v1 {artifact_of('v1')[7:19]} verified 2026-03-01 12:0{minute}:30"
            for minute, environment in enumerate(("dev", "staging", "canary", "production"))
        ),
    ]


def test_text_from_outside_drives_no_terminal(yard):
    hold = Hold(reason="\x1b[31mred[/] [bold]", by="Mallory", since=yard.clock.now())
    yard.workspace().facts.update_model(MODEL, lambda _: ModelFacts(holds={"v2": hold}))

    said = run(yard, "status")

    assert "\x1b" not in said.out
    assert (
        said.lines[-1] == "m v2 Mallory 2026-03-01 12:04:00 [31mred[/] [bold] modelyard unhold m v2"
    )


def test_a_model_that_is_not_there_is_an_error_that_names_those_that_are(yard):
    said = run(yard, "status", "nobody")

    assert (said.code, said.out) == (1, "")
    assert said.err == (
        "error: the main branch has no valid models/nobody/model.yaml; it has m\n"
        "hint: merge the pull request that adds it, if there is one, or modelyard validate\n"
    )


@pytest.mark.long
def test_imports_nothing_heavy(yard):
    (yard.folder / "clone" / "modelyard.yaml").write_bytes(
        dump_spec("Repository", yard.workspace().services.repository)
    )
    code = (
        "import sys; from modelyard.cli import main; code = main(['status']); "
        f"print([name for name in {HEAVY} if name in sys.modules], code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=yard.folder / "clone",
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.splitlines()[-1] == "[] 0"
