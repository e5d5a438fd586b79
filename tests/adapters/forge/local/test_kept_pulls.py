from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from modelyard.adapters.forge.local import kept_pulls
from modelyard.adapters.forge.local.kept_pulls import KeptPull, KeptPulls
from modelyard.domain.people import Person
from modelyard.domain.promotion.pulls import PullState, PullSummary

AT = datetime(2026, 3, 1, 12, 0, 0, 5, tzinfo=UTC)
MERGED = PullSummary(
    number=7,
    branch="modelyard/promote/dev/m",
    title="Zürich \ud800",
    body="a page",
    author=Person.named("Ann"),
    base="a" * 40,
    head="b" * 40,
    state=PullState.MERGED,
    opened_at=AT,
    labels=("model/m",),
    merged_as="c" * 40,
    closed_at=AT + timedelta(seconds=1),
    closed_by=Person.named("Bob"),
    by_hand=True,
    on_page=True,
)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(kept_pulls, "WORTH_WRITING", 1)


def test_a_merged_pull_request_is_kept_whole_but_for_its_page(tmp_path):
    KeptPulls(tmp_path).keep([KeptPull(commit="d" * 40, pull=MERGED)])

    found = KeptPulls(tmp_path).find({7: "d" * 40, 8: "e" * 40})

    assert found == {7: replace(MERGED, body="")}
    assert str(found[7].author) == "Ann"


def test_another_document_of_the_same_number_is_not_the_one_that_is_kept(tmp_path):
    KeptPulls(tmp_path).keep([KeptPull(commit="d" * 40, pull=MERGED)])
    assert KeptPulls(tmp_path).find({7: "e" * 40}) == {}


@pytest.mark.parametrize(
    "pull",
    [
        replace(MERGED, state=PullState.OPEN),
        replace(MERGED, state=PullState.CLOSED),
        replace(MERGED, branch="modelyard/rollback/production/m"),
    ],
)
def test_what_may_move_or_whose_page_is_read_again_is_not_kept(tmp_path, pull):
    KeptPulls(tmp_path).keep([KeptPull(commit="d" * 40, pull=pull)])
    assert KeptPulls(tmp_path).find({7: "d" * 40}) == {}


@pytest.mark.parametrize("content", [b"", b"{", b"[[1]]", b'{"a": 1}', b"[" * 100_000, b"\xff"])
def test_a_file_that_cannot_be_read_is_as_good_as_none(tmp_path, content):
    KeptPulls(tmp_path).keep([KeptPull(commit="d" * 40, pull=MERGED)])
    (file,) = tmp_path.iterdir()
    file.write_bytes(content)

    again = KeptPulls(tmp_path)
    assert again.find({7: "d" * 40}) == {}
    again.keep([KeptPull(commit="d" * 40, pull=MERGED)])
    assert KeptPulls(tmp_path).find({7: "d" * 40}) != {}


@pytest.mark.parametrize("name", ["number", "head", "merged_as", "labels", "by_hand", "closed_at"])
def test_a_row_of_other_types_is_as_good_as_none(tmp_path, name):
    KeptPulls(tmp_path).keep([KeptPull(commit="d" * 40, pull=MERGED)])
    (file,) = tmp_path.iterdir()
    ((commit, *row),) = json.loads(file.read_bytes())
    row[kept_pulls._NAMES.index(name)] = 1.5
    file.write_text(json.dumps([[commit, *row]]))

    assert KeptPulls(tmp_path).find({7: "d" * 40}) == {}
