from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.facts.fact_stores import AT, FULL, put, tip, token
from modelyard.adapters.facts.documents import (
    FactsSnapshot,
    freeze_path,
    model_path,
    release_path,
)
from modelyard.adapters.git.commit_stream import NewCommit
from modelyard.adapters.specs.json_documents import dump_json, parse_json
from modelyard.domain.promotion.facts import Freeze, Hold, ModelFacts, ReleaseFacts, TrainingFacts
from modelyard.domain.promotion.incidents import Incident
from modelyard.domain.promotion.pulls import BrokenGlass
from modelyard.domain.verdict import Outcome, Verdict
from modelyard.errors import CannotAnswer, Conflict, Refused


def test_facts_that_were_never_written_are_empty(store):
    assert store.read_release("dev", "m") == ReleaseFacts()
    assert store.read_model("m") == ModelFacts()
    assert store.read_freeze("dev") is None
    assert store.read_snapshot() == FactsSnapshot()
    assert store.read_history(release_path("dev", "m")) == []


def test_an_incident_that_was_written_without_a_key_is_read_and_written_back_with_one(store):
    written = {"holds": {}, "lifted": {}, "training": {}, "told": [],
               "incidents": [{"what": "dev names v1 of m, a rollback restored it, a person must "
                              "decide: crashed", "at": AT.isoformat()}]}  # fmt: skip
    put(store, model_path("m"), json.dumps(written).encode())

    (incident,) = store.read_model("m").incidents
    store.update_model("m", lambda facts: replace(facts, told=("k",)))

    key = "stuck/dev/v1/1/restored"
    assert (incident.key, incident.at) == (key, AT)
    document = store._refs.git.read_file(tip(store), model_path("m"))
    assert json.loads(document)["incidents"] == [
        {**written["incidents"][0], "at": AT.isoformat(), "key": key}
    ]


def test_what_was_written_is_known_as_git_lists_it(store):
    """Listing a fleet's facts again after each write would take longer than the write."""
    olga = {"login": "olga", "person": "1", "reason": "it burns"}
    store.write_glass(1, BrokenGlass(number=1, sha="a" * 40, issue=2, at=AT, **olga), by="olga")
    for reason in ("bad", "worse"):
        hold = Hold(reason=reason, by="ann", since=AT)
        store.update_model("m", lambda _, hold=hold: ModelFacts(holds={"v2": hold}))
    store.write_glass(1, None)
    store.update_freeze("dev", lambda _: Freeze(reason="holidays", by="ann", since=AT))
    store.update_freeze("dev", lambda _: None)

    known = store._documents._last

    assert known.commit == tip(store)
    assert known == store._documents._list(tip(store))
    assert "models/m.json" in known.files


@pytest.mark.parametrize(
    ("by_hand", "written"),
    [("facts/dev", "facts/dev/m.json"), ("facts/dev/m.json", "facts/dev"), ("x/a/b", "x")],
)
def test_what_a_write_took_the_place_of_is_known_to_be_gone(store, by_hand, written):
    put(store, by_hand, b"by hand")
    store._documents.read()

    store._documents.write(
        NewCommit(documents={written: b"{}"}, message="Write", author="ann", at=AT), expected={}
    )

    assert store._documents._last == store._documents._list(tip(store))
    assert by_hand not in store._documents._last.files


def test_facts_written_from_one_checkout_are_read_from_another(store, elsewhere):
    model = ModelFacts(
        holds={"v2": Hold(reason="bad", by="ann", since=AT)},
        training={"v3": TrainingFacts(attempt=2, failed="out of memory")},
        incidents=(Incident(what="contract", at=AT),),
    )
    freeze = Freeze(reason="holidays", by="ann", since=AT)

    store._write(release_path("dev", "m"), FULL, expected=None)
    store._write(model_path("m"), model, expected=None)
    store._write(freeze_path("dev"), freeze, expected=None)

    assert elsewhere.read_release("dev", "m") == FULL
    assert elsewhere.read_model("m") == model
    assert elsewhere.read_freeze("dev") == freeze
    assert elsewhere.read_snapshot() == FactsSnapshot(
        releases={("dev", "m"): FULL}, models={"m": model}, freezes={"dev": freeze}
    )


def test_a_write_from_an_old_token_is_a_conflict_and_changes_nothing(store, elsewhere):
    store._write(release_path("dev", "m"), FULL, expected=None)
    first = token(store, release_path("dev", "m"))
    assert elsewhere.read_release("dev", "m") == FULL
    elsewhere._write(release_path("dev", "m"), replace(FULL, version="v3"), expected=first)
    second = tip(elsewhere)

    for expected in (None, first):
        with pytest.raises(Conflict):
            store._write(release_path("dev", "m"), ReleaseFacts(), expected=expected)

    assert store.read_release("dev", "m") == replace(FULL, version="v3")
    assert tip(store) == second


def test_an_update_runs_again_after_another_writer_came_first(store, elsewhere):
    seen = []

    def change(facts):
        if not seen:
            elsewhere.update_release("dev", "m", lambda f: replace(f, tried=(*f.tried, "theirs")))
        seen.append(facts.tried)
        return replace(facts, tried=(*facts.tried, "ours"))

    assert store.update_release("dev", "m", change).tried == ("theirs", "ours")
    assert seen == [(), ("theirs",)]


def test_an_update_to_an_equal_value_writes_nothing(store):
    store._write(model_path("m"), ModelFacts(), expected=None)
    before = tip(store)

    assert store.update_model("m", lambda facts: replace(facts, incidents=())) == ModelFacts()
    assert store.read_model("m") == ModelFacts()
    assert tip(store) == before


def test_a_lifted_freeze_leaves_its_history(store, clock):
    freeze = Freeze(reason="holidays", by="ann", since=AT)
    store.update_freeze("dev", lambda _: freeze)
    clock.at = AT + timedelta(hours=1)
    store.update_freeze("dev", lambda _: None)

    assert store.read_snapshot() == FactsSnapshot()
    assert store.read_history(freeze_path("dev")) == [(AT, freeze), (AT + timedelta(hours=1), None)]


def test_the_log_names_the_fields_that_changed(store):
    store.update_release("dev", "m", lambda f: replace(f, version="v2", release="r2"))
    store.update_release("dev", "m", lambda f: replace(f, healthy_since=AT))

    subjects = [entry.subject for entry in store._refs.git.log(tip(store))]
    assert subjects == ["facts/dev/m: healthy_since", "facts/dev/m: release, version"]


@pytest.mark.parametrize("name", ["", "../x", "A", "a b", "-x", "a/b", "x" * 41])
def test_refuses_a_name_that_could_be_another_ref(store, name):
    for call in (store.read_model, store.read_freeze, lambda n: store.read_release("dev", n)):
        with pytest.raises(Refused, match="is not a name"):
            call(name)


def test_refuses_the_history_of_a_path_that_holds_no_facts(store):
    with pytest.raises(Refused, match="holds no facts"):
        store.read_history("main.json")


def test_a_document_of_a_newer_modelyard_is_not_half_read(store):
    told = {**json.loads(dump_json(ModelFacts(), ModelFacts)), "owner": "ann"}
    put(store, model_path("m"), json.dumps(told).encode())

    with pytest.raises(CannotAnswer, match=r"modelyard/state:models/m.json: .*owner") as caught:
        store.read_model("m")
    assert "newer modelyard" in caught.value.hint


def test_a_damaged_document_is_named(store):
    put(store, model_path("m"), b"{")

    with pytest.raises(CannotAnswer, match=r"modelyard/state:models/m\.json: Expecting"):
        store.read_model("m")


numbers = st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False))
times = st.none() | st.datetimes(timezones=st.just(UTC))


@pytest.mark.long
@given(st.text(), numbers, st.sampled_from(Outcome), times, st.lists(st.text(max_size=9)))
def test_facts_come_back_as_they_were_written(text, found, outcome, at, names):
    facts = ReleaseFacts(
        release=text,
        seen_at=at,
        verdict=Verdict(outcome=outcome, reason=text, numbers=found, columns=tuple(names)),
        tried=tuple(names),
    )

    assert parse_json(dump_json(facts, ReleaseFacts), ReleaseFacts, "facts") == facts


def test_histories_of_several_documents_are_read_at_once_and_hold_only_their_changes(store, clock):
    store.update_release("dev", "m", lambda facts: replace(facts, version="v1"))
    clock.at = AT + timedelta(hours=1)
    store.update_model("m", lambda facts: replace(facts, told=("a",)))
    store.update_release("dev", "n", lambda facts: replace(facts, version="v9"))
    clock.at = AT + timedelta(hours=2)
    store.update_release("dev", "m", lambda facts: replace(facts, version="v2"))

    found = store.read_histories(["facts/dev/m.json", "models/m.json", "facts/live/m.json"])

    assert found == {
        "facts/dev/m.json": [
            (AT, ReleaseFacts(version="v1")),
            (AT + timedelta(hours=2), ReleaseFacts(version="v2")),
        ],
        "models/m.json": [(AT + timedelta(hours=1), ModelFacts(told=("a",)))],
        "facts/live/m.json": [],
    }
