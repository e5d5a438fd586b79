"""The promise: a machine that does not run the servers cannot take the platform down."""

from __future__ import annotations

import json
import os
import shutil
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from git_commits import STATE, put_state, spoil_state
from modelyard.adapters.cluster.local_site import found_site, read_site
from modelyard.domain.sites import SEEN_EVERY
from modelyard.errors import Refused
from modelyard.operations.doctor.fact_checks import this_site_runs_the_environments
from modelyard.operations.doctor.runner import Checkout
from modelyard.operations.reconcile.loop import reconcile_model
from modelyard.operations.rollback import apply_rollback, decide_rollback
from modelyard.operations.sites import adopt, read_standing, refuse_elsewhere, take_standing
from modelyard.operations.status.report import status_report
from modelyard.operations.status.worlds import collect_worlds
from modelyard.operations.watch.observe import observe_model
from modelyard.operations.watch.pass_once import run_pass, starting_releases
from operations.yard import MODEL, SHORT, living_yard, new_yard

NAMES = [environment.name for environment in SHORT]
V1 = dict.fromkeys(NAMES, "v1")


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return living_yard(tmp_path_factory.mktemp("start") / "yard", SHORT)


@pytest.fixture
def yard(start, tmp_path):
    """v1 is verified everywhere, and the machine that runs it has been watching."""
    yard = start.copy(tmp_path / "yard")
    yard.rest()
    return yard


@pytest.fixture
def blind(yard):
    """A second clone: it has no artifacts, so no server of it ever becomes ready."""
    return yard.elsewhere("laptop", never_ready=("v1", "v2"))


def watch(workspace, said, times=3):
    """Run passes, as `modelyard watch` does."""
    for _ in range(times):
        result = run_pass(workspace, report=said.append, with_checks=True)
    return result


def owners(yard):
    found = read_standing(yard.workspace()).owners
    return {name: owner.name for name, owner in found.items()}


def findings(workspace):
    checkout = Checkout(workspace.services.root, lambda: workspace)
    return list(this_site_runs_the_environments(checkout))


def test_the_first_site_to_run_a_yard_takes_it_by_itself(tmp_path):
    yard = new_yard(tmp_path / "yard", SHORT)

    yard.rest()

    assert owners(yard) == dict.fromkeys(NAMES, "the yard")
    assert findings(yard.workspace()) == []


def test_a_second_clone_that_watches_changes_nothing_at_all(yard, blind):
    yard.record("v2", champion="v1")
    yard.add_version("v3")
    before, said = yard.visible(), []

    for _ in range(4):
        watch(blind, said)
        yard.clock.at += timedelta(minutes=30)

    assert yard.visible() == before
    assert yard.ledger("cluster-laptop").read() == yard.ledger("workflows-laptop").read() == {}
    assert said == [
        "this site only reads there: canary, production, staging: run by the yard, last seen "
        "2026-03-01 12:00 UTC; to take over: modelyard adopt canary production staging"
    ]
    assert starting_releases(blind) == ()


@pytest.mark.long
def test_the_machine_with_the_servers_goes_on_beside_it(yard, blind):
    yard.record("v2", champion="v1")
    said = []
    for _ in range(6):
        watch(blind, said, times=1)
        yard.clock.at += timedelta(minutes=10)
        yard.rest()

    assert yard.names()["staging"] == "v2"
    assert yard.model_facts.holds == {}
    assert yard.facts("staging").healthy_since is not None


@pytest.mark.long
def test_two_machines_that_start_at_once_give_all_environments_to_one(tmp_path):
    yard = new_yard(tmp_path / "yard", SHORT)
    machines = [yard.elsewhere(name) for name in ("one", "two", "three")]
    threads = [threading.Thread(target=take_standing, args=(each,)) for each in machines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(set(owners(yard).values())) == 1
    assert sorted(len(read_standing(each).mine) for each in machines) == [0, 0, len(NAMES)]


def test_observing_by_hand_from_a_second_clone_writes_and_starts_nothing(yard, blind):
    before = yard.visible()

    assert not observe_model(blind, MODEL, print)

    assert yard.visible() == before
    assert yard.ledger("cluster-laptop").read() == {}


def test_reconcile_of_a_second_clone_is_refused_and_trains_nothing(yard, blind):
    yard.add_version("v2")
    before = yard.visible()

    with pytest.raises(Refused, match="run by the yard, last seen"):
        refuse_elsewhere(take_standing(blind))
    assert reconcile_model(blind, MODEL, wait=False, report=print) == 0

    assert yard.visible() == before
    assert yard.ledger("workflows-laptop").read() == {}


@pytest.mark.long
def test_status_and_a_persons_rollback_work_from_a_second_clone(yard, blind):
    yard.record("v2", champion="v1")
    yard.put("v2", "staging")
    told = status_report(collect_worlds(blind, MODEL))
    assert {each["version"] for each in told["releases"]} == {"v1", "v2"}

    rollback = decide_rollback(blind, "staging", MODEL, reason="bad", by="Bo", remove=False)
    apply_rollback(blind, rollback, print)

    yard.rest()
    assert yard.names() == V1
    assert yard.running()["staging"][0] == "v1"
    assert yard.ledger("cluster-laptop").read() == {}


def test_an_upgrade_does_not_lock_out_the_machine_that_runs_the_servers(start, tmp_path):
    yard = start.copy(tmp_path / "yard")  # facts, and nobody is written down
    laptop, said = yard.elsewhere("laptop", never_ready=("v1",)), []

    watch(laptop, said)
    assert owners(yard) == {}
    assert said[0].startswith("this site only reads there: canary, production, staging: nobody ")
    assert yard.facts("production").healthy_since is not None

    yard.rest()
    assert set(owners(yard).values()) == {"the yard"}
    assert yard.model_facts.holds == {}


def test_a_removed_state_folder_is_another_site_until_it_adopts(yard):
    """The same machine, with nothing left of what it ran."""
    before, said = yard.visible(), []
    same = yard.elsewhere("clone-without-state", never_ready=("v1",))

    watch(same, said)

    assert yard.visible() == before
    assert len(said) == 1
    assert [each.fix for each in findings(same)] == ["modelyard adopt canary production staging"]


@pytest.mark.long
def test_adopting_takes_over_at_one_moment_and_the_owner_before_stops(yard, blind):
    tip = yard.refs()[STATE]
    seeing = yard.elsewhere("laptop")
    yard.clock.at += timedelta(minutes=5)

    taken = adopt(seeing, ["canary"])

    assert [(each.environment, each.before.name, each.is_new) for each in taken] == [
        ("canary", "the yard", True),
        ("production", "the yard", True),
    ]
    assert owners(yard) == {"canary": "laptop", "production": "laptop", "staging": "the yard"}
    log = yard.git.log(f"{tip}..{fetched(yard)}")
    assert [entry.subject for entry in log] == [
        "sites/canary, sites/production: site, name, since, seen_at"
    ]
    facts, said = yard.facts("production"), []
    yard.never_ready.add("v1")
    watch(yard.workspace(), said)
    assert yard.facts("production") == facts
    assert said[0].startswith("this site only reads there: canary, production: run by laptop")
    watch(seeing, said)
    assert yard.ledger("cluster-laptop").read().keys() == {f"canary/{MODEL}", f"production/{MODEL}"}
    assert [(each.is_new) for each in adopt(seeing, [])] == [False, False, True]


def fetched(yard):
    tip = yard.refs()[STATE]
    yard.workspace().ensure([tip])
    return tip


def test_what_the_former_owner_sees_in_the_middle_of_a_pass_is_not_written(yard, blind):
    workspace = yard.workspace()
    site = workspace.services.cluster.site()
    before = yard.facts("canary")

    def change(facts):
        if facts.healthy_since is not None:
            adopt(blind, ["canary"])
        return replace(facts, healthy_since=None)

    with pytest.raises(Refused, match="canary is run by laptop"):
        workspace.facts.observe_release("canary", MODEL, change, site=site)

    assert yard.facts("canary") == before


def test_a_dry_adoption_says_what_it_would_take_and_takes_nothing(yard, blind):
    before = yard.visible()

    (staging,) = adopt(blind, ["staging"], dry_run=True)

    assert (staging.before.name, staging.is_new) == ("the yard", True)
    assert yard.visible() == before


@pytest.mark.long
@pytest.mark.parametrize("document", [b"{", b"", b"{}", b'{"site": 7}', b"null"])
def test_an_owner_that_cannot_be_read_is_nobody_here_until_somebody_adopts(yard, document):
    spoil_state(yard.git, "sites/production.json", document)
    facts, said = yard.facts("production"), []
    yard.never_ready.add("v1")

    watch(yard.workspace(), said)

    if document != b"null":
        assert yard.facts("production") == facts
        assert said[0].startswith("this site only reads there: production: who runs it cannot be")
    adopt(yard.workspace(), ["production"])
    assert owners(yard)["production"] == "the yard"


def test_without_any_owner_that_can_be_read_nobody_acts(yard, blind):
    for name in NAMES:
        put_state(yard.git, f"sites/{name}.json", None)
    put_state(yard.git, "sites", b"junk")
    before = yard.visible()

    watch(yard.workspace(), [])
    watch(blind, [])

    assert yard.visible() == before


@pytest.mark.long
def test_a_new_environment_goes_to_the_site_that_has_the_others(yard, blind):
    put_state(yard.git, "sites/canary.json", None)

    watch(blind, [])
    assert "canary" not in owners(yard)
    yard.rest()

    assert owners(yard)["canary"] == "the yard"


@pytest.mark.long
def test_an_owner_writes_down_that_it_is_there_now_and_then_and_no_more(yard):
    tip = yard.refs()[STATE]
    watch(yard.workspace(), [])
    assert yard.refs()[STATE] == tip

    yard.clock.at += SEEN_EVERY
    watch(yard.workspace(), [])
    watch(yard.workspace(), [])

    seen = {owner.seen_at for owner in read_standing(yard.workspace()).owners.values()}
    assert seen == {yard.clock.at}
    assert len(yard.git.log(f"{tip}..{fetched(yard)}")) == 1


def test_a_clock_that_goes_backwards_takes_nothing_from_anybody(yard, blind):
    yard.clock.at -= timedelta(days=400)
    before = yard.visible()

    watch(blind, [])
    assert yard.visible() == before
    watch(yard.workspace(), [])

    assert owners(yard) == dict.fromkeys(NAMES, "the yard")
    # Whoever runs the servers begins a soak anew whose time is in the future, and nothing else.
    (refs, *rest), (refs_before, *rest_before) = yard.visible(), before
    facts = "refs/heads/modelyard/state"
    assert (refs | {facts: ""}, rest) == (refs_before | {facts: ""}, rest_before)


# The identity of a state folder.


def test_a_state_folder_keeps_its_identity_and_a_new_one_gets_another(tmp_path):
    state = tmp_path / "yard" / ".modelyard"
    assert read_site(state) is None

    first = found_site(state)

    assert found_site(state) == read_site(state) == first
    shutil.rmtree(state)
    assert read_site(state) is None
    assert found_site(state).id != first.id


def test_a_copy_of_a_state_folder_is_another_site_and_a_moved_one_is_the_same(tmp_path):
    first = found_site(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "copy")

    assert read_site(tmp_path / "copy") is None
    copied = found_site(tmp_path / "copy")
    assert copied.id != first.id
    assert read_site(tmp_path / "copy") == copied

    (tmp_path / "one").rename(tmp_path / "moved")
    assert read_site(tmp_path / "moved").id == first.id
    assert found_site(tmp_path / "moved").id == first.id
    shutil.copytree(tmp_path / "moved", tmp_path / "one")
    assert read_site(tmp_path / "moved").id == first.id


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", '{"id": 7, "place": "x"}', '{"id": ""}']
)
def test_a_damaged_identity_is_no_identity_and_gets_a_new_one(tmp_path, content):
    found_site(tmp_path)
    (tmp_path / "site.json").write_text(content)

    assert read_site(tmp_path) is None
    assert found_site(tmp_path) == read_site(tmp_path)


def no_folder(folder: Path) -> None:
    assert not folder.exists()


def a_damaged_identity(folder: Path) -> None:
    folder.mkdir()
    (folder / "site.json").write_text("{")


def a_copied_folder(folder: Path) -> None:
    found_site(folder.parent / "original")
    shutil.copytree(folder.parent / "original", folder)


def a_moved_folder(folder: Path) -> None:
    found_site(folder.parent / "original")
    (folder.parent / "original").rename(folder)


@pytest.mark.parametrize("before", [no_folder, a_damaged_identity, a_copied_folder, a_moved_folder])
def test_many_processes_that_start_in_one_folder_have_one_identity(tmp_path, before):
    folder, found, together = tmp_path / "s", [], threading.Barrier(16)
    before(folder)

    def start() -> None:
        together.wait()
        found.append(found_site(folder).id)

    threads = [threading.Thread(target=start) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 16
    assert len(set(found)) == 1
    assert [file.name for file in folder.iterdir()] == ["site.json"]
    assert json.loads((folder / "site.json").read_text())["id"] == found[0]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(Exception, match=r"site\.json"):
        found_site(tmp_path / "state")
