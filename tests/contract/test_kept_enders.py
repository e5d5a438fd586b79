"""Who merged or closed a pull request is asked once, by all processes of a checkout together."""

from __future__ import annotations

from datetime import timedelta

import pytest

from contract.test_pull_requests import change, ready
from modelyard.adapters.forge.github.dialect import GitHubDialect
from modelyard.adapters.forge.hosted import enders
from modelyard.domain.promotion.pulls import PullState

FILE = "ended-pulls-1.json"


@pytest.fixture
def ended(stage, monkeypatch):
    """One that the tool merged, and one that ann closed."""
    monkeypatch.setattr(enders, "SETTLED", timedelta(days=-1))
    merged = stage.pulls.propose(change())
    ready(stage, merged)
    stage.pulls.merge(merged.number, sha=merged.head)
    closed = stage.pulls.propose(change(text="version: v3\n"))
    stage.ask("PATCH", f"/pulls/{closed.number}", {"state": "closed"}, "ann")
    return merged.number, closed.number


def who_ended(stage):
    found = stage.again().closed()
    return {each.number: (str(each.closed_by), each.by_hand) for each in found}


def asked(fake, *numbers):
    """How many of them the forge was asked for since the last time."""
    paths = [each.path for each in fake.ledger.log if each.method == "GET"]
    fake.ledger.log.clear()
    return sum(any(path.endswith(f"/{number}") for path in paths) for number in numbers)


def test_the_next_process_knows_it(stage, fake_github, ended):
    merged, closed = ended
    asked(fake_github)
    first = who_ended(stage)

    assert first == {merged: ("yard-bot", False), closed: ("ann", False)}
    assert asked(fake_github, merged, closed) == 2
    assert who_ended(stage) == first
    assert asked(fake_github, merged, closed) == 0


def test_a_list_of_all_asks_for_none_of_them(stage, fake_github, ended):
    """It does not show who ended them, and a repository of years has thousands."""
    asked(fake_github)

    listed = stage.desk.list(every=True)

    assert [each.number for each in listed] == sorted(ended)
    assert [str(each.state) for each in listed] == ["merged", "closed"]
    assert asked(fake_github, *ended) == 0


@pytest.mark.long
@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"[]", b'{"repository": "another", "enders": []}', b'{"enders": 1}', b"\xff"],
)
def test_a_file_that_says_nothing_costs_requests_and_nothing_else(
    stage, fake_github, ended, damage
):
    first = who_ended(stage)
    (stage.git.kept_folder / FILE).write_bytes(damage)
    asked(fake_github)

    assert who_ended(stage) == first
    assert asked(fake_github, *ended) == 2


@pytest.mark.long
def test_what_changed_since_is_asked_again(stage, fake_github, ended):
    _, closed = ended
    who_ended(stage)
    fake_github.clock.advance(10)
    stage.ask("PATCH", f"/pulls/{closed}", {"state": "open"}, "ann")
    stage.ask("PATCH", f"/pulls/{closed}", {"state": "closed"}, "bob")

    assert who_ended(stage)[closed] == ("bob", False)
    assert next(e for e in stage.again().closed() if e.number == closed).state is PullState.CLOSED


@pytest.mark.long
def test_whoever_the_forge_does_not_name_yet_is_asked_for_by_the_next_process(
    stage, fake_github, ended, monkeypatch
):
    _, closed = ended
    with monkeypatch.context() as patch:
        patch.setattr(GitHubDialect, "closer", lambda *_: None)
        assert next(e for e in stage.again().closed() if e.number == closed).closed_by is None

    assert who_ended(stage)[closed] == ("ann", False)
