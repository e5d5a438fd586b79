"""A rollback gets out, even if people occupy, protect or damage what it needs on the forge."""

from __future__ import annotations

import shlex
import stat
import subprocess
from dataclasses import replace

import pytest

from git_commits import write_commit
from modelyard.domain.people import Person
from modelyard.domain.promotion.change import occupies_tool_name, parse_branch
from modelyard.domain.promotion.pulls import PullState
from modelyard.errors import CannotAnswer
from modelyard.operations.doctor.checks import no_branch_occupies_a_name_that_the_tool_needs
from modelyard.operations.doctor.runner import Checkout
from modelyard.operations.sites import take_standing
from modelyard.operations.watch.observe import observe_model
from operations.yard import AT, BOT, MODEL, SHORT, contested_yard, new_yard

FACTS = '[ "$ref" != refs/heads/modelyard/state ] || exit 0;'
OWN = f"modelyard/rollback/canary/{MODEL}"


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    yard = contested_yard(tmp_path_factory.mktemp("start") / "yard")
    yard.put("v2", "canary", is_verified=False)
    yard.broken.add("v2")
    observe_model(yard.workspace(), MODEL, yard.said.append)
    return yard


@pytest.fixture
def yard(start, tmp_path):
    """v1 is verified everywhere, v2 was judged bad in the canary and is still there."""
    return start.copy(tmp_path / "yard")


def occupied(yard, name, space="refs/heads/"):
    """Somebody's branch, with a commit that nothing else has."""
    main = yard.main()
    documents = {"mine.txt": b"years of work\n"}
    commit = write_commit(
        yard.git, main, documents, parents=[main], message=name, author="Mallory", at=AT
    )
    yard.git.push("origin", {f"{space}{name}": (None, commit)})
    return commit


def hook(yard, script):
    """A rule of the forge, as a protected branch has one."""
    file = yard.folder / "remote.git" / "hooks" / "update"
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"#!/bin/sh\nref=$1 old=$2 new=$3\n{script}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)


def configure(yard, key, value):
    remote = str(yard.folder / "remote.git")
    subprocess.run(["git", "-C", remote, "config", key, value], check=True)


def findings(yard):
    """What `modelyard doctor` says of occupied names."""
    workspace = yard.workspace()
    checkout = Checkout(workspace.services.root, lambda: workspace)
    return list(no_branch_occupies_a_name_that_the_tool_needs(checkout))


OCCUPIED = [
    "modelyard/rollback",
    f"{OWN}/x",
    "modelyard/rollback/canary",
    f"{OWN}/deep/er",
]
"""Above its name and below it; the first of each first."""


BEFORE_ANY_FACT = ["modelyard", "modelyard/state/x"]
"""Git itself keeps these away from a yard that has facts: `modelyard/state` is a branch."""


@pytest.mark.long
@pytest.mark.parametrize("name", BEFORE_ANY_FACT)
def test_the_branch_of_the_facts_keeps_its_own_name_free(yard, name):
    with pytest.raises(CannotAnswer, match="cannot create"):
        occupied(yard, name)

    yard.reconcile()

    assert yard.names()["canary"] == "v1"


@pytest.mark.sample(1)
@pytest.mark.parametrize("name", OCCUPIED)
def test_a_branch_that_occupies_its_name_is_moved_aside_and_keeps_its_commits(yard, name):
    commit = occupied(yard, name)

    yard.reconcile()

    assert yard.names()["canary"] == "v1"
    assert f"refs/heads/{name}" not in yard.refs()
    assert yard.refs()[f"refs/heads/aside/{name}-{commit[:12]}"] == commit
    assert findings(yard) == []


@pytest.mark.long
@pytest.mark.parametrize("name", OCCUPIED)
def test_where_nobody_may_move_it_the_rollback_takes_another_name(yard, name):
    commit = occupied(yard, name)
    hook(yard, f'[ "$ref" != "refs/heads/{name}" ] || exit 1')

    yard.reconcile()

    assert yard.names()["canary"] == "v1"
    assert yard.refs()[f"refs/heads/{name}"] == commit
    assert yard.pull(f"modelyard-2/rollback/canary/{MODEL}").state is PullState.MERGED


@pytest.mark.long
@pytest.mark.parametrize(
    "rule",
    [
        f'[ "$ref" != "refs/heads/{OWN}" ]',
        # The branch of the facts is the tool's whatever else is protected: it has to write them.
        f'{FACTS} case "$ref" in refs/heads/modelyard/*) exit 1;; esac',
        f'{FACTS} case "$ref" in refs/heads/modelyard/*|refs/heads/modelyard-2/*) exit 1;; esac',
    ],
)
def test_a_protected_name_is_not_insisted_on(yard, rule):
    hook(yard, rule)

    yard.reconcile()

    assert yard.names()["canary"] == "v1"


@pytest.mark.long
def test_a_forge_that_deletes_nothing_merges_all_the_same(yard):
    configure(yard, "receive.denyDeletes", "true")

    yard.reconcile()

    assert yard.names()["canary"] == "v1"
    assert yard.pull(OWN).state is PullState.MERGED
    assert yard.reconcile() == 0


@pytest.mark.long
def test_a_forge_that_deletes_nothing_has_room_for_the_next_rollback(yard):
    configure(yard, "receive.denyDeletes", "true")
    configure(yard, "receive.denyNonFastForwards", "true")
    occupied(yard, OWN)
    yard.reconcile()
    yard.record("v3", champion="v1")
    yard.put("v3", "canary", is_verified=False)
    yard.broken.add("v3")
    observe_model(yard.workspace(), MODEL, yard.said.append)

    yard.reconcile()

    assert yard.names()["canary"] == "v1"


@pytest.mark.long
def test_other_names_that_are_occupied_too_are_passed_over(yard):
    for name in ("modelyard/rollback", "modelyard-2", "modelyard-3/rollback"):
        occupied(yard, name)
    hook(yard, 'case "$ref" in refs/heads/modelyard/rollback|refs/heads/modelyard-*) '
         '[ "$new" != 0000000000000000000000000000000000000000 ] || exit 1;; esac')  # fmt: skip

    yard.reconcile()

    assert yard.names()["canary"] == "v1"
    assert yard.pull(f"modelyard-4/rollback/canary/{MODEL}").state is PullState.MERGED


@pytest.mark.long
@pytest.mark.parametrize("place", ["aside", "aside/modelyard", "aside/modelyard/rollback"])
def test_the_place_it_is_moved_to_may_be_occupied_as_well(yard, place):
    occupied(yard, place)
    commit = occupied(yard, "modelyard/rollback")

    yard.reconcile()

    assert yard.names()["canary"] == "v1"
    assert list(yard.refs().values()).count(commit) == 1


@pytest.mark.long
def test_an_open_pull_request_of_the_moved_branch_follows_it_and_is_told(yard):
    occupied(yard, "modelyard/rollback")
    pull = yard.pulls.open_branch("modelyard/rollback", title="x", body="", author="Mallory")

    yard.reconcile()

    after = yard.pulls.get(pull.number)
    assert (after.state, after.head) == (PullState.OPEN, pull.head)
    assert after.branch == f"aside/modelyard/rollback-{pull.head[:12]}"
    assert after.comments[-1].author == Person.named(BOT)
    assert after.comments[-1].body == (
        "`modelyard/rollback` stands where the tool needs a name. "
        f"Its commits are at `{after.branch}` now."
    )


@pytest.mark.long
def test_a_pull_request_that_somebody_put_on_its_branch_does_not_stop_it(yard):
    main = yard.main()
    head = write_commit(
        yard.git, main, {"README.md": b"x"}, parents=[main], message="x", author="Eve", at=AT
    )
    yard.git.push("origin", {f"refs/heads/{OWN}": (None, head)})
    theirs = yard.open(OWN, "Eve")

    yard.reconcile()

    assert yard.names()["canary"] == "v1"
    assert yard.pulls.get(theirs.number).state is PullState.CLOSED


@pytest.mark.long
@pytest.mark.parametrize("junk", ["pulls", "statuses", "pulls/1/x", "pulls/2/x/y"])
def test_a_ref_that_occupies_the_names_of_pull_requests_and_statuses_does_not_stop_it(yard, junk):
    # Who occupies a name first deletes what has it: then no release has a review behind it.
    gone = {ref: (sha, None) for ref, sha in yard.refs().items() if "/modelyard/pulls/" in ref}
    yard.git.push("origin", gone)
    commit = occupied(yard, junk, "refs/modelyard/")

    yard.reconcile()

    assert yard.names()["canary"] == "v1"
    assert commit in yard.refs().values()


@pytest.mark.long
def test_a_tag_of_its_name_is_in_nobodys_way(yard):
    commit = occupied(yard, OWN, "refs/tags/")

    yard.reconcile()

    assert yard.names()["canary"] == "v1"
    assert yard.refs()[f"refs/tags/{OWN}"] == commit


@pytest.mark.long
def test_a_kill_between_the_move_and_the_rollback_loses_nothing(yard, monkeypatch):
    commit = occupied(yard, "modelyard/rollback")
    git = type(yard.git)
    real = git.push

    def torn(self, remote, updates):
        real(self, remote, updates)
        if any("/aside/" in ref for ref in updates):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(git, "push", torn)
        with pytest.raises(KeyboardInterrupt):
            yard.reconcile()
    assert commit in yard.refs().values()

    yard.reconcile()

    assert yard.names()["canary"] == "v1"


@pytest.mark.long
@pytest.mark.parametrize(
    "name", ["modelyard/promote", "modelyard/promote/canary", f"modelyard/promote/canary/{MODEL}/x"]
)
def test_what_occupies_the_name_of_a_promotion_is_moved_aside_as_well(yard, name):
    yard.reconcile()
    yard.record("v3", champion="v1")
    yard.put("v3", "staging")
    commit = occupied(yard, name)

    yard.reconcile()

    assert yard.pull(f"modelyard/promote/canary/{MODEL}").state is PullState.OPEN
    assert yard.refs()[f"refs/heads/aside/{name}-{commit[:12]}"] == commit


@pytest.mark.long
def test_a_promotion_waits_where_nobody_may_move_it_and_says_for_what(yard):
    yard.reconcile()
    yard.record("v3", champion="v1")
    yard.put("v3", "staging")
    occupied(yard, "modelyard/promote")
    hook(yard, '[ "$ref" != "refs/heads/modelyard/promote" ] || exit 1')

    with pytest.raises(CannotAnswer, match="modelyard/promote stands where the tool needs") as said:
        yard.reconcile()

    assert said.value.hint == "modelyard doctor"


# What doctor says


@pytest.mark.sample(5)
@pytest.mark.parametrize(
    "name",
    [
        *OCCUPIED,
        "Modelyard",
        "modelyard/Rollback",
        f"Modelyard/rollback/canary/{MODEL}",
        "modelyard/promote",
        "modelyard/record/v2",
        f"modelyard/retrain/{MODEL}/x",
        "modelyard/State",
    ],
)
def test_doctor_names_what_stands_in_the_way_and_its_fix_works(yard, name):
    commit = occupied(yard, name)

    (found,) = findings(yard)

    assert found.what == f"the branch {name} stands where the tool needs a name"
    words = shlex.split(found.fix)
    assert words[0] == "git"
    yard.git.run(*words[1:])
    assert findings(yard) == []
    assert commit in yard.refs().values()


@pytest.mark.parametrize("name", BEFORE_ANY_FACT)
def test_doctor_names_what_stands_where_the_facts_will_be_and_its_fix_works(tmp_path, name):
    yard = new_yard(tmp_path / "yard", SHORT)
    commit = occupied(yard, name)

    with pytest.raises(
        CannotAnswer, match=f"{name} of origin stands in the way of modelyard/state"
    ):
        yard.workspace().facts.read_snapshot()
    (found,) = findings(yard)
    yard.git.run(*shlex.split(found.fix)[1:])

    assert findings(yard) == []
    assert commit in yard.refs().values()
    yard.workspace().facts.update_model(MODEL, lambda facts: replace(facts, told=("x",)))


@pytest.mark.parametrize("name", BEFORE_ANY_FACT)
def test_what_stands_where_the_facts_will_be_is_moved_aside_by_a_run(tmp_path, name):
    yard = new_yard(tmp_path / "yard", SHORT)
    commit = occupied(yard, name)

    take_standing(yard.workspace())

    assert yard.refs()[f"refs/heads/aside/{name}-{commit[:12]}"] == commit
    assert "refs/heads/modelyard/state" in yard.refs()


@pytest.mark.long
def test_a_tag_of_the_same_name_is_in_nobodys_way(yard):
    main = yard.main()
    yard.git.push("origin", {"refs/tags/modelyard/state": (None, main)})
    yard.git.run("update-ref", "refs/tags/modelyard/state", main)

    yard.reconcile()

    assert yard.names()["canary"] == "v1"


@pytest.mark.long
@pytest.mark.parametrize("how", ["on top", "beside"])
def test_code_in_place_of_the_facts_stays_and_the_command_that_restores_them_is_named(yard, how):
    state = "refs/heads/modelyard/state"
    before = yard.refs()[state]
    documents = {"models/m/model.yaml": b"x"}
    parents = [before] if how == "on top" else []
    commit = write_commit(
        yard.git, None, documents, parents=parents, message="Mine", author="Mallory", at=AT
    )
    yard.git.push("origin", {state: (before, commit)})

    with pytest.raises(CannotAnswer, match="holds no facts") as caught:
        yard.reconcile()

    assert yard.refs()[state] == commit
    command = caught.value.hint.partition(", where COMMIT")[0].replace("+COMMIT:", f"+{before}:")
    yard.git.run(*shlex.split(command)[1:])
    assert yard.refs()[f"refs/heads/aside/modelyard/state-{commit[:12]}"] == commit
    yard.reconcile()
    assert yard.names()["canary"] == "v1"


@pytest.mark.parametrize(
    "name",
    [
        OWN,
        f"modelyard/retrain/{MODEL}",
        "modelyard/state",
        "modelyard/docs",
        "modelyards",
        "ada/modelyard/rollback",
        "modelyard-2/rollback",
    ],
)
def test_what_is_in_nobodys_way_is_not_named(name):
    assert not occupies_tool_name(name)


def test_a_refused_push_does_not_send_anybody_to_their_credentials(yard):
    hook(yard, "exit 1")

    with pytest.raises(Exception, match="remote rejected") as caught:
        yard.reconcile()

    assert "credentials" not in caught.value.hint


@pytest.mark.parametrize(
    "name", [f"modelyard-2/promote/canary/{MODEL}", f"modelyard-1/rollback/canary/{MODEL}",
             f"modelyard-02/rollback/canary/{MODEL}", f"modelyard-x/rollback/canary/{MODEL}"]
)  # fmt: skip
def test_only_rollbacks_have_other_names(name):
    assert parse_branch(name) is None
