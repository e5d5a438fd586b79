from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import httpx
import pytest

from modelyard.errors import CannotAnswer
from modelyard.operations.site.pages import SiteWritten
from modelyard.operations.watch import pages as watch_pages
from modelyard.operations.watch.pages import LivePages, _app
from operations.yard import MODEL
from operations.yard_with_history import in_production

AT_REST = SiteWritten(models=1, renewed=1, is_judging=False)


@pytest.fixture
def pages(tmp_path):
    yard = in_production(tmp_path / "yard")
    served = LivePages(yard.workspace(), "127.0.0.1", 0)
    yield yard, served
    served.server.stop()


def wait_for(address, *, seconds=30.0):
    """The page at an address, once it is there."""
    deadline = time.monotonic() + seconds
    while (page := httpx.get(address)).status_code != 200 and time.monotonic() < deadline:
        time.sleep(0.05)
    return page


@pytest.mark.long
def test_the_pages_are_served_as_things_are_and_changed_by_nobody(pages):
    yard, served = pages
    address = f"http://127.0.0.1:{served.server.port}"
    assert httpx.get(f"{address}/").status_code == 404  # before the first pass

    served.refresh({"refs/heads/main": "1"})
    page = wait_for(f"{address}/")
    yard.add_version("v2")
    served.refresh({"refs/heads/main": "1"})
    before = httpx.get(f"{address}/models/{MODEL}/versions/v2.html")
    served.refresh({"refs/heads/main": "2"})
    after = wait_for(f"{address}/models/{MODEL}/versions/v2.html")

    assert (page.status_code, before.status_code, after.status_code) == (200, 404, 200)
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["content-security-policy"].startswith("default-src 'none'; ")
    assert page.headers["content-security-policy"].endswith("frame-ancestors 'none'")
    assert httpx.post(f"{address}/").status_code == 405
    outside = httpx.get(f"{address}/%2e%2e/facts")
    assert outside.status_code == 404


@pytest.fixture
def empty(tmp_path):
    """Pages of which nothing is read."""
    services = SimpleNamespace(root=tmp_path, repository=SimpleNamespace(state="state"))
    served = LivePages(SimpleNamespace(services=services), "127.0.0.1", 0)
    yield served
    served.server.stop()


def test_a_watcher_does_not_wait_for_its_pages(empty, monkeypatch):
    begun, ended = threading.Event(), threading.Event()
    written = []

    def slow(*_):
        written.append(empty._refs)
        begun.set()
        ended.wait(30)
        return AT_REST

    monkeypatch.setattr(watch_pages, "write_site", slow)
    empty.refresh({"main": "1"})
    assert begun.wait(30)
    empty.refresh({"main": "2"})
    empty.refresh({"main": "3"})
    assert written == [{"main": "1"}]
    begun.clear()
    ended.set()

    assert begun.wait(30)
    assert written == [{"main": "1"}, {"main": "3"}]


def test_pages_that_cannot_be_written_are_tried_again_after_a_pause(empty, monkeypatch, caplog):
    tried = []
    paused, again = threading.Event(), threading.Event()

    def failing(*_):
        tried.append(1)
        raise CannotAnswer("the disk is full")

    def pause(_):
        paused.set()
        again.wait(30)
        again.clear()

    monkeypatch.setattr(watch_pages, "write_site", failing)
    monkeypatch.setattr(watch_pages, "time", SimpleNamespace(sleep=pause))
    empty.refresh({"main": "1"})
    assert paused.wait(30)
    empty.refresh({"main": "2"})
    assert tried == [1]
    paused.clear()
    again.set()

    assert paused.wait(30)
    assert tried == [1, 1]
    assert "the pages stay as they are: the disk is full" in caplog.text
    monkeypatch.setattr(watch_pages, "write_site", lambda *_: AT_REST)
    again.set()


def test_pages_of_what_is_judged_are_written_again_though_nothing_moves(empty, monkeypatch):
    left = [replace(AT_REST, is_judging=True)] * 2 + [AT_REST]
    rested = threading.Event()

    def judging(*_):
        if len(left) == 1:
            rested.set()
        return left.pop(0)

    monkeypatch.setattr(watch_pages, "write_site", judging)
    monkeypatch.setattr(watch_pages, "JUDGED_SECONDS", 0.01)
    empty.refresh({"main": "1"})

    assert rested.wait(30)


@pytest.mark.parametrize("listening", ["127.0.0.1", "127.0.0.2", "::", "yard.example"])
def test_a_site_with_this_machine_as_its_address_is_told_nothing(tmp_path, listening):
    (tmp_path / "index.html").write_text("of the team")
    transport = httpx.ASGITransport(app=_app(tmp_path, listening))

    async def codes(*hosts):
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            answers = [await client.get("/", headers={"Host": host}) for host in hosts]
        return {answer.status_code for answer in answers}

    def asked(*hosts):
        return asyncio.run(codes(*hosts))

    assert asked("evil.example:8700", "127.0.0.1.evil.example", "2130706433", "[") == {400}
    assert asked("127.0.0.1:8700", "[::1]:8700", "10.0.0.7", "LOCALHOST:8700") == {200}
    assert asked("yard.example:8700") == {200 if listening == "yard.example" else 400}
