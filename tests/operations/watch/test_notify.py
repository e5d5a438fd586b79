from __future__ import annotations

import contextvars
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import apprise
import pytest

from modelyard.adapters.git.remote_refs import one_snapshot
from modelyard.adapters.messages import ADDRESSES, send_message
from modelyard.domain.promotion.notifications import Kind
from modelyard.operations.watch import notify as notifying
from modelyard.operations.watch.notify import pending_notifications
from operations.yard import MODEL, PATH, contested_yard


class Inbox(ThreadingHTTPServer):
    """Takes what Apprise posts, or refuses it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Taken)
        self.mail: list[dict[str, str]] = []
        self.status = 200

    @property
    def address(self) -> str:
        return f"json://127.0.0.1:{self.server_port}"


class _Taken(BaseHTTPRequestHandler):
    server: Inbox

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.status == 200:
            self.server.mail.append(json.loads(body))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def inbox(monkeypatch) -> Iterator[Inbox]:
    with Inbox() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv(ADDRESSES, server.address)
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def rolled_back(tmp_path_factory):
    """v2 was taken out of canary; nobody was told of it."""
    yard = contested_yard(tmp_path_factory.mktemp("start") / "yard", PATH)
    yard.put("v2", "dev", "staging")
    yard.put("v2", "canary", is_verified=False)
    yard.broken.add("v2")
    yard.rest()
    yard.workspace().facts.update_model(MODEL, lambda facts: replace(facts, told=()))
    return yard


@pytest.fixture
def yard(rolled_back, tmp_path):
    return rolled_back.copy(tmp_path / "yard")


def notify(workspace, model, on_notified):
    return notifying.notify(workspace, pending_notifications(workspace, model), on_notified)


@pytest.mark.long
def test_a_rollback_is_told_once_with_its_reason(yard, inbox):
    sent = []

    assert notify(yard.workspace(), MODEL, sent.append)
    assert not notify(yard.workspace(), MODEL, sent.append)

    assert {notice.kind for notice in sent} >= {Kind.ROLLBACK, Kind.HOLD}
    titles = [mail["title"] for mail in inbox.mail]
    assert len(titles) == len(sent)
    assert f"Roll {MODEL} in canary back from v2 to v1" in titles
    assert any("error rate" in mail["message"] for mail in inbox.mail)


def test_what_nobody_took_is_sent_in_the_next_pass(yard, inbox):
    sent = []
    inbox.status = 500

    assert not notify(yard.workspace(), MODEL, sent.append)
    assert sent == []

    inbox.status = 200
    assert notify(yard.workspace(), MODEL, sent.append)
    assert len(inbox.mail) == len(sent) > 0


def test_whoever_took_it_is_not_told_again_because_another_address_is_broken(inbox, monkeypatch):
    monkeypatch.setenv(ADDRESSES, f"{inbox.address} nonsense")

    assert not send_message("Rolled back", "body")
    assert not send_message("Rolled back", "body")
    assert len(inbox.mail) == 1

    monkeypatch.setenv(ADDRESSES, inbox.address)
    assert send_message("Rolled back", "body")
    assert len(inbox.mail) == 1


def test_with_nobody_to_tell_it_counts_as_told(yard, monkeypatch):
    monkeypatch.delenv(ADDRESSES, raising=False)
    sent = []

    assert notify(yard.workspace(), MODEL, sent.append)
    assert not notify(yard.workspace(), MODEL, sent.append)
    assert sent


def test_news_that_cannot_be_told_keep_no_other_from_being_told(yard, inbox, monkeypatch):
    def send_but_the_first(title, body):
        if not tried:
            tried.append(title)
            raise ConnectionError(title)
        return send_message(title, body)

    tried = []
    sent = []
    monkeypatch.setattr(notifying, "send_message", send_but_the_first)
    news = [notice.title for notice in pending_notifications(yard.workspace(), MODEL)]

    with pytest.raises(ConnectionError, match=news[0]):
        notify(yard.workspace(), MODEL, sent.append)

    assert [mail["title"] for mail in inbox.mail] == news[1:] != []
    assert [notice.title for notice in sent] == news[1:]
    assert [notice.title for notice in pending_notifications(yard.workspace(), MODEL)] == news[:1]


def test_an_address_that_crashes_keeps_no_other_from_being_told(inbox, monkeypatch, caplog):
    monkeypatch.setenv(ADDRESSES, f"crash://secret-token {inbox.address}")
    add = apprise.Apprise.add

    def add_or_crash(people, address):
        if address.startswith("crash"):
            raise ValueError(address)
        return add(people, address)

    monkeypatch.setattr(apprise.Apprise, "add", add_or_crash)

    assert not send_message("Rolled back", "body")
    assert not send_message("Rolled back", "body")

    assert [mail["title"] for mail in inbox.mail] == ["Rolled back"]
    assert "secret-token" not in caplog.text


@pytest.mark.parametrize("address", ["nonsense", "nosuchservice://secret-token@host"])
def test_an_address_that_cannot_be_read_is_no_success_and_stays_out_of_the_log(
    address, monkeypatch, caplog
):
    monkeypatch.setenv(ADDRESSES, address)

    assert not send_message("title", "body")
    assert "title" in caplog.text
    assert "secret-token" not in caplog.text


def test_news_are_told_once_also_where_others_write_facts_all_the_time(yard, inbox, monkeypatch):
    def send_while_others_write(title, body):
        other = yard.workspace()
        note = partial(other.facts.update_model, "another", _told_of(title))
        contextvars.Context().run(note)  # its snapshot is its own
        return send_message(title, body)

    monkeypatch.setattr(notifying, "send_message", send_while_others_write)

    with one_snapshot():
        news = pending_notifications(yard.workspace(), MODEL)
        assert len(news) > 1
        assert notifying.notify(yard.workspace(), news, lambda _: None)

    assert pending_notifications(yard.workspace(), MODEL) == ()
    assert len(inbox.mail) == len(news)


def _told_of(title):
    return lambda facts: replace(facts, told=(*facts.told, title))
