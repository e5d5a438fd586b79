from __future__ import annotations

import httpx
import pytest

from modelyard.operations.watch.pages import LivePages
from operations.yard import MODEL
from operations.yard_with_history import in_production


@pytest.fixture
def pages(tmp_path):
    yard = in_production(tmp_path / "yard")
    served = LivePages(yard.workspace(), "127.0.0.1", 0)
    yield yard, served
    served.server.stop()


def test_the_pages_are_served_as_things_are_and_changed_by_nobody(pages):
    yard, served = pages
    address = f"http://127.0.0.1:{served.server.port}"
    assert httpx.get(f"{address}/").status_code == 404  # before the first pass

    served.refresh({"refs/heads/main": "1"})
    page = httpx.get(f"{address}/")
    yard.add_version("v2")
    served.refresh({"refs/heads/main": "1"})
    before = httpx.get(f"{address}/models/{MODEL}/versions/v2.html")
    served.refresh({"refs/heads/main": "2"})
    after = httpx.get(f"{address}/models/{MODEL}/versions/v2.html")

    assert (page.status_code, before.status_code, after.status_code) == (200, 404, 200)
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["content-security-policy"].startswith("default-src 'none'; ")
    assert page.headers["content-security-policy"].endswith("frame-ancestors 'none'")
    assert httpx.post(f"{address}/").status_code == 405
    assert httpx.get(f"{address}/", headers={"Host": "evil.example"}).status_code == 400
    outside = httpx.get(f"{address}/%2e%2e/facts")
    assert outside.status_code == 404


def test_a_watcher_goes_on_without_its_pages(pages, caplog):
    _, served = pages
    (served.folder / "thesis.txt").write_text("of somebody else")

    served.refresh({})

    assert "the pages stay as they are" in caplog.text
