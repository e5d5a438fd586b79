from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from git_commits import write_commit
from modelyard.adapters.facts.documents import (
    FactsSnapshot,
    freeze_path,
    model_path,
    release_path,
)
from modelyard.adapters.facts.store import FactStore
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


STATE = "refs/heads/modelyard/state"


def tip(store: FactStore) -> str | None:
    return store._refs.read_refs(STATE).get(STATE)


def token(store: FactStore, path: str) -> str | None:
    """The object that a document is now."""
    return store._documents.read().files.get(path)


def put(store: FactStore, path: str, document: bytes) -> None:
    """Write whatever bytes by hand."""
    git, before = store._refs.git, tip(store)
    parents = [before] if before else []
    commit = write_commit(git, before, {path: document}, parents=parents, message="x", author="A",
                          at=AT)  # fmt: skip
    git.push("origin", {STATE: (before, commit)})


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
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from modelyard.adapters.facts.store import FactStore
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


@pytest.fixture
def asked():
    return []


def test_a_push_that_another_document_won_asks_nobody_again(store, elsewhere, asked):
    def change(facts):
        asked.append(facts)
        elsewhere.update_release("dev", "other", lambda f: replace(f, tried=(*f.tried, "theirs")))
        return replace(facts, version="v2")

    store.update_release("dev", "m", change)

    assert asked == [ReleaseFacts()]
    assert store.read_release("dev", "m").version == "v2"
    assert store.read_release("dev", "other").tried == ("theirs",)


@pytest.mark.parametrize("where", ["facts/dev/m.json", "models/n.json", "freezes/dev.json"])
@pytest.mark.parametrize("kind", ["folder", "link", "submodule", "bytes", "empty", "huge"])
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


def stand(store, path, kind):
    """Put something that is no document in the place of one, as a person with Git would."""
    git, before = store._refs.git, tip(store)
    blob = git.run("hash-object", "-w", "--stdin", stdin=b"{").stdout.decode().strip()
    huge = git.run("hash-object", "-w", "--stdin", stdin=b"[" * 200_000).stdout.decode().strip()
    nothing = git.run("hash-object", "-w", "--stdin", stdin=b"").stdout.decode().strip()
    modes = {"link": ("120000", blob), "submodule": ("160000", before), "bytes": ("100644", blob),
             "huge": ("100755", huge), "empty": ("100644", nothing)}  # fmt: skip
    index = {"GIT_INDEX_FILE": str(git.root / "index-of-a-test")}
    git.run("read-tree", before, env=index)
    git.run("rm", "-r", "-q", "--cached", "--ignore-unmatch", path, env=index)
    mode, name = modes.get(kind, ("100644", blob))
    place = f"{path}/x" if kind == "folder" else path
    git.run("update-index", "--add", "--cacheinfo", f"{mode},{name},{place}", env=index)
    tree = git.run("write-tree", env=index).stdout.decode().strip()
    after = git.commit_tree(tree, parents=[before], message="x", author="Mallory", at=AT)
    git.push("origin", {STATE: (before, after)})


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


MANY = """
import sys
import threading
sys.argv[3:] = []
""" + PROGRAM.replace('"dev", "m"', '"dev", sys.argv[2]').replace(
    "range(int(sys.argv[2]))", "range(8)"
)


def test_many_writers_of_many_documents_all_get_through(store, tmp_path):
    names = [f"m{number}" for number in range(6)]
    roots = [store._refs.git.root, *(tmp_path / f"clone-{name}" for name in names[1:])]
    for root in roots[1:]:
        subprocess.run(["git", "clone", "-q", str(tmp_path / "remote.git"), str(root)], check=True)
    writers = [
        subprocess.Popen([sys.executable, "-c", MANY, str(root), name])
        for root, name in zip(roots, names, strict=True)
    ]

    assert [writer.wait(timeout=120) for writer in writers] == [0] * len(names)
    found = store.read_snapshot().releases
    assert {key: len(facts.tried) for key, facts in found.items()} == {
        ("dev", name): 8 for name in names
    }


def test_a_writer_gets_its_turn_beside_one_that_never_rests(store, elsewhere):
    stopped = threading.Event()

    def write_on():
        number = 0
        while not stopped.is_set():
            number += 1
            name = f"v{number}"
            elsewhere.update_release("dev", "busy", lambda f, n=name: replace(f, version=n))

    thread = threading.Thread(target=write_on)
    thread.start()
    try:
        for number in range(5):
            store.update_release("dev", "m", lambda f, n=number: replace(f, version=f"v{n}"))
    finally:
        stopped.set()
        thread.join()

    assert store.read_release("dev", "m").version == "v4"


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
