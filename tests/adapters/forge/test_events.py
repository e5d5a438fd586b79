from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from modelyard.adapters.forge.events import CommentEvent, read_comment_event
from modelyard.domain.chatops.request import Comment
from modelyard.domain.people import Person
from modelyard.errors import CannotAnswer

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
BOB = Person(login="bob", id="2")
EVENT = {
    "action": "created",
    "issue": {"number": 12, "pull_request": {"url": "x"}},
    "repository": {"id": 42},
    "comment": {
        "id": 77,
        "body": "/why",
        "user": {"id": 2, "login": "bob", "type": "User"},
        "created_at": "2026-03-01T12:00:00Z",
        "updated_at": "2026-03-01T12:00:00Z",
    },
}


def write(tmp_path, event):
    file = tmp_path / "event.json"
    file.write_text(event if isinstance(event, str) else json.dumps(event))
    return file


def test_reads_the_event_of_a_comment(tmp_path):
    found = read_comment_event(write(tmp_path, EVENT))

    assert found == CommentEvent(
        repository="42",
        number=12,
        comment=Comment(
            id="77", author=BOB, is_bot=False, body="/why", created_at=AT, updated_at=AT
        ),
    )


@pytest.mark.parametrize(
    "change",
    [
        {"action": "edited"},
        {"action": "deleted"},
        {"issue": {"number": 12}},
        {"comment": None, "action": "opened"},
    ],
)
def test_an_event_of_something_else_is_none(tmp_path, change):
    assert read_comment_event(write(tmp_path, {**EVENT, **change})) is None


@pytest.mark.parametrize(
    "user",
    [
        {"id": 2, "login": "ci", "type": "Bot"},
        {"id": 2, "login": "ci[bot]", "type": "User"},
        {"id": -2, "login": "gitea-actions"},
    ],
)
def test_a_program_is_told_from_a_person(tmp_path, user):
    event = {**EVENT, "comment": {**EVENT["comment"], "user": user}}

    found = read_comment_event(write(tmp_path, event))

    assert found is not None
    assert found.comment.is_bot


@pytest.mark.parametrize(
    "event",
    [
        "",
        "no json",
        "[]",
        "[" * 100_000,
        {**EVENT, "repository": {}},
        {**EVENT, "issue": {"number": "x", "pull_request": {}, "is_pull": True}},
        {**EVENT, "comment": {**EVENT["comment"], "body": None}},
        {**EVENT, "comment": {**EVENT["comment"], "created_at": "yesterday"}},
        {**EVENT, "comment": {**EVENT["comment"], "user": None}},
    ],
)
def test_an_event_that_is_none_could_not_be_answered(tmp_path, event):
    if isinstance(event, dict):
        event = {**event, "is_pull": True}

    with pytest.raises(CannotAnswer, match=r"event\.json"):
        read_comment_event(write(tmp_path, event))
