"""The facts of version 0.1 were one ref each; the first pass moves them to the branch."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from git_commits import STATE
from modelyard.adapters.facts.documents import FactsSnapshot, model_path, release_path
from modelyard.adapters.facts.store import FactStore
from modelyard.adapters.git.commit_stream import NewCommit, write_commits
from modelyard.adapters.git.remote_refs import RemoteRefs
from modelyard.adapters.git.repository import Git
from modelyard.adapters.specs.json_documents import dump_json
from modelyard.domain.promotion.facts import Freeze, Hold, ModelFacts, ReleaseFacts
from modelyard.domain.specs.repository import Repository
from modelyard.errors import CannotAnswer

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LATER = AT + timedelta(days=9)
HOLD = Hold(reason="bad", by="ann", since=AT)


class Clock:
    def now(self):
        return LATER


def checkout(folder, name):
    subprocess.run(["git", "init", "-q", str(folder / name)], check=True)
    git = Git(folder / name)
    git.run("remote", "add", "origin", str(folder / "remote.git"))
    return git


def store_of(git):
    return FactStore(git, Repository(), Clock())


@pytest.fixture
def git(tmp_path):
    subprocess.run(["git", "init", "-q", "--bare", str(tmp_path / "remote.git")], check=True)
    return checkout(tmp_path, "clone")


@pytest.fixture
def store(git):
    return store_of(git)


@pytest.fixture
def elsewhere(tmp_path, git):
    return store_of(checkout(tmp_path, "other"))


def write_old(git, ref, *documents, start=AT):
    """Write values behind a ref, as version 0.1 did; None is a commit without a document."""
    refs, full = RemoteRefs(git, "origin"), f"refs/modelyard/{ref}"
    before = parent = git.ls_remote("origin", [full]).get(full)
    for number, document in enumerate(documents):
        name = "document.json" if document is not None else "notes.txt"
        parent = git.commit_tree(
            git.write_tree(None, {name: document or b""}),
            parents=[parent] if parent else [],
            message=f"{ref.partition('/')[2]}: version",
            author="modelyard",
            at=start + timedelta(hours=number),
        )
    refs.push_refs({full: (before, parent)})


def values(kind, *facts):
    return [dump_json(each, kind) for each in facts]


@pytest.fixture
def old(git):
    """A yard of version 0.1: two values of one release, a hold, a lifted freeze."""
    first, second = ReleaseFacts(version="v1"), ReleaseFacts(version="v2", seen_at=AT)
    write_old(git, "facts/dev/wine", *values(ReleaseFacts, first, second))
    write_old(git, "models/wine", *values(ModelFacts, ModelFacts(holds={"v2": HOLD})))
    freeze = Freeze(reason="holidays", by="ann", since=AT)
    write_old(git, "freezes/dev", *values(Freeze | None, freeze, None))
    return FactsSnapshot(
        releases={("dev", "wine"): second}, models={"wine": ModelFacts(holds={"v2": HOLD})}
    )


def refs_of(git, space="refs/modelyard/*"):
    return sorted(git.ls_remote("origin", [space]))


def test_the_facts_of_an_old_yard_are_read_before_they_are_carried_over(store, git, old):
    before = git.ls_remote("origin", ["*"])

    assert store.read_snapshot() == old
    assert store.read_snapshot("wine") == old
    assert store.read_release("dev", "wine").version == "v2"
    assert [fact.version for _, fact in store.read_history(release_path("dev", "wine"))] == [
        "v1",
        "v2",
    ]
    assert git.ls_remote("origin", ["*"]) == before


def test_values_and_history_move_to_the_branch_and_the_refs_go(store, elsewhere, git, old):
    histories = {path: store.read_history(path) for path in ("facts/dev/wine.json",
                 "models/wine.json", "freezes/dev.json")}  # fmt: skip

    assert store.carry_over()

    assert refs_of(git) == []
    assert elsewhere.read_snapshot() == old
    assert {path: elsewhere.read_history(path) for path in histories} == histories
    assert not elsewhere.carry_over()
    assert not store.carry_over()


@pytest.mark.sample(1)
@pytest.mark.parametrize("document", [b"{", b"", None, b'{"a": 1}', b"\xff\x00"])
def test_what_nobody_can_read_is_carried_over_as_it_is_and_stays_closed(
    store, elsewhere, git, old, document
):
    write_old(git, "models/rye", document)
    write_old(git, "facts/dev/rye", document)
    missed = []

    assert store.carry_over()

    found = elsewhere.read_snapshot(missed=missed.append)
    assert (found.unknown, found.unknown_models) == (frozenset({("dev", "rye")}), {"rye"})
    assert (found.releases, found.models) == (old.releases, old.models)
    assert len(missed) == 2
    tip = git.ls_remote("origin", [STATE])[STATE]
    assert git.read_file(tip, "models/rye.json") == (document or b"")


@pytest.mark.long
def test_a_ref_that_holds_no_facts_stays_and_is_named(store, git, old):
    for ref in ("facts/junk", "facts/dev/wine2/extra", "models/Wine", "freezes/a/b"):
        write_old(git, ref, b"{}")
    assert store.read_snapshot() == old

    assert store.carry_over()

    assert store.read_snapshot() == old
    junk = ("facts/dev/wine2/extra", "facts/junk", "freezes/a/b", "models/Wine")
    assert refs_of(git) == [f"refs/modelyard/{each}" for each in junk]
    assert [each.partition(":")[0] for each in store.left_over()] == refs_of(git)
    assert not store.carry_over()


def test_the_first_write_of_anybody_carries_everything_over(store, elsewhere, git, old):
    store.update_model("rye", lambda facts: replace(facts, holds={"v9": HOLD}))

    assert elsewhere.read_snapshot() == replace(
        old, models={**old.models, "rye": ModelFacts(holds={"v9": HOLD})}
    )
    assert refs_of(git) == []


def test_a_write_to_a_fact_that_is_not_carried_over_yet_changes_its_last_value(store, git, old):
    store.update_model("wine", lambda facts: replace(facts, holds={**facts.holds, "v3": HOLD}))

    assert set(store.read_model("wine").holds) == {"v2", "v3"}
    assert len(store.read_history(model_path("wine"))) == 2


def test_two_machines_that_carry_over_at_once_do_it_once(store, elsewhere, git, old):
    found = []
    threads = [
        threading.Thread(target=lambda each=each: found.append(each.carry_over()))
        for each in (store, elsewhere)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert True in found
    assert store.read_snapshot() == elsewhere.read_snapshot() == old
    tip = git.ls_remote("origin", [STATE])[STATE]
    store._refs.ensure_commits([tip])
    subjects = [entry.subject for entry in git.log(tip)]
    assert subjects.count("Carry the facts over from their refs") == 1


def test_a_write_to_an_old_ref_in_the_meantime_is_carried_over_too(store, elsewhere, git, old,
                                                                   monkeypatch):  # fmt: skip
    push, facts = RemoteRefs.push_refs, ModelFacts(holds={"v2": HOLD, "v7": HOLD})

    def late(self, updates):
        monkeypatch.setattr(RemoteRefs, "push_refs", push)
        write_old(git, "models/wine", *values(ModelFacts, facts))
        push(self, updates)

    monkeypatch.setattr(RemoteRefs, "push_refs", late)

    assert store.carry_over()

    assert elsewhere.read_model("wine") == facts


KILLED = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from modelyard.adapters.git import remote_refs
from modelyard.adapters.git.repository import Git
from adapters.facts.test_old_refs import store_of

remote_refs.RemoteRefs.push_refs = lambda *_: os._exit(9)
store_of(Git(Path(sys.argv[1]))).carry_over()
"""


@pytest.mark.long
def test_killed_before_the_push_nothing_has_happened_and_it_may_be_run_again(
    store, elsewhere, git, old, pytestconfig
):
    before = git.ls_remote("origin", ["*"])
    tests = str(pytestconfig.rootpath / "tests")
    command = [sys.executable, "-c", KILLED, str(git.root), tests]

    assert subprocess.run(command, check=False).returncode == 9

    assert git.ls_remote("origin", ["*"]) == before
    assert store.carry_over()
    assert elsewhere.read_snapshot() == old
    assert git.run("for-each-ref", "refs/modelyard-unfinished").stdout == b""


@pytest.mark.long
def test_a_remote_that_deletes_nothing_keeps_the_old_refs_and_gets_the_branch(
    store, elsewhere, git, old, tmp_path
):
    hook = tmp_path / "remote.git" / "hooks" / "update"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text('#!/bin/sh\ncase $3 in 0000*) echo "nobody deletes here"; exit 1;; esac\n')
    hook.chmod(0o755)
    before = refs_of(git)

    assert store.carry_over()

    assert (refs_of(git), elsewhere.read_snapshot()) == (before, old)
    elsewhere.update_model("wine", lambda facts: replace(facts, holds={}))
    assert not store.carry_over()
    assert store.read_model("wine").holds == {}

    hook.unlink()
    assert store.carry_over()
    assert (refs_of(git), store.read_model("wine").holds) == ([], {})


def test_what_an_old_modelyard_writes_afterwards_is_named_and_kept(store, git, old):
    store.carry_over()
    write_old(git, "models/wine", *values(ModelFacts, ModelFacts(holds={"v1": HOLD})), start=LATER)

    assert not store.carry_over()

    assert set(store.read_model("wine").holds) == {"v2"}
    (said,) = store.left_over()
    assert said.startswith("refs/modelyard/models/wine: ")


def test_a_ref_that_appears_once_there_is_a_branch_is_no_fact(store, git, old):
    store.carry_over()
    write_old(git, "models/rye", *values(ModelFacts, ModelFacts(holds={"v1": HOLD})))

    assert not store.carry_over()

    assert store.read_model("rye").holds == {}
    assert [said.partition(": ")[0] for said in store.left_over()] == ["refs/modelyard/models/rye"]


def test_a_ref_that_points_to_no_commit_keeps_only_itself_closed(store, git, old):
    blob = git.run("hash-object", "-w", "--stdin", stdin=b"{}").stdout.decode().strip()
    git.run("push", "-q", "origin", f"{blob}:refs/modelyard/models/rye")

    assert store.carry_over()

    found = store.read_snapshot(missed=lambda _: None)
    assert found == replace(old, unknown_models=frozenset({"rye"}))
    assert len(store.read_history(release_path("dev", "wine"))) == 2


def test_a_branch_in_the_way_is_named(store, git):
    commit = write_commits(
        git.root, None, [NewCommit(documents={"a": b"a"}, message="x", author="A", at=AT)]
    )
    git.push("origin", {f"{STATE}/mine": (None, commit)})

    for call in (store.read_snapshot, lambda: store.update_model("m", lambda _: ModelFacts())):
        with pytest.raises(CannotAnswer, match="modelyard/state/mine of origin stands in the way"):
            call()


def test_somebodys_code_under_the_name_of_the_branch_is_named_and_not_written_to(store, git):
    documents = {"README.md": b"hello", "models/wine/model.yaml": b"x", "src/a.py": b"pass"}
    commit = write_commits(
        git.root, None, [NewCommit(documents=documents, message="x", author="A", at=AT)]
    )
    git.push("origin", {STATE: (None, commit)})

    for call in (store.read_snapshot, lambda: store.update_model("m", lambda _: ModelFacts())):
        with pytest.raises(CannotAnswer, match="the branch modelyard/state of origin holds no fac"):
            call()
    assert git.ls_remote("origin", [STATE]) == {STATE: commit}
