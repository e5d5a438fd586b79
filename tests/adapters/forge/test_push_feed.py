"""The feed of Gitea, read in parts, while it grows, and with pages that fail."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from json_answers import answer_json
from modelyard.adapters.forge.gitea.dialect import GiteaDialect
from modelyard.adapters.forge.gitea.pushes import PushFeed, brought
from modelyard.adapters.forge.hosted.api import Answered, ForgeApi

BEGIN = datetime(2026, 11, 1, tzinfo=UTC)
STATE = "modelyard/state"
TOKEN = "x"


def push(number, who, branch, commits, *, seconds, among=None):
    content = {
        "Commits": [{"Sha1": each} for each in commits],
        "HeadCommit": {"Sha1": commits[0]},
        "Len": among or len(commits),
    }
    return {
        "id": number,
        "op_type": "commit_repo",
        "ref_name": f"refs/heads/{branch}",
        "created": (BEGIN + timedelta(seconds=seconds)).isoformat(),
        "act_user": {"id": who, "login": f"u{who}"},
        "content": json.dumps(content),
    }


def facts(first, last, *, begin=0, every=1):
    """Pushes of facts by the tool."""
    return [
        push(each, 9, STATE, [f"s{each}"], seconds=begin + every * (each - first))
        for each in range(first, last)
    ]


class Feed(ThreadingHTTPServer):
    """Gitea's feed: newest first, in pages, one of which may fail once."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Page)
        self.rows: list[dict] = []
        self.fails: int | None = None
        self.asked = 0


class _Page(BaseHTTPRequestHandler):
    server: Feed

    def do_GET(self) -> None:
        asked = parse_qs(urlsplit(self.path).query)
        page, size = int(asked.get("page", ["1"])[0]), int(asked["limit"][0])
        self.server.asked += 1
        if page == self.server.fails:
            self.server.fails = None
            answer_json(self, 403, {"message": "not now"})
        else:
            rows = sorted(self.server.rows, key=lambda row: (row["created"], row["id"]))[::-1]
            answer_json(self, 200, rows[(page - 1) * size : page * size])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def feed():
    with Feed() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def dialect(feed):
    api = ForgeApi(url=f"http://127.0.0.1:{feed.server_port}", auth=TOKEN, page_word="limit")
    return GiteaDialect(api=api, repository="a/b", web="http://x")


def who(dialect, head="c2", commits=()):
    return {str(each) for each in dialect.pushers("topic", head, commits=commits) or ()}


@pytest.mark.parametrize("page", [1, 2, 3])
def test_a_page_that_fails_at_first_hides_nobody_later(feed, page):
    feed.rows = [push(1, 2, "topic", ["c1"], seconds=1), *facts(2, 140)]
    feed.rows.append(push(140, 3, "topic", ["c2"], seconds=140))
    asked = dialect(feed)
    feed.fails = page

    with pytest.raises(Answered):
        who(asked)

    assert who(asked) == {"u2", "u3"}


@pytest.mark.parametrize("page", [1, 2, 3])
def test_a_page_of_what_is_new_that_fails_leaves_no_gap(feed, page):
    feed.rows = facts(1, 2)
    asked = dialect(feed)
    assert who(asked) == set()
    feed.rows += [push(2, 2, "topic", ["c1"], seconds=100)]
    feed.rows += [*facts(3, 140, begin=105, every=5), push(140, 3, "topic", ["c2"], seconds=1000)]
    feed.fails = page

    with pytest.raises(Answered):
        who(asked)

    assert who(asked) == {"u2", "u3"}


@pytest.mark.parametrize("page", [2, 3])
def test_a_page_of_what_is_older_that_fails_hides_nobody_later(feed, page):
    feed.rows = [push(1, 2, "topic", ["c1"], seconds=1), *facts(2, 140)]
    feed.rows.append(push(140, 3, "topic", ["c2"], seconds=140))
    asked = dialect(feed)
    assert who(asked, commits=["c2"]) == {"u3"}
    feed.fails = page

    with pytest.raises(Answered):
        who(asked)

    assert who(asked) == {"u2", "u3"}


@pytest.mark.parametrize("new", [1, 49, 50, 51, 100])
def test_what_is_pushed_between_two_readings_hides_nobody_who_pushed_before(feed, new):
    feed.rows = [push(1, 2, "topic", ["c1"], seconds=1), *facts(2, 140)]
    feed.rows.append(push(140, 3, "topic", ["c2"], seconds=140))
    asked = dialect(feed)
    assert who(asked, commits=["c2"]) == {"u3"}
    feed.rows += facts(141, 141 + new, begin=141)

    assert who(asked) == {"u2", "u3"}


def test_a_new_branch_in_a_long_history_is_known_by_the_five_commits_that_are_listed(feed):
    listed = [f"c{each}" for each in range(5)]
    feed.rows = [*facts(1, 140), push(140, 9, "topic", listed, seconds=140, among=10)]
    asked = dialect(feed)

    assert who(asked, "c0", ["c0", "c1"]) == {"u9"}
    assert feed.asked == 1


@pytest.mark.parametrize("lacks", ["c5", "c9"])
def test_commits_that_a_list_leaves_out_are_looked_for_further_back(feed, lacks):
    listed = [f"c{each}" for each in range(5)]
    feed.rows = [push(1, 2, "topic", [lacks], seconds=1), *facts(2, 140)]
    feed.rows.append(push(140, 9, "topic", listed, seconds=140, among=10))

    assert who(dialect(feed), "c0", ["c0", lacks]) == {"u2", "u9"}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"Commits": null}', '{"Commits": [{}]}'])
def test_an_entry_that_cannot_be_read_ends_no_reading(feed, content):
    feed.rows = [push(1, 2, "topic", ["c1"], seconds=1), *facts(2, 60)]
    feed.rows.append(push(60, 9, "topic", ["c2"], seconds=60) | {"content": content})
    api = dialect(feed).api

    def is_enough(found):
        return brought(found, "c2", ["c2"])

    found = PushFeed(api=api, place="/repos/a/b").read("topic", is_enough=is_enough)

    assert [each.head for each in found] == [None, "c1"]
