from __future__ import annotations

import re
from dataclasses import replace

import pytest

from adapters.facts.fact_stores import AT, FULL, put, stand
from modelyard.adapters.facts.documents import (
    FactsSnapshot,
    freeze_path,
    model_path,
    release_path,
)
from modelyard.domain.promotion.facts import Freeze, ModelFacts
from modelyard.errors import CannotAnswer


def test_unreadable_facts_block_no_other_model(store):
    store._write(release_path("dev", "m"), FULL, expected=None)
    store._write(release_path("dev", "n"), FULL, expected=None)
    put(store, model_path("n"), b"by hand")
    missed = []

    assert store.read_snapshot("m") == FactsSnapshot(releases={("dev", "m"): FULL})
    with pytest.raises(CannotAnswer):
        store.read_snapshot("n")
    with pytest.raises(CannotAnswer):
        store.read_snapshot()
    assert store.read_snapshot(missed=missed.append) == FactsSnapshot(
        releases={("dev", "m"): FULL, ("dev", "n"): FULL}, unknown_models=frozenset({"n"})
    )
    assert len(missed) == 1


def test_the_facts_of_a_release_that_cannot_be_read_are_unknown_and_not_missing(store):
    store._write(release_path("dev", "m"), FULL, expected=None)
    put(store, release_path("canary", "m"), b"{")
    missed = []

    assert store.read_snapshot("m", missed=missed.append) == FactsSnapshot(
        releases={("dev", "m"): FULL}, unknown=frozenset({("canary", "m")})
    )
    assert len(missed) == 1


def test_an_unreadable_freeze_counts_as_one_and_blocks_no_other_facts(store):
    store._write(release_path("dev", "m"), FULL, expected=None)
    put(store, freeze_path("dev"), b"{")
    missed = []

    snapshot = store.read_snapshot("m")

    assert snapshot.releases == {("dev", "m"): FULL}
    assert snapshot.freezes["dev"].reason.startswith(
        "its freeze cannot be read, modelyard/state:freezes/dev.json: "
    )
    assert store.read_snapshot(missed=missed.append) == snapshot
    assert [error.message.split(":")[1] for error in missed] == [freeze_path("dev")]


@pytest.mark.sample(1)
@pytest.mark.parametrize("where", ["facts/dev/m.json", "models/n.json", "freezes/dev.json"])
@pytest.mark.parametrize("kind", ["bytes", "folder", "link", "submodule", "empty", "huge"])
def test_whatever_stands_in_a_documents_place_closes_only_its_own_way(store, where, kind):
    store._write(release_path("dev", "m"), FULL, expected=None)
    store._write(release_path("dev", "n"), FULL, expected=None)
    stand(store, where, kind)
    missed = []

    found = store.read_snapshot(missed=missed.append)

    assert [error.message.split(":")[1] for error in missed] == [where]
    pair = frozenset({("dev", "m")}) if where.startswith("facts") else frozenset()
    assert (found.unknown, found.unknown_models) == (
        pair, frozenset({"n"}) if where.startswith("models") else frozenset())  # fmt: skip
    assert ("dev" in found.freezes) == where.startswith("freezes")
    assert ("dev", "n") in found.releases
    store.update_model("m", lambda facts: replace(facts, told=("x",)))
    store.update_release("dev", "n", lambda facts: replace(facts, version="v3"))
    writes = {
        "facts": lambda: store.update_release("dev", "m", lambda _: FULL),
        "models": lambda: store.update_model("n", lambda _: ModelFacts()),
        "freezes": lambda: store.update_freeze("dev", lambda _: None),
    }
    with pytest.raises(CannotAnswer, match=re.escape(where)):
        writes[where.partition("/")[0]]()


@pytest.mark.sample(1)
@pytest.mark.parametrize("kind", ["bytes", "link", "submodule"])
@pytest.mark.parametrize("where", ["facts", "facts/dev", "models", "freezes"])
def test_a_folder_of_documents_that_is_none_closes_what_would_be_in_it(store, where, kind):
    store._write(release_path("dev", "m"), FULL, expected=None)
    store._write(release_path("live", "m"), FULL, expected=None)
    store._write(model_path("m"), ModelFacts(), expected=None)
    store._write(freeze_path("live"), Freeze(reason="x", by="a", since=AT), expected=None)
    stand(store, where, kind)
    missed = []

    found = store.read_snapshot("m")
    store.read_snapshot(missed=missed.append)

    unknown = {"facts": {"dev", "live"}, "facts/dev": {"dev"}}.get(where, set())
    assert found.unknown_of("m", ["dev", "live"]) == unknown
    assert found.is_unknown_model("m") == (where == "models")
    frozen = {"dev", "live"} if where == "freezes" else {"live"}
    assert set(found.freezes_of(["dev", "live"], now=AT)) == frozen
    assert [error.message.split(":")[1] for error in missed] == [where]
    with pytest.raises(CannotAnswer, match=f"{where} is"):
        {"models": store.read_model, "freezes": store.read_freeze}.get(
            where, lambda name: store.read_release("dev", name)
        )("m")


JUNK = ("README.md", "facts/dev/Wine.json", "facts/dev/a/b.json", "x/y", "models/m.yaml",
        "facts/m.json", "facts/dev/m.json.bak")  # fmt: skip


@pytest.mark.sample(1)
@pytest.mark.parametrize("path", JUNK)
def test_a_file_that_holds_no_facts_is_named_and_closes_nothing(store, path):
    store._write(release_path("dev", "m"), FULL, expected=None)
    put(store, path, b"junk")
    missed = []

    found = store.read_snapshot(missed=missed.append)

    assert found == FactsSnapshot(releases={("dev", "m"): FULL})
    assert [error.message for error in missed] == [f"modelyard/state:{path}: holds no facts"]
    assert store.read_snapshot() == store.read_snapshot("m") == found
    store.update_release("dev", "m", lambda facts: replace(facts, version="v3"))
    assert store.read_release("dev", "m").version == "v3"
