"""What is read for one model is what is read of it with everything else."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.facts.fact_stores import AT, FULL, STATE, new_store, put, stand, store_of, tip
from built_once import built_once
from git_commits import write_commit
from modelyard.adapters.facts.documents import model_path, release_path
from modelyard.adapters.facts.store import FactStore
from modelyard.adapters.git.repository import Git
from modelyard.domain.promotion.facts import Freeze, Hold
from modelyard.domain.promotion.pulls import BrokenGlass
from modelyard.domain.specs.repository import Repository
from modelyard.errors import YardError

HOLD = Hold(reason="bad", by="ann", since=AT)
GLASS = BrokenGlass(number=7, sha="c" * 40, login="ann", person="1", reason="now", at=AT, issue=8)


@pytest.fixture
def crowded(tmp_path, clock):
    """Two models with facts, a freeze, a word without approvals and a log."""
    shutil.copytree(built_once("crowded-facts", _crowded), tmp_path, dirs_exist_ok=True)
    return store_of(tmp_path, clock)


def _crowded(folder: Path) -> Path:
    folder.mkdir()
    store = new_store(folder)
    for model in ("m", "mm"):
        store.update_model(model, lambda each: replace(each, holds={"v1": HOLD}), by="ann")
        for environment in ("dev", "live"):
            store.update_release(environment, model, lambda _: FULL)
    store.update_freeze("live", lambda _: Freeze(reason="closed", by="ann", since=AT))
    store.write_glass(7, GLASS)
    return folder


@pytest.fixture
def another(store, clock):
    """What another process reads with, which knows nothing yet."""
    return lambda: FactStore(Git(store._refs.git.root), Repository(), clock)


def answers(store: FactStore, model: str) -> list[object]:
    """All that is asked for one model; an error as its text."""
    missed: list[YardError] = []
    asked = (
        lambda: store.read_snapshot(model, missed=missed.append),
        lambda: store.read_audit(model),
        lambda: store.glass_paths(model),
        lambda: store.read_histories([model_path(model), release_path("dev", model)], model),
    )
    return [*(_answer(each) for each in asked), [each.message for each in missed]]


def _answer(ask) -> object:
    try:
        return ask()
    except YardError as error:
        return error.message


def in_whole(store: FactStore, model: str) -> list[object]:
    store.list_documents()  # the listing of all, which is what is read then
    return answers(store, model)


def test_of_a_model_the_same_is_read_without_listing_the_others(crowded, another):
    store = another()
    found = answers(store, "m")

    assert found == in_whole(another(), "m")
    facts, audit, glass, _, missed = found
    assert (set(facts.releases), set(facts.freezes)) == ({("dev", "m"), ("live", "m")}, {"live"})
    assert ({line.model for line in audit}, glass, missed) == ({"m"}, ("glass/pull-7.json",), [])
    assert not store._documents.is_listed(store._documents.read_tip())


def test_a_second_model_gets_the_listing_of_all(crowded, another):
    store = another()
    answers(store, "m")

    assert answers(store, "mm") == in_whole(another(), "mm")
    assert store._documents.is_listed(store._documents.read_tip())


def test_what_others_wrote_since_is_read(crowded, another):
    store = another()
    answers(store, "m")
    another().update_model("m", lambda each: replace(each, holds={}))

    assert store.read_snapshot("m").models["m"].holds == {}


@pytest.mark.parametrize("model", ["none", "Not a name", "_yard", "m/../mm", "*", ""])
def test_of_what_is_no_model_the_same_is_read(crowded, another, model):
    store = another()
    whole = another()
    whole.list_documents()
    assert store.read_snapshot(model) == whole.read_snapshot(model)
    assert store.read_audit(model) == whole.read_audit(model)


WHERE = ("facts", "facts/dev", "facts/dev/m.json", "facts/dev/mm.json", "models", "models/m.json",
         "freezes", "freezes/dev.json", "freezes/x/y", "sites", "glass", "glass/pull-9.json",
         "audit", "audit/2026-03", "audit/2026-03/m.jsonl", "facts/x.md", "README.md")  # fmt: skip


@pytest.mark.sample(2)
@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("kind", ["bytes", "folder", "link", "submodule", "empty"])
def test_whatever_stands_in_an_unusual_place_the_same_is_read(crowded, another, where, kind):
    stand(crowded, where, kind)

    assert answers(another(), "m") == in_whole(another(), "m")


def test_a_branch_that_goes_back_has_each_model_what_it_had(crowded, another):
    store, git = another(), crowded._refs.git
    before = tip(crowded)
    assert store.read_snapshot("m").models["m"].holds == {"v1": HOLD}
    other = write_commit(git, None, {"README.md": b"x"}, parents=[], message="x", author="A", at=AT)
    git.push("origin", {STATE: (before, other)})
    with pytest.raises(YardError, match="holds no facts"):
        store.read_snapshot("mm")
    git.push("origin", {STATE: (other, before)})

    assert store.read_snapshot("mm").models["mm"].holds == {"v1": HOLD}
    assert store.read_snapshot("m").models["m"].holds == {"v1": HOLD}


def test_a_branch_of_other_files_is_refused_as_when_all_is_listed(store, another):
    put(store, "models/m/model.yaml", b"x")
    put(store, "README.md", b"x")

    assert ["holds no facts" in str(each) for each in answers(another(), "m")[:4]] == [True] * 4
