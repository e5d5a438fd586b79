from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.adapters.facts import FactsSnapshot, FactStore, freeze_ref, model_ref, release_ref
from modelyard.adapters.git.repository import Git
from modelyard.adapters.specs.json_documents import dump_json, parse_json
from modelyard.domain.promotion.facts import Freeze, Hold, ModelFacts, ReleaseFacts, TrainingFacts
from modelyard.domain.promotion.incidents import Incident
from modelyard.domain.specs.repository import Repository
from modelyard.domain.verdict import Outcome, Verdict
from modelyard.errors import CannotAnswer, Conflict, Refused

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
FULL = ReleaseFacts(
    release="0123456789abcdef",
    version="v2",
    artifact="a" * 64,
    seen_at=AT,
    healthy_since=AT + timedelta(microseconds=5),
    verdict=Verdict(
        outcome=Outcome.FAIL, reason="worse: é", numbers={"lower": -0.1}, columns=("x",)
    ),
    judged_at=AT,
    verified=("r1",),
    tried=("a", "b"),
)


@dataclass
class StoppedClock:
    at: datetime = AT

    def now(self):
        return self.at


@pytest.fixture
def clock():
    return StoppedClock()


@pytest.fixture
def store(tmp_path, clock):
    subprocess.run(["git", "init", "-q", "--bare", str(tmp_path / "remote.git")], check=True)
    subprocess.run(["git", "init", "-q", str(tmp_path / "clone")], check=True)
    git = Git(tmp_path / "clone")
    git.run("remote", "add", "origin", str(tmp_path / "remote.git"))
    return FactStore(git, Repository(), clock)


@pytest.fixture
def elsewhere(tmp_path, store, clock):
    subprocess.run(["git", "init", "-q", str(tmp_path / "other")], check=True)
    git = Git(tmp_path / "other")
    git.run("remote", "add", "origin", str(tmp_path / "remote.git"))
    return FactStore(git, Repository(), clock)


def test_facts_that_were_never_written_are_empty(store):
    assert store.read_release("dev", "m") == ReleaseFacts()
    assert store.read_model("m") == ModelFacts()
    assert store.read_freeze("dev") is None
    assert store.read_snapshot() == FactsSnapshot()
    assert store.read_history(release_ref("dev", "m")) == []


def test_an_incident_that_was_written_without_a_key_is_read_and_written_back_with_one(store):
    written = {"holds": {}, "lifted": {}, "training": {}, "told": [],
               "incidents": [{"what": "dev names v1 of m, a rollback restored it, a person must "
                              "decide: crashed", "at": AT.isoformat()}]}  # fmt: skip
    refs, author = store._refs, {"author": "A", "at": AT}
    head = refs.write_document(json.dumps(written).encode(), parents=[], message="x", **author)
    refs.git.push("origin", {model_ref("m"): (None, head)})

    (incident,) = store.read_model("m").incidents
    store.update_model("m", lambda facts: replace(facts, told=("k",)))

    key = "stuck/dev/v1/1/restored"
    assert (incident.key, incident.at) == (key, AT)
    ((document,),) = [refs.read_documents([refs.git.ls_remote("origin", ["*"])[model_ref("m")]])]
    assert json.loads(document)["incidents"] == [
        {**written["incidents"][0], "at": AT.isoformat(), "key": key}
    ]


def tip(store: FactStore, ref: str) -> str | None:
    return store._refs.read_refs(ref).get(ref)


def test_facts_written_from_one_checkout_are_read_from_another(store, elsewhere):
    model = ModelFacts(
        holds={"v2": Hold(reason="bad", by="ann", since=AT)},
        training={"v3": TrainingFacts(attempt=2, failed="out of memory")},
        incidents=(Incident(what="contract", at=AT),),
    )
    freeze = Freeze(reason="holidays", by="ann", since=AT)

    store._write(release_ref("dev", "m"), FULL, expected=None)
    store._write(model_ref("m"), model, expected=None)
    store._write(freeze_ref("dev"), freeze, expected=None)

    assert elsewhere.read_release("dev", "m") == FULL
    assert elsewhere.read_model("m") == model
    assert elsewhere.read_freeze("dev") == freeze
    assert elsewhere.read_snapshot() == FactsSnapshot(
        releases={("dev", "m"): FULL}, models={"m": model}, freezes={"dev": freeze}
    )


def test_unreadable_facts_block_no_other_model(store):
    store._write(release_ref("dev", "m"), FULL, expected=None)
    store._write(release_ref("dev", "n"), FULL, expected=None)
    head = store._write(model_ref("n"), ModelFacts(), expected=None)
    git = store._refs.git
    nonsense = git.commit_tree(
        git.write_file_tree("notes.txt", b"by hand"), parents=[head], message="x", author="a", at=AT
    )
    git.push("origin", {model_ref("n"): (head, nonsense)})
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
    store._write(release_ref("dev", "m"), FULL, expected=None)
    head = store._refs.write_document(b"{", parents=[], message="x", author="A", at=AT)
    store._refs.git.push("origin", {release_ref("canary", "m"): (None, head)})
    missed = []

    assert store.read_snapshot("m", missed=missed.append) == FactsSnapshot(
        releases={("dev", "m"): FULL}, unknown=frozenset({("canary", "m")})
    )
    assert len(missed) == 1


def test_an_unreadable_freeze_counts_as_one_and_blocks_no_other_facts(store):
    store._write(release_ref("dev", "m"), FULL, expected=None)
    head = store._refs.write_document(b"{", parents=[], message="x", author="A", at=AT)
    store._refs.git.push("origin", {freeze_ref("dev"): (None, head)})
    missed = []

    snapshot = store.read_snapshot("m")

    assert snapshot.releases == {("dev", "m"): FULL}
    assert snapshot.freezes["dev"].reason.startswith(
        "its freeze cannot be read, refs/modelyard/freezes/dev: "
    )
    assert store.read_snapshot(missed=missed.append) == snapshot
    assert [error.message.partition(":")[0] for error in missed] == [freeze_ref("dev")]


def test_a_write_from_an_old_token_is_a_conflict_and_changes_nothing(store, elsewhere):
    first = store._write(release_ref("dev", "m"), FULL, expected=None)
    assert elsewhere.read_release("dev", "m") == FULL
    second = elsewhere._write(release_ref("dev", "m"), replace(FULL, version="v3"), expected=first)

    for expected in (None, first):
        with pytest.raises(Conflict):
            store._write(release_ref("dev", "m"), ReleaseFacts(), expected=expected)

    assert store.read_release("dev", "m") == replace(FULL, version="v3")
    assert tip(store, release_ref("dev", "m")) == second


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
    token = store._write(model_ref("m"), ModelFacts(), expected=None)

    assert store.update_model("m", lambda facts: replace(facts, incidents=())) == ModelFacts()
    assert store.read_model("m") == ModelFacts()
    assert tip(store, model_ref("m")) == token


def test_a_lifted_freeze_leaves_its_history(store, clock):
    freeze = Freeze(reason="holidays", by="ann", since=AT)
    store.update_freeze("dev", lambda _: freeze)
    clock.at = AT + timedelta(hours=1)
    store.update_freeze("dev", lambda _: None)

    assert store.read_snapshot() == FactsSnapshot()
    assert store.read_history(freeze_ref("dev")) == [(AT, freeze), (AT + timedelta(hours=1), None)]


def test_the_log_names_the_fields_that_changed(store):
    store.update_release("dev", "m", lambda f: replace(f, version="v2", release="r2"))
    store.update_release("dev", "m", lambda f: replace(f, healthy_since=AT))

    head = tip(store, release_ref("dev", "m"))
    subjects = [entry.subject for entry in store._refs.git.log(head)]
    assert subjects == ["dev/m: healthy_since", "dev/m: release, version"]


@pytest.mark.parametrize("name", ["", "../x", "A", "a b", "-x", "a/b", "x" * 41])
def test_refuses_a_name_that_could_be_another_ref(store, name):
    for call in (store.read_model, store.read_freeze, lambda n: store.read_release("dev", n)):
        with pytest.raises(Refused, match="is not a name"):
            call(name)


def test_refuses_the_history_of_a_ref_that_holds_no_facts(store):
    with pytest.raises(Refused, match="holds no facts"):
        store.read_history("refs/heads/main")


def test_a_document_of_a_newer_modelyard_is_not_half_read(store):
    told = {**json.loads(dump_json(ModelFacts(), ModelFacts)), "owner": "ann"}
    store._refs.git.push(
        "origin",
        {model_ref("m"): (None, store._refs.write_document(
            json.dumps(told).encode(), parents=[], message="x", author="A", at=AT))},
    )  # fmt: skip

    with pytest.raises(CannotAnswer, match=r"refs/modelyard/models/m: .*owner") as caught:
        store.read_model("m")
    assert "newer modelyard" in caught.value.hint


def test_a_damaged_document_is_named(store):
    store._refs.git.push(
        "origin",
        {
            model_ref("m"): (
                None,
                store._refs.write_document(b"{", parents=[], message="x", author="A", at=AT),
            )
        },
    )

    with pytest.raises(CannotAnswer, match="refs/modelyard/models/m: Expecting"):
        store.read_model("m")


numbers = st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False))
times = st.none() | st.datetimes(timezones=st.just(UTC))


@given(st.text(), numbers, st.sampled_from(Outcome), times, st.lists(st.text(max_size=9)))
def test_facts_come_back_as_they_were_written(text, found, outcome, at, names):
    facts = ReleaseFacts(
        release=text,
        seen_at=at,
        verdict=Verdict(outcome=outcome, reason=text, numbers=found, columns=tuple(names)),
        tried=tuple(names),
    )

    assert parse_json(dump_json(facts, ReleaseFacts), ReleaseFacts, "facts") == facts


PROGRAM = """
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from modelyard.adapters.facts import FactStore
from modelyard.adapters.git.repository import Git
from modelyard.domain.specs.repository import Repository

class Clock:
    def now(self):
        return datetime(2026, 3, 1, tzinfo=UTC)

store = FactStore(Git(Path(sys.argv[1])), Repository(), Clock())
for _ in range(int(sys.argv[2])):
    store.update_release("dev", "m", lambda f: replace(f, tried=(*f.tried, "x")))
"""


def counted_together(store, elsewhere, times):
    roots = (store._refs.git.root, elsewhere._refs.git.root)
    command = [sys.executable, "-c", PROGRAM]
    writers = [subprocess.Popen([*command, str(root), str(times)]) for root in roots]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    return len(store.read_release("dev", "m").tried)


def test_two_processes_that_write_the_very_same_commits_lose_nothing(store, elsewhere):
    assert counted_together(store, elsewhere, 5) == 10


@pytest.mark.slow
def test_two_processes_with_fifty_updates_each_lose_nothing(store, elsewhere):
    assert counted_together(store, elsewhere, 50) == 100


def test_two_processes_of_one_checkout_lose_nothing(store):
    assert counted_together(store, store, 5) == 10
