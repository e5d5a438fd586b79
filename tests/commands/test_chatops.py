from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from modelyard.adapters.forge.events import CommentEvent
from modelyard.cli import cli
from modelyard.domain.chatops.commands import Promote
from modelyard.domain.chatops.decide import Decision
from modelyard.domain.chatops.reasons import ReasonCode
from modelyard.operations.chatops import answer
from modelyard.operations.chatops import conversation as built
from modelyard.operations.chatops import sweep as sweeper
from modelyard.operations.chatops.answer import Handled

EVENT = {
    "action": "created",
    "issue": {"number": 12, "pull_request": {}},
    "repository": {"id": 42},
    "comment": {
        "id": 77,
        "body": "/promote staging",
        "user": {"id": 2, "login": "bob", "type": "User"},
        "created_at": "2026-03-01T12:00:00Z",
        "updated_at": "2026-03-01T12:00:00Z",
    },
}


@pytest.fixture
def yard(tmp_path):
    (tmp_path / "modelyard.yaml").write_text("apiVersion: modelyard/v1\nkind: Repository\n")
    (tmp_path / "event.json").write_text(json.dumps(EVENT))
    return tmp_path


def run(yard: Path, word: str, **env: str):
    done = CliRunner(env=env).invoke(cli, ["--root", str(yard), "chatops", word])
    return done.exit_code, done.stdout, done.stderr


def handled(reason: ReasonCode, *, is_accepted: bool = False):
    decision = Decision(is_accepted=is_accepted, reason=reason, sentence="so it is")
    return (Handled(line="/promote", decision=decision, command=Promote(), environment="staging"),)


def test_without_an_event_it_says_what_it_needs(yard):
    code, _, err = run(yard, "ack", GITHUB_EVENT_PATH="")

    assert code == 2
    assert "--event" in err


def test_the_local_forge_has_no_comments_to_command_by(yard):
    code, _, err = run(yard, "act", GITHUB_EVENT_PATH=str(yard / "event.json"))

    assert code == 1
    assert "forge: local has no comments that people command by" in err


def test_an_event_of_something_else_is_done_at_once(yard):
    (yard / "event.json").write_text(json.dumps({**EVENT, "action": "edited"}))

    assert run(yard, "act", GITHUB_EVENT_PATH=str(yard / "event.json")) == (
        0,
        "this event is no new comment on a pull request, and starts no command\n",
        "",
    )


@pytest.mark.parametrize(
    ("found", "group"),
    [
        (handled(ReasonCode.ACCEPTED, is_accepted=True), "staging"),
        (handled(ReasonCode.ROLE_TOO_LOW), ""),
        ((), ""),
    ],
)
def test_ack_names_the_environment_for_the_next_job(yard, monkeypatch, found, group):
    monkeypatch.setattr(built, "conversation_for", lambda services: None)
    monkeypatch.setattr(answer, "acknowledge", lambda *_: found)
    outputs = yard / "outputs"

    code, _, _ = run(
        yard, "ack", GITHUB_EVENT_PATH=str(yard / "event.json"), GITHUB_OUTPUT=str(outputs)
    )

    assert (code, outputs.read_text()) == (0, f"environment={group}\n")


def test_ack_fails_at_the_forge_s_limit_unless_there_is_something_to_do(yard, monkeypatch):
    monkeypatch.setattr(built, "conversation_for", lambda services: None)
    limit = handled(ReasonCode.LIMIT_REACHED)
    event = str(yard / "event.json")

    monkeypatch.setattr(answer, "acknowledge", lambda *_: limit)
    code, _, err = run(yard, "ack", GITHUB_EVENT_PATH=event)
    assert (code, "/promote: so it is" in err) == (1, True)

    both = (*limit, *handled(ReasonCode.ACCEPTED, is_accepted=True))
    monkeypatch.setattr(answer, "acknowledge", lambda *_: both)
    assert run(yard, "ack", GITHUB_EVENT_PATH=event)[0] == 0


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (ReasonCode.DONE, 0),
        (ReasonCode.REFUSED_BY_RULES, 0),
        (ReasonCode.COULD_NOT, 1),
        (ReasonCode.LIMIT_REACHED, 1),
    ],
)
def test_act_fails_only_where_something_was_broken(yard, monkeypatch, reason, code):
    monkeypatch.setattr(built, "conversation_for", lambda services: None)
    monkeypatch.setattr(answer, "act", lambda *_: handled(reason))

    found = run(yard, "act", GITHUB_EVENT_PATH=str(yard / "event.json"))

    assert found[:2] == (code, f"/promote: {reason}: so it is\n")


@pytest.mark.parametrize("found", [(), handled(ReasonCode.DONE)])
def test_the_sweeper_says_what_it_did(yard, monkeypatch, found):
    event = CommentEvent(repository="42", number=12, comment=None)
    monkeypatch.setattr(built, "conversation_for", lambda services: None)
    monkeypatch.setattr(sweeper, "sweep", lambda *_: [(event, found)] if found else [])

    code, out, _ = run(yard, "sweep")

    said = (
        "#12: /promote: done: so it is" if found else "every command of the last day has its answer"
    )
    assert (code, out) == (0, f"{said}\n")
