"""`modelyard hold` and its like, typed by a person: the tool does it in a workflow they start."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from contract.stages import BOT, HostedStage
from contract.test_merged_on_a_page import rules
from fakes.github import FakeGitHub, cut_off, forbidden, not_found, primary_limit
from modelyard.adapters.clock import SystemClock
from modelyard.adapters.facts.store import FactStore
from modelyard.adapters.forge.hosted import api as hosted_api
from modelyard.adapters.git.repository import Git
from modelyard.cli import cli
from modelyard.domain.promotion.facts import Hold
from modelyard.operations.chatops import follow

ROOT = Path(__file__).parents[2]
CHATOPS = ".github/workflows/chatops.yml"
DRIFT = ".github/workflows/drift.yml"
TRIGGERED = "on:\n  workflow_dispatch:\n    inputs:\n      command:\n"
HOLD = ("hold", "wine", "v1", "--reason", "$(id) `x`")
VERSION = "models/wine/versions/v1.yaml"
MODELS = [f"models/{name}/model.yaml" for name in ("flight-delay", "wine")]


@dataclass
class Forge:
    """A forge with a workflow of commands, whose jobs run whenever somebody waits for them."""

    stage: HostedStage
    fake: FakeGitHub
    patch: pytest.MonkeyPatch
    said: list[tuple[str, int, str]]

    def type(self, who: str, *words: str) -> tuple[int, str, str]:
        """What a person with a token of their own sees."""
        self.patch.setenv("MODELYARD_FORGE_TOKEN", self.stage.tokens[who])
        self.patch.setattr(follow, "sleep", lambda _: self.run_jobs())
        done = CliRunner(env={"COLUMNS": "300"}).invoke(
            cli, ["--debug", "--root", str(self.stage.git.root), *words]
        )
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, done.stdout, done.stderr

    def run_jobs(self) -> None:
        """Do what the workflow does, with the tool's own token, and end its run."""
        event = next(e for e in reversed(self.fake.events) if e.name == "workflow_dispatch")
        run = list(self.fake.repository.runs.values())[-1]
        codes = [self.job(word, event.payload, run["id"]) for word in ("ack", "act")]
        run |= {"status": "completed", "conclusion": "failure" if any(codes) else "success"}

    def job(self, word: str, payload: Any, run: int) -> int:
        """One step of the workflow; `act` is skipped after a refusal."""
        file = self.stage.folder / "event.json"
        file.write_text(json.dumps(payload))
        if word == "act" and self.said and self.said[-1][1]:
            return 0
        env = {"MODELYARD_FORGE_TOKEN": self.stage.tokens[BOT], "GITHUB_EVENT_PATH": str(file)}
        words = ["--root", str(self.stage.git.root), "chatops", word, "--run", str(run)]
        done = CliRunner(env=env).invoke(cli, words)
        self.said.append((word, done.exit_code, done.output))
        return done.exit_code

    @property
    def facts(self) -> FactStore:
        return FactStore(self.stage.git, self.stage.repository, SystemClock())

    def start(self, who: str, line: str, *, branch: str = "main", sender: str = "") -> int:
        """Start the workflow by hand; returns how its first job ends."""
        body = {"ref": branch, "inputs": {"command": line}}
        self.stage.ask("POST", "/actions/workflows/chatops.yml/dispatches", body, who)
        event = next(e for e in reversed(self.fake.events) if e.name == "workflow_dispatch")
        if sender:
            event.payload["sender"] = self.fake.shapes.user(self.fake.user(sender))
        return self.job("ack", event.payload, list(self.fake.repository.runs)[-1])


@pytest.fixture
def forge(stage, fake_github, monkeypatch):
    text = {path: content.decode() for path, content in rules(needed=0).items()}
    fake_github.seed({CHATOPS: TRIGGERED, VERSION: "unreadable, and held all the same\n", **text})
    stage.write_settings()
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    return Forge(stage=stage, fake=fake_github, patch=monkeypatch, said=[])


def test_a_hold_is_done_by_the_workflow_in_the_name_of_who_typed_it(forge):
    code, out, err = forge.type("bob", *HOLD)

    assert (code, out.splitlines()[-1]) == (0, "wine v1 is on hold: $(id) `x`"), err
    assert "/actions/runs/" in out.splitlines()[0]
    hold = forge.facts.read_model("wine").holds["v1"]
    assert (hold.by, hold.reason) == ("bob", "$(id) `x`")
    line = next(line for line in forge.facts.read_audit("wine") if line.command)
    assert (line.who, line.command, line.reason, line.version) == ("bob", "/hold", "done", "v1")
    assert line.pull is None

    # Its event arrives again: a job that is started again does nothing twice.
    event, run = forge.fake.events, list(forge.fake.repository.runs)[-1]
    again = next(e for e in reversed(event) if e.name == "workflow_dispatch")
    assert forge.job("ack", again.payload, run) == 3
    assert "already_done" in forge.said[-1][2]


@pytest.mark.long
def test_what_the_rules_refuse_is_a_no_with_its_reason(forge):
    code, _, err = forge.type("bob", "unfreeze", "production")
    assert (code, "production is not frozen" in err) == (3, True), err

    code, _, err = forge.type("bob", "freeze", "lab", "--until", "2030-01-01T00:00Z",
                              "--reason", "audit")  # fmt: skip
    assert (code, "there is no environment lab" in err) == (3, True), err
    assert "unknown_environment" in err

    code, _, err = forge.type("bob", "rollback", "production", "cider", "--reason", "bad")
    assert (code, "cider" in err) == (1, True), err


def test_a_freeze_needs_an_end_and_a_name_is_that_of_the_token(forge):
    code, _, err = forge.type("bob", "freeze", "production", "--reason", "audit")
    assert (code, "--until" in err) == (2, True)
    code, _, err = forge.type("bob", *HOLD, "--as", "ann")
    assert (code, "here you are bob" in err) == (3, True)
    code, _, err = forge.type("bob", "hold", "Wine", "v1", "--reason", "<b>no</b>")
    assert (code, "'Wine' is no name of a model" in err, "reason" in err) == (3, True, False)
    assert not forge.fake.repository.runs


def test_who_may_not_start_it_is_told_what_is_needed_and_the_comment_to_write(forge):
    code, _, err = forge.type("rex", *HOLD)

    assert code == 1
    assert "chatops.yml is not started for rex" in err
    assert "comment on a pull request of wine: /hold $(id) `x`" in err
    assert "v1" not in forge.facts.read_model("wine").holds


def test_who_asks_a_forge_needs_no_name_in_git(forge):
    hold = Hold(reason="bad", by="ann", since=SystemClock().now())
    forge.facts.update_model("wine", lambda facts: replace(facts, holds={"v1": hold}))
    forge.patch.setattr(Git, "user_name", lambda _: None)
    code, _, err = forge.type("rex", "unhold", "wine", "v1")
    assert (code, "chatops.yml is not started for rex" in err) == (1, True), err


@pytest.mark.parametrize(
    ("who", "line", "branch", "sender", "reason"),
    [
        ("bob", "/hold wine v1", "main", "", "wrong_usage"),
        ("bob", "/freeze production until 2026-13-01T00:00Z x y z", "main", "", "wrong_usage"),
        ("bob", "/hold wine v1 bad", "main", "ann", "run_unknown"),
        ("bob", "/hold wine v1 bad", "other", "", "run_unknown"),
        ("github-actions[bot]", "/hold wine v1 bad", "main", "", "bot_author"),
    ],
)
def test_a_start_that_is_not_what_it_seems_does_nothing(forge, who, line, branch, sender, reason):
    forge.fake.seed({CHATOPS: TRIGGERED}, branch="other")
    forge.stage.tokens["github-actions[bot]"] = forge.fake.actions_token(actions="write")

    assert forge.start(who, line, branch=branch, sender=sender) == 3
    assert reason in forge.said[-1][2]
    assert not forge.facts.read_model("wine").holds


def test_a_role_that_was_taken_since_and_a_start_by_two_people_allow_nothing(forge):
    fake, run = forge.fake, forge.fake.repository.runs
    assert forge.start("bob", "/hold wine v1 bad") == 0
    payload, number = fake.events[-1].payload, list(run)[-1]
    roles, bob = fake.repository.roles, fake.user("bob").id
    roles[bob] = "read"
    assert forge.job("ack", payload, number) == 3
    assert "role_too_low" in forge.said[-1][2]
    roles[bob] = "write"
    run[number]["triggering_actor"] = fake.shapes.user(fake.user("ann"))
    assert forge.job("ack", payload, number) == 3
    assert "was not started by bob alone" in forge.said[-1][2]
    assert forge.job("ack", payload, 1) == 3
    assert "the forge knows no run 1" in forge.said[-1][2]


@pytest.mark.parametrize(
    "fault", [primary_limit("POST", "/dispatches$", reset_in=1800), forbidden("POST", "/disp")]
)
def test_a_start_that_the_forge_refused_is_told_as_not_started(forge, fault):
    forge.fake.queue(fault)
    code, _, err = forge.type("bob", "rollback", "production", "wine", "--remove",
                              "--reason", "bad")  # fmt: skip
    assert (code, "chatops.yml is not started for bob" in err) == (1, True), err
    assert "comment" not in err  # none removes a release
    assert not forge.fake.repository.runs


def test_a_typed_rollback_uses_the_last_calls_and_any_other_command_says_that_it_may_not(forge):
    ledger = forge.fake.ledger
    ledger.hourly = ledger._used["bob", ledger._hour()] + hosted_api.RESERVE - 100

    forge.type("bob", "rollback", "production", "wine", "--reason", "it is slow")
    assert [word for word, _, _ in forge.said] == ["ack", "act"]
    code, _, err = forge.type("bob", *HOLD)
    assert (code, "chatops.yml is not started for bob" in err) == (1, True), err
    assert "300 are kept for rollbacks" in err
    assert len(forge.fake.repository.runs) == 1


def test_a_lost_answer_starts_nothing_twice(forge):
    forge.fake.queue(cut_off("POST", "/dispatches", after=True))
    code, _, err = forge.type("bob", *HOLD)
    assert (code, "whether chatops.yml was started is not known" in err) == (1, True), err
    assert len(forge.fake.repository.runs) == 1


def test_the_tool_itself_asks_nobody(forge):
    code, out, err = forge.type(BOT, "hold", "wine", "v1", "--reason", "bad", "--as", "ann")
    assert (code, out) == (0, "wine v1 is on hold: bad\n"), err
    assert not forge.fake.repository.runs


def test_with_the_last_calls_of_an_hour_a_rollback_is_done_and_nothing_else(forge):
    ledger = forge.fake.ledger
    ledger.hourly = ledger._used[BOT, ledger._hour()] + hosted_api.RESERVE - 100

    assert forge.start("bob", "/rollback production wine it is slow") == 0, forge.said
    assert forge.start("bob", "/hold wine v1 it is slow") == 1
    assert "limit_reached" in forge.said[-1][2]


def test_who_typed_a_command_is_told_that_the_tool_has_no_calls_left_and_until_when(forge):
    ledger = forge.fake.ledger
    ledger._used[BOT, ledger._hour()] = ledger.hourly - hosted_api.RESERVE + 100

    code, _, err = forge.type("bob", *HOLD)
    assert (code, "300 are kept for rollbacks" in err) == (1, True), err
    assert " left until " in err
    assert "nothing was done: type it again then" in err
    assert not forge.facts.read_model("wine").holds
    (line,) = (line for line in forge.facts.read_audit("wine") if line.command)
    assert line.reason == "limit_reached"


@pytest.mark.long
@pytest.mark.parametrize("path", ["/actions/runs/", "/permission$"])
@pytest.mark.parametrize("command", [HOLD, ("unfreeze", "production")])
def test_a_limit_that_the_tool_meets_is_told_to_who_typed_the_command(forge, path, command):
    answered = forge.run_jobs

    def run_jobs() -> None:
        forge.fake.queue(primary_limit("GET", path, reset_in=1800))
        answered()

    forge.patch.setattr(forge, "run_jobs", run_jobs)
    code, _, err = forge.type("bob", *command)
    assert (code, "the forge's limit is reached until" in err) == (1, True), err
    assert "nothing was done: type it again then" in err


@pytest.fixture
def drift(forge):
    """The forge with a workflow of drift, whose run succeeds, and a model with a feed."""
    forge.fake.seed({DRIFT: TRIGGERED.replace("command", "model")})
    forge.fake.seed({path: (ROOT / path).read_text() for path in MODELS})

    def run_drift() -> None:
        run = list(forge.fake.repository.runs.values())[-1]
        run |= {"status": "completed", "conclusion": "success"}

    forge.patch.setattr(Forge, "run_jobs", lambda _: run_drift())
    return forge


def test_a_retraining_is_started_for_the_model_that_was_named(drift):
    code, out, err = drift.type("bob", "retrain", "flight-delay")
    assert (code, out.splitlines()[-1]) == (0, "drift.yml is done for flight-delay"), err
    assert drift.fake.events[-1].payload["inputs"] == {"model": "flight-delay"}


def test_nothing_is_started_for_a_model_that_is_not_there_or_has_no_feed(drift):
    for model, why in {
        "flight-delai": "flight-delay",
        "--help": "models/--help/model.yaml",
        "wine": "no data.timestamp",
    }.items():
        code, _, err = drift.type("bob", "retrain", "--", model)
        assert (code, why in err) == (1, True), err
    assert not drift.fake.repository.runs


def test_a_workflow_of_before_an_input_was_added_is_named_with_what_to_do(drift):
    drift.fake.seed({DRIFT: "on:\n  workflow_dispatch:\n"})
    code, _, err = drift.type("bob", "retrain", "flight-delay")
    assert (code, "bring .github/workflows/drift.yml of main up to date" in err) == (1, True), err

    drift.fake.queue(not_found("POST", "/dispatches$"))
    code, _, err = drift.type("bob", "retrain", "flight-delay")
    assert (code, ".github/workflows/drift.yml of main must be there" in err) == (1, True), err


def test_a_job_with_the_token_of_another_account_starts_no_further_job(drift):
    drift.patch.setenv("GITHUB_ACTIONS", "true")
    for words in (("retrain", "flight-delay"), HOLD):
        code, _, err = drift.type("bob", *words)
        assert (code, "the credentials are those of bob" in err) == (1, True), err
    assert not drift.fake.repository.runs
