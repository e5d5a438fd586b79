"""A spec that cannot be read closes its own way forward: a rollback of the model gets out."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest

from modelyard.adapters.specs.documents import dump_spec
from modelyard.domain.promotion.actions import RollBack
from modelyard.domain.promotion.plan import plan
from modelyard.domain.specs.repository import OnUnreviewed, Repository
from modelyard.errors import Refused
from modelyard.operations.reconcile.collect import collect_world
from modelyard.operations.watch.observe import observe_model
from operations.yard import MODEL, SHORT, living_yard, manifests, record_file, release_file
from operations.yard_with_history import run

MODEL_FILE = f"models/{MODEL}/model.yaml"
BROKEN = {
    "no YAML": b"version: [",
    "empty": b"",
    "bytes that are no text": b"\xff\xfe\x00",
    "another shape": b"- v2\n",
    "a field too many": b"format: modelyard/v1\nkind: Release\nevil: true\n",
    "a bomb of aliases": b"a: &a [x]\nb: [*a, *a]\n<<: *a\n",
}


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    yard = living_yard(tmp_path_factory.mktemp("start") / "yard", SHORT)
    yard.record("v2", champion="v1")
    return yard


@pytest.fixture
def yard(start, tmp_path):
    """v1 is verified everywhere; v2 has a record and is nowhere."""
    return start.copy(tmp_path / "yard")


@pytest.fixture(scope="module")
def failing(tmp_path_factory):
    yard = living_yard(tmp_path_factory.mktemp("failing") / "yard", SHORT)
    yard.record("v2", champion="v1")
    yard.put("v2", "canary", is_verified=False)
    yard.broken.add("v2")
    observe_model(yard.workspace(), MODEL, yard.said.append)
    return yard


def incidents(yard):
    return [incident.what for incident in yard.model_facts.incidents]


@pytest.mark.long
@pytest.mark.parametrize("how", BROKEN)
def test_a_pushed_pin_that_cannot_be_read_is_restored(yard, how):
    where = "canary" if how == "empty" else "production"
    before = yard.read(release_file(where))
    commit = yard.commit({release_file(where): BROKEN[how]}, "v2 now", author="Mallory")

    yard.rest()

    assert yard.read(release_file(where)) == before
    assert yard.running()[where][0] == "v1"
    (what,) = incidents(yard)
    assert f"{where} has no release of m, unreviewed: commit {commit[:10]} by Mallory" in what


@pytest.mark.long
def test_a_pushed_pin_that_became_a_link_is_restored(yard):
    before = yard.read(release_file("production"))
    main = yard.main()
    blob = yard.git.run("hash-object", "-w", "--stdin", stdin=b"/etc/passwd").stdout.decode()
    listing = yard.git.run("ls-tree", f"{main}:environments/production/releases").stdout.decode()
    link = "".join(
        f"120000 blob {blob.strip()}\t{row.partition(chr(9))[2]}\n" for row in listing.splitlines()
    )
    folder = yard.git.run("mktree", stdin=link.encode()).stdout.decode().strip()
    for name in ("production", "environments", ""):
        path = {"production": "environments/production", "environments": "environments"}.get(name)
        rows = yard.git.run("ls-tree", f"{main}:{path or ''}").stdout.decode().splitlines()
        child = {"production": "releases", "environments": "production", "": "environments"}[name]
        new = [
            f"040000 tree {folder}\t{child}" if row.endswith(f"\t{child}") else row for row in rows
        ]
        folder = yard.git.run("mktree", stdin="\n".join([*new, ""]).encode()).stdout
        folder = folder.decode().strip()
    commit = yard.git.commit_tree(
        folder, parents=[main], message="A link", author="Mallory", at=yard.clock.at
    )
    yard.git.push("origin", {"refs/heads/main": (main, commit)})

    yard.rest()

    assert yard.read(release_file("production")) == before


@pytest.mark.long
def test_its_servers_run_on_where_people_are_only_told(yard):
    settings = Repository(unreviewed=OnUnreviewed.TELL)
    yard.land("ada/tell", {"modelyard.yaml": dump_spec("Repository", settings)}, "Settings")
    yard.commit({release_file("production"): b"version: ["}, "v2 now", author="Mallory")

    with pytest.raises(Refused, match=release_file("production")):
        yard.rest()

    assert yard.running()["production"][0] == "v1"
    assert "A person must decide" in incidents(yard)[0]


def test_a_reviewed_pin_of_a_newer_tool_is_left_alone(yard):
    strange = yard.read(release_file("production")) + b"newer: true\n"
    branch = f"modelyard/promote/production/{MODEL}"
    yard.land(branch, {release_file("production"): strange}, "Release v1 by a newer tool")

    with pytest.raises(Refused, match="newer"):
        yard.rest()

    assert yard.read(release_file("production")) == strange
    assert yard.running()["production"][0] == "v1"
    assert incidents(yard) == []


UNREADABLE = {
    "the model itself": {MODEL_FILE: b"kind: Model\nname: [\n"},
    "the model, which is gone": {MODEL_FILE: None},
    "the model, of a newer tool": {MODEL_FILE: b"apiVersion: modelyard/v9\nkind: Model\n"},
    "the pin of another environment": {release_file("production"): b"version: ["},
    "a record": {record_file("v1"): b"- no record\n"},
    "a version": {f"models/{MODEL}/versions/v3.yaml": b"{"},
    "a held-out set": {f"models/{MODEL}/heldout/x.yaml": b"name: [\n"},
    "another environment": {"environments/production/environment.yaml": b"\xff"},
    "a new environment": {"environments/next/environment.yaml": b"what: ever\n"},
}


@pytest.mark.sample(1)
@pytest.mark.parametrize("what", UNREADABLE)
def test_a_version_that_the_judge_failed_is_rolled_back_whatever_cannot_be_read(
    failing, tmp_path, what
):
    yard = failing.copy(tmp_path / "yard")
    yard.commit(UNREADABLE[what], "By hand", author="Mallory")

    with suppress(Refused):  # it names what stays unreadable once everything else is done
        yard.reconcile()

    assert yard.names()["canary"] == "v1"
    assert "v2" in yard.model_facts.holds


@pytest.mark.long
@pytest.mark.parametrize("what", UNREADABLE)
def test_a_person_rolls_back_whatever_cannot_be_read(failing, tmp_path, what):
    yard = failing.copy(tmp_path / "yard")
    yard.broken.clear()
    yard.commit(UNREADABLE[what], "By hand", author="Mallory")

    said = run(yard, "rollback", "canary", MODEL, "--reason", "slow", "--as", "ada")

    assert (said.code, yard.names()["canary"]) == (0, "v1"), said.err


def test_a_rollback_of_a_pin_that_cannot_be_read_names_the_way(yard):
    yard.commit({release_file("canary"): b"version: ["}, "v2 now")

    said = run(yard, "rollback", "canary", MODEL, "--reason", "slow", "--as", "ada")

    assert said.code == 1
    assert f"{release_file('canary')}:" in said.err
    assert f"modelyard reconcile {MODEL} restores the one before it" in said.err


def test_nothing_is_promoted_past_a_spec_that_cannot_be_read(yard):
    yard.put("v2", "staging")
    yard.commit({record_file("v1"): b"- no record\n"}, "By hand")

    world = collect_world(yard.workspace(), MODEL, may_lack_specs=True)

    assert plan(world) == ()
    assert any(not isinstance(each, RollBack) for each in plan(replace(world, unreadable=None)))


@pytest.mark.long
def test_a_dry_run_shows_the_way_back_and_names_what_cannot_be_read(yard):
    yard.commit(
        {release_file("production"): b"version: [", manifests("production"): None}, "v2 now"
    )

    said = run(yard, "reconcile", MODEL, "--dry-run")

    assert said.code == 3
    assert "m: would roll production back" in said.out or "restore" in said.out
    assert release_file("production") in said.err
