from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

from modelyard.adapters.site.folder import SiteFolder
from modelyard.domain.audit import Topic
from modelyard.domain.chatops.log import LogEntry
from modelyard.domain.chatops.reasons import ReasonCode
from modelyard.errors import Refused
from operations.played_yard import played_yard
from operations.yard import MODEL
from operations.yard_with_history import run

PAGES = (
    "index.html",
    f"models/{MODEL}/drift.html",
    f"models/{MODEL}/index.html",
    f"models/{MODEL}/versions/v1.html",
    f"models/{MODEL}/versions/v2.html",
    f"models/{MODEL}/versions/v3.html",
)
VOID = {"meta", "br", "input", "img", "link"}


class Reader(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.ids: list[str] = []
        self.said = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.said += " "
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] not in (["style"], ["script"]):
            self.said += data


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    yard = played_yard(folder / "yard")
    said = run(yard, "site", "--out", str(folder / "site"))
    assert said.code == 0, said.err
    return yard, folder / "site", said


@pytest.fixture(scope="module")
def pages(played):
    return {name: Reader((played[1] / name).read_text("utf-8")) for name in PAGES}


def words(reader):
    return " ".join(reader.said.split())


@pytest.mark.long
def test_every_model_version_and_its_drift_has_a_page(played):
    _, site, said = played

    found = sorted(str(file.relative_to(site)) for file in site.rglob("*") if file.is_file())
    assert found == sorted([*PAGES, "site.json"])
    assert said.lines == [f"1 model, pages of 1 made anew: {site / 'index.html'}"]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_asks_for_nothing_and_text_from_outside_is_text(pages, name):
    page = pages[name]

    assert [tag for tag, _ in page.tags].count("script") == 2
    assert not {"img", "iframe", "link", "object", "form"} & {tag for tag, _ in page.tags}
    attributes = [pair for _, attrs in page.tags for pair in attrs.items()]
    assert not [key for key, _ in attributes if key == "style" or key.startswith("on")]
    assert not [v for k, v in attributes if k in {"src", "href"} and "//" in (v or "")]
    assert "\u202e" not in page.said
    assert "\x1b" not in page.said
    assert len(page.ids) == len(set(page.ids))


def test_a_version_s_page_says_of_its_signature_what_its_record_says(pages):
    # A record of before the field tells nothing of whether training signed.
    said = words(pages[f"models/{MODEL}/versions/v1.html"])
    assert "Signature its record names no key" in said
    assert "not signed" not in said


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_to_a_page_of_the_site(played, pages, name):
    targets = [attrs["href"] for tag, attrs in pages[name].tags if tag == "a"]

    for target in targets:
        path = target.partition("#")[0]
        assert not path or ((played[1] / name).parent / path).resolve().is_file(), target


def test_the_fleet_says_what_runs_where_and_what_stands_in_the_way(pages):
    said = words(pages["index.html"])

    assert "production is frozen by ada" in said
    assert "Christmas <script>alert(1)</script>" in said
    assert "{{ 7 * 7 }}" in said
    rows = [
        attrs for tag, attrs in pages["index.html"].tags if tag == "tr" and "data-team" in attrs
    ]
    assert rows == [{"data-team": "team", "data-state": "warn good held incident"}]


def test_a_model_tells_its_story_as_a_picture_and_as_a_table(pages):
    page = pages[f"models/{MODEL}/index.html"]

    bars = [attrs["class"] for tag, attrs in page.tags if tag == "rect"]
    assert bars.count("bar bad") >= 1
    assert "v2 in canary since 2026-03-01 12:04:00, rolled back" in words(page)
    assert "1 of 2 versions that answered production's requests" in words(page)
    assert "v2 is on hold by modelyard[bot]" in words(page)


def test_a_version_shows_its_pins_its_gate_and_its_judge(pages):
    said = words(pages[f"models/{MODEL}/versions/v2.html"])

    assert "sha256:" + "b" * 64 in said
    assert "fail: error rate 9 %: worse than stable" in said
    assert "evidence_error_rate 180" in said
    assert "Difference from the champion" in said


def test_drift_is_weeks_by_columns_in_units_of_the_floor(pages):
    page = pages[f"models/{MODEL}/drift.html"]

    assert "0.50 1.50 2.50 ✕ 3.50 ✕" in words(page)
    heats = [a["class"] for tag, a in page.tags if tag == "td" and "heat" in (a.get("class") or "")]
    assert heats == ["number heat2", "number heat3", "number heat4", "number heat4"]
    assert "the feed broke" in words(page)


def test_the_policy_allows_the_page_s_own_style_and_script_alone(played, pages):
    policy = next(a for tag, a in pages["index.html"].tags if tag == "meta" and "http-equiv" in a)

    assert re.fullmatch(
        r"default-src 'none'; style-src 'sha256-\S+'; script-src 'sha256-\S+' 'sha256-\S+'; "
        r"base-uri 'none'; form-action 'none'",
        policy["content"],
    )


def test_run_again_it_renews_what_changed_and_takes_away_what_is_gone(played, tmp_path):
    yard, _, _ = played
    site = tmp_path / "site"
    run(yard, "site", "--out", str(site))
    listed = json.loads((site / "site.json").read_text())
    stale = site / "models" / "gone" / "index.html"
    stale.parent.mkdir()
    stale.write_text("a model that was deleted")
    (site / "mine.txt").write_text("of somebody else")
    listed["keys"]["gone"], listed["files"]["gone"] = "k", ["models/gone/index.html"]
    (site / "site.json").write_text(json.dumps(listed))

    said = run(yard, "site", "--out", str(site))

    assert said.lines == [f"1 model, pages of 0 made anew: {site / 'index.html'}"]
    assert not stale.parent.exists()
    assert (site / "mine.txt").exists()


def test_a_model_that_cannot_be_read_keeps_its_row_and_its_pages(played, tmp_path):
    yard, site = played[0].copy(tmp_path / "yard"), tmp_path / "site"
    run(yard, "site", "--out", str(site))
    yard.commit({f"models/{MODEL}/model.yaml": b"name: m\n"})

    for out in (site, tmp_path / "anew"):
        assert run(yard, "site", "--out", str(out)).code == 0
        assert all((out / name).is_file() for name in PAGES)
        fleet = Reader((out / "index.html").read_text("utf-8"))
        assert "1 files of the main branch cannot be read: modelyard validate" in words(fleet)
        assert f"models/{MODEL}/index.html" in [attrs.get("href") for _, attrs in fleet.tags]


def test_a_model_that_never_could_be_read_has_a_row_and_no_pages(played, tmp_path):
    yard, site = played[0].copy(tmp_path / "yard"), tmp_path / "site"
    pin = yard.read(f"environments/production/releases/{MODEL}.yaml")
    new = "environments/production/releases/new.yaml"
    yard.commit({"models/new/model.yaml": b"name: new\n", new: pin})

    assert run(yard, "site", "--out", str(site)).code == 0

    fleet = Reader((site / "index.html").read_text("utf-8"))
    assert "v1: models/new/model.yaml cannot be read" in words(fleet)
    links = [attrs.get("href") or "" for tag, attrs in fleet.tags if tag == "a"]
    assert not any("models/new" in link for link in links)


def test_a_folder_of_something_else_is_left_alone(played, tmp_path):
    (tmp_path / "thesis.txt").write_text("irreplaceable")

    said = run(played[0], "site", "--out", str(tmp_path))

    assert said.code == 3
    assert "is not empty and holds no site" in said.err


def test_no_page_is_written_outside_of_the_folder(tmp_path):
    folder = SiteFolder.open(tmp_path / "site")

    with pytest.raises(Refused):
        folder.write("m", "k", [("../index.html", b"")])


def test_a_version_without_its_evidence_says_so(played, tmp_path):
    yard, _, _ = played
    store = yard.folder / "store"
    aside = store.rename(yard.folder / "aside")
    try:
        run(yard, "site", "--out", str(tmp_path / "site"))
    finally:
        aside.rename(store)

    page = tmp_path / f"site/models/{MODEL}/drift.html"
    assert "It cannot be shown" in page.read_text()
    again = run(yard, "site", "--out", str(tmp_path / "site"))
    assert again.lines[0].startswith("1 model, pages of 1 made anew")
    assert "It cannot be shown" not in page.read_text()


def test_a_command_in_a_comment_makes_the_pages_of_its_model_anew(played, tmp_path):
    yard, site = played[0].copy(tmp_path / "yard"), tmp_path / "site"
    run(yard, "site", "--out", str(site))
    said = LogEntry(
        key="1",
        at=yard.clock.now(),
        login="ada",
        person="7",
        line="/approve",
        head="0" * 40,
        reason=ReasonCode.OWN_PULL_REQUEST,
        sentence="it is your own",
    )
    facts, topic = yard.workspace().facts, Topic(model=MODEL, version="v2")
    facts.update_commands(5, lambda log: log.with_entry(said), topic=topic)

    again = run(yard, "site", "--out", str(site))

    assert again.lines[0].startswith("1 model, pages of 1 made anew")
    assert "ada: /approve: own_pull_request" in (site / f"models/{MODEL}/index.html").read_text()
