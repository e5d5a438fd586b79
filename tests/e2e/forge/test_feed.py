"""What it costs to know who pushed, in a repository whose feed is long."""

from __future__ import annotations

import sqlite3

import pytest

from contract.stages import BOT, gitea_stage, settled
from contract.test_pull_requests import change
from modelyard.adapters.forge.hosted.api import ForgeApi

FACTS = 400
PAGE = 50


@pytest.fixture
def stage(gitea_forge, tmp_path, monkeypatch):
    monkeypatch.setenv("MODELYARD_FORGE_TOKEN", gitea_forge.token(BOT))
    # Of a new branch the feed names ten commits, as in any repository that is used, and lists five.
    return gitea_stage(gitea_forge, tmp_path, commits=12)


def lengthen(site, stage, rows):
    """Put pushes of facts into the feed, older than all that is in it: each takes seconds."""
    feed = f"/repos/{stage.repository.forge_repository}/activities/feeds"
    # An entry is there once for everybody who may see it, and the feed shows one of them.
    shown = stage.pulls.api.get(feed)
    last = next(row["id"] for row in shown if row["op_type"] == "commit_repo")
    base = sqlite3.connect(site.gitea.folder / "gitea.db", timeout=30)
    with base:
        names = (
            "user_id, op_type, act_user_id, repo_id, comment_id, is_deleted, is_private, content"
        )
        base.executemany(
            f"INSERT INTO action ({names}, ref_name, created_unix) "  # noqa: S608 - our own words
            f"SELECT {names}, 'refs/heads/modelyard/state', created_unix - 3600 - ? FROM action "
            "WHERE id = ?",
            [(each, last) for each in range(rows)],
        )
    base.close()


def feeds(stage):
    """How many requests were made for the feed since the last time."""
    made = [path for path in ASKED if "/activities/feeds" in path]
    ASKED.clear()
    return len(made)


ASKED: list[str] = []


@pytest.fixture(autouse=True)
def asked(monkeypatch):
    real = ForgeApi._request

    def request(self, method, path, **more):
        ASKED.append(path)
        return real(self, method, path, **more)

    monkeypatch.setattr(ForgeApi, "_request", request)
    ASKED.clear()


def test_a_long_feed_costs_one_request_for_a_pull_request_of_the_tool(stage, gitea_forge):
    pull = stage.pulls.propose(change())
    settled(stage, pull)
    lengthen(gitea_forge, stage, FACTS)
    feeds(stage)

    pulls = stage.again()
    assert pulls.get(pull.number).unmapped == ()
    assert feeds(stage) == 1
    assert pulls.get(pull.number).unmapped == ()
    assert feeds(stage) == 1


def test_whoever_pushed_to_a_persons_branch_is_found_once_in_the_whole_feed(stage, gitea_forge):
    stage.push("topic", {"docs/a.md": b"1\n"}, "ann")
    head = stage.push("topic", {"docs/b.md": b"1\n"}, "bob")
    number = stage.open("topic", "bob")
    settled(stage, stage.pulls.get(number))
    lengthen(gitea_forge, stage, FACTS)
    feeds(stage)

    pulls = stage.again()
    pull = pulls.get(number)
    assert (pull.head, pull.unmapped) == (head, ())
    assert {str(each) for each in pull.contributors} == {"ann"}  # bob is its author
    assert FACTS / PAGE <= feeds(stage) <= FACTS / PAGE + 3
    pulls.get(number)
    assert feeds(stage) == 1


def test_a_push_that_comes_later_is_read_too(stage, gitea_forge):
    stage.push("topic", {"docs/a.md": b"1\n"}, "ann")
    number = stage.open("topic", "ann")
    pulls = stage.again()
    settled(stage, pulls.get(number))
    pulls.get(number)
    stage.push("topic", {"docs/b.md": b"1\n"}, "bob")
    settled(stage, stage.again().get(number))

    assert {str(each) for each in pulls.get(number).contributors} == {"bob"}
