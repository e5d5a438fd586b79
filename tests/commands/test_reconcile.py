from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from click.testing import CliRunner

from git_commits import STATE, spoil_state, write_commit
from modelyard.adapters.specs.documents import dump_spec
from modelyard.cli import cli
from modelyard.domain.promotion.facts import Freeze, TrainingFacts
from modelyard.domain.promotion.pulls import PROMOTE
from modelyard.domain.specs.environment import Approvals
from modelyard.domain.verdict import Outcome, Verdict
from modelyard.errors import CannotAnswer, Conflict, Refused
from modelyard.operations.reconcile.collect import collect_world
from modelyard.operations.reconcile.loop import reconcile_model
from modelyard.operations.watch.run_checks import run_checks
from modelyard.ports import Phase
from operations.yard import (
    AT,
    BOT,
    CANARY,
    MODEL,
    clone,
    contested_yard,
    living_yard,
    manifests,
    model_named,
    new_yard,
    record_file,
    release_file,
    spec_file,
)

V1_AGAIN = dict.fromkeys(("canary", "production", "staging"), "v1")
V1_EVERYWHERE = dict.fromkeys(("canary", "dev", "production", "staging"), "v1")


@pytest.fixture(scope="module")
def new(tmp_path_factory):
    return new_yard(tmp_path_factory.mktemp("new") / "yard")


@pytest.fixture(scope="module")
def living(tmp_path_factory):
    return living_yard(tmp_path_factory.mktemp("living") / "yard")


@pytest.fixture
def empty(new, tmp_path):
    """Nothing was trained yet."""
    return new.copy(tmp_path / "yard")


@pytest.fixture
def yard(living, tmp_path):
    """v1 is verified everywhere."""
    return living.copy(tmp_path / "yard")


@pytest.fixture(scope="module")
def ill(tmp_path_factory):
    yard = contested_yard(tmp_path_factory.mktemp("ill") / "yard")
    yard.put("v2", "staging")
    yard.put("v2", "canary", is_verified=False)
    yard.broken.add("v2")
    return yard


@pytest.fixture
def bad_canary(ill, tmp_path):
    """v2 came as far as canary, and answers errors there; there is no dev."""
    return ill.copy(tmp_path / "bad canary")


def contents(yard, commit, *environments):
    """The release and the manifests of these environments, byte for byte."""
    entries = yard.git.ls_tree(commit, "environments/")
    names = {f"environments/{each}/" for each in environments}
    return {
        each.path: each.blob
        for each in entries
        if any(each.path.startswith(name) for name in names)
    }


def test_a_merged_spec_starts_its_workflow_once(empty):
    clone(empty, "other")
    empty.add_version("v1")

    assert empty.reconcile() == 1
    assert empty.reconcile("other") == 0

    assert empty.ledger("workflows").read() == {
        empty.workflow("v1"): {
            "template": "train-and-evaluate",
            "parameters": {
                "model": MODEL,
                "version": "v1",
                "attempt": "1",
                "commit": empty.main(),
            },
            "phase": "Running",
        }
    }


@pytest.mark.long
def test_a_record_and_the_first_release_arrive_in_one_pull_request(empty):
    empty.add_version("v1")
    empty.reconcile()
    empty.finish("v1")

    empty.reconcile()

    (pull,) = empty.pulls.list()
    assert (pull.title, pull.labels) == (
        "Record m v1: pass, release it to dev",
        ("v1", "gate:pass", "release"),
    )
    assert set(empty.pulls.files(1)) > {record_file("v1"), release_file("dev")}
    run_checks(empty.workspace(), empty.said.append)
    empty.reconcile()
    assert empty.titles() == [("Record m v1: pass, release it to dev", "merged")]
    assert empty.names() == {"dev": "v1"}


@pytest.mark.long
def test_a_version_the_gate_refuses_gets_its_record_and_no_release(empty):
    empty.add_version("v1")
    empty.reconcile()
    empty.finish("v1", skill=0.0)

    empty.rest()

    ((title, state),) = empty.titles()
    assert title in {"Record m v1: fail", "Record m v1: inconclusive"}
    assert state == "merged"
    assert record_file("v1") in empty.paths()
    assert empty.names() == {}


def test_an_attempt_lost_to_infrastructure_is_made_again_three_times_at_most(empty):
    empty.add_version("v1")
    for _ in range(3):
        empty.reconcile()
        empty.orchestrator.end(empty.workflow("v1"), Phase.ERROR, "node lost")

    empty.reconcile()

    assert empty.model_facts.training == {"v1": TrainingFacts(attempt=3, failed="node lost")}
    assert len(empty.ledger("workflows").read()) == 3
    assert empty.reconcile() == 0


@pytest.mark.long
def test_a_version_reaches_production_with_the_approvals_each_environment_asks_for(yard):
    yard.record("v2", champion="v1")
    yard.put("v2", "dev")

    yard.rest()
    assert yard.names() == {**V1_EVERYWHERE, "dev": "v2", "staging": "v2"}
    yard.approve("canary", by=BOT)
    yard.rest()
    assert yard.names()["canary"] == "v1"
    yard.approve("canary", by="carol")
    yard.rest()
    assert yard.running()["canary"] == ("v2", 0.2)
    assert yard.names() == {**dict.fromkeys(V1_EVERYWHERE, "v2"), "production": "v1"}
    yard.approve("production", by="carol")
    yard.rest()
    assert yard.names()["production"] == "v1"
    yard.approve("production", by="bob")
    yard.rest()

    assert yard.names() == dict.fromkeys(V1_EVERYWHERE, "v2")
    assert yard.running()["production"] == ("v2", 1.0)
    assert yard.aliases == dict.fromkeys(V1_EVERYWHERE, "v2")
    assert [state for _, state in yard.titles()] == ["merged"] * 3


@pytest.mark.long
def test_a_rollback_restores_release_and_manifests_byte_for_byte(yard):
    verified = yard.main()
    yard.record("v2", champion="v1")
    yard.put("v2", "dev", "staging")
    yard.put("v2", "canary", is_verified=False)
    yard.broken.add("v2")
    named = ("dev", "staging", "canary", "production")
    assert contents(yard, yard.main(), "canary") != contents(yard, verified, "canary")

    yard.rest()

    assert contents(yard, yard.main(), *named) == contents(yard, verified, *named)
    assert {path for path in yard.paths() if path.startswith(manifests("canary"))}
    assert yard.names() == V1_EVERYWHERE
    assert yard.aliases == V1_EVERYWHERE
    assert {where: version for where, (version, _) in yard.running().items()} == V1_EVERYWHERE
    (hold,) = yard.model_facts.holds.items()
    assert (hold[0], hold[1].by) == ("v2", BOT)
    assert hold[1].reason.startswith("canary: error rate 33.3 % of 20000")
    assert sorted(yard.titles()) == [
        ("Roll m in canary back from v2 to v1", "merged"),
        ("Roll m in dev back from v2 to v1", "merged"),
        ("Roll m in staging back from v2 to v1", "merged"),
    ]
    merged = yard.git.log(yard.main(), first_parent=True, limit=1)[0]
    assert merged.trailers["Modelyard-Rollback-Of"] == "v2"
    before, facts = yard.refs(), yard.workspace().facts.read_snapshot()
    yard.clock.wait(7200)
    yard.rest()
    # Every hour the site that runs an environment says that it is still there.
    assert {**yard.refs(), STATE: None} == {**before, STATE: None}
    assert replace(yard.workspace().facts.read_snapshot(), owners={}) == replace(facts, owners={})


@pytest.mark.long
def test_a_frozen_environment_still_rolls_back(bad_canary):
    freeze = Freeze(reason="holidays", by="ada", since=AT)
    for environment in ("staging", "canary"):
        bad_canary.workspace().facts.update_freeze(environment, lambda _: freeze)

    bad_canary.rest()

    assert bad_canary.names() == V1_AGAIN


@pytest.mark.long
@pytest.mark.slow
def test_a_frozen_environment_lets_nothing_in(yard):
    yard.record("v2", champion="v1")
    yard.put("v2", "dev")
    freeze = Freeze(reason="holidays", by="ada", since=AT)
    yard.workspace().facts.update_freeze("staging", lambda _: freeze)

    yard.rest()

    assert yard.names() == {**V1_EVERYWHERE, "dev": "v2"}
    pull = yard.pull(f"modelyard/promote/staging/{MODEL}")
    assert str(pull.statuses[PROMOTE].state) == "failure"
    assert "holidays" in pull.statuses[PROMOTE].description


@pytest.mark.long
def test_a_release_without_a_verdict_until_the_deadline_goes_back_without_a_hold(bad_canary):
    bad_canary.out_of_reach.add("metrics")
    bad_canary.rest()
    assert bad_canary.names()["canary"] == "v2"

    bad_canary.clock.wait(3601)
    bad_canary.rest()

    assert bad_canary.names() == {**V1_AGAIN, "staging": "v2"}
    assert bad_canary.model_facts.holds == {}


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("gone", ["orchestrator", "registry", "evidence"])
def test_a_rollback_needs_no_more_than_git_and_the_cluster(bad_canary, gone):
    """Whatever else is out of reach is said in the end, when everything possible is done."""
    bad_canary.add_version("v3")
    bad_canary.out_of_reach.add(gone)
    if gone == "evidence":
        (bad_canary.folder / "store" / "evidence").rename(bad_canary.folder / "elsewhere")

    for _ in range(3):
        with suppress(CannotAnswer):
            bad_canary.rest()

    assert bad_canary.names() == V1_AGAIN
    assert "v2" in bad_canary.model_facts.holds


def test_an_orchestrator_out_of_reach_neither_starts_nor_retries_nor_closes_anything(empty):
    empty.add_version("v1")
    empty.reconcile()
    empty.finish("v1", skill=0.0)
    empty.reconcile()
    empty.out_of_reach.add("orchestrator")
    before = empty.refs()

    assert empty.reconcile() == 0

    assert empty.refs() == before
    assert [state for _, state in empty.titles()] == ["open"]


@pytest.mark.long
def test_reconciling_twice_changes_nothing_that_others_can_see(yard):
    yard.record("v2", champion="v1")
    yard.put("v2", "dev", "staging")
    yard.rest()
    assert yard.titles() == [("Promote m v2 to canary", "open")]
    before, state = yard.refs(), yard.end_state()

    assert yard.reconcile() == 0
    yard.clock.at += timedelta(minutes=5)
    assert yard.reconcile() == 0

    assert yard.refs() == before
    assert yard.end_state() == state


def test_an_alias_somebody_moved_follows_the_verified_release_again(yard):
    yard.workspace().registry.set_alias(MODEL, alias="production", version="v0")

    assert yard.reconcile() == 1

    assert yard.aliases == V1_EVERYWHERE


@pytest.mark.long
def test_a_pull_request_that_lost_its_reason_is_closed(yard):
    yard.record("v2", champion="v1")
    yard.put("v2", "dev", "staging")
    yard.reconcile()
    yard.put("v1", "staging")

    yard.reconcile()

    assert ("Promote m v2 to canary", "closed") in yard.titles()


@pytest.mark.long
def test_one_models_invalid_spec_does_not_keep_another_from_its_rollback(bad_canary):
    broken = {"models/a/model.yaml": b"name: a\n"}
    bad_canary.commit({**broken, **model_named(bad_canary, "z")})

    for _ in range(3):
        with pytest.raises(Refused, match=r"^models/a/model\.yaml"):
            bad_canary.rest()

    assert bad_canary.names() == V1_AGAIN


@pytest.mark.long
def test_a_release_that_could_not_be_read_once_does_not_stop_a_rollback(bad_canary):
    good = bad_canary.read(release_file("canary"))
    bad_canary.commit({release_file("canary"): b"kind: nonsense\n"}, "A slip")
    bad_canary.commit({release_file("canary"): good}, "Mended")

    bad_canary.rest()

    assert bad_canary.names() == V1_AGAIN


@pytest.mark.long
@pytest.mark.parametrize(
    "wrong",
    [
        {"record": (b"model: m", b"model: other")},
        {"record": (b"model: m", b"model: ../m")},
        {"release": (b"model: m", b"model: other")},
        {"release": (b"environment: staging", b"environment: nowhere")},
    ],
)
def test_a_branch_of_the_tools_with_documents_about_anything_else_stops_no_rollback(
    bad_canary, wrong
):
    """A person can push anything to such a branch, and open it."""
    documents = {}
    for kind, path in (("record", record_file("v3")), ("release", release_file("staging"))):
        text = bad_canary.read(path.replace("v3", "v2")).replace(b"version: v2", b"version: v3")
        documents[path] = text.replace(*wrong.get(kind, (b"", b"")))
    bad_canary.branch(f"modelyard/record/v3/{MODEL}", documents)

    bad_canary.rest()

    assert bad_canary.names() == V1_AGAIN


@pytest.mark.long
def test_what_nobody_can_read_stops_promotions_and_no_rollback(bad_canary):
    git = bad_canary.git
    nonsense = git.commit_tree(
        git.write_tree(None, {"document.json": b"{"}), parents=[], message="x", author="a", at=AT
    )
    staging = spoil_state(git, "freezes/staging.json")
    spoil_state(git, "freezes/canary.json")
    git.push("origin", {"refs/modelyard/pulls/99": (None, nonsense)})

    bad_canary.rest()
    assert bad_canary.names() == V1_AGAIN

    bad_canary.record("v3", champion="v1")
    bad_canary.rest()
    assert bad_canary.names() == V1_AGAIN
    assert all("back from v2" in title for title, _ in bad_canary.titles())

    git.push("origin", {"refs/modelyard/pulls/99": (nonsense, None)})
    bad_canary.rest()
    assert bad_canary.names() == V1_AGAIN
    status = bad_canary.pull(f"modelyard/promote/staging/{MODEL}").statuses[PROMOTE]
    assert "its freeze cannot be read" in status.description

    staging()
    bad_canary.rest()
    assert bad_canary.names() == {**V1_AGAIN, "staging": "v3"}


REFUSING = """#!/bin/sh
while read old new ref; do
    if [ $ref = {ref} ] && ! git diff --quiet $old $new -- {path}; then
        echo "{path} is protected" >&2
        exit 1
    fi
done
"""


def refusing(yard, ref, path):
    """A hook of the remote that lets nobody change the path on the ref."""
    hook = yard.folder / "remote.git" / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(REFUSING.format(ref=ref, path=path))
    hook.chmod(0o755)
    return hook


@pytest.mark.long
def test_a_version_whose_hold_cannot_be_written_is_rolled_back_once_it_can(bad_canary):
    """Otherwise nothing would ever take it out of the other environments."""
    workspace = bad_canary.workspace()
    workspace.facts.update_model(MODEL, lambda facts: replace(facts, told=("anything",)))
    hook = refusing(bad_canary, STATE, f"models/{MODEL}.json")

    with pytest.raises(CannotAnswer, match=r"models/m\.json is protected"):
        bad_canary.rest()
    assert bad_canary.names()["canary"] == "v2"

    hook.unlink()
    bad_canary.rest()

    assert bad_canary.names() == V1_AGAIN
    assert "v2" in bad_canary.model_facts.holds


@pytest.mark.long
def test_a_rollback_the_forge_refuses_for_good_keeps_no_other_environment_from_its_own(bad_canary):
    bad_canary.record("v3", champion="v1")
    hook = refusing(bad_canary, "refs/heads/main", "environments/canary")

    with pytest.raises(CannotAnswer, match="environments/canary is protected"):
        bad_canary.rest()

    assert bad_canary.names() == {**V1_AGAIN, "canary": "v2"}
    assert "v2" in bad_canary.model_facts.holds
    run_checks(bad_canary.workspace(), bad_canary.said.append)
    before = bad_canary.refs()
    with pytest.raises(CannotAnswer, match="environments/canary is protected"):
        bad_canary.reconcile()
    assert bad_canary.refs() == before
    assert bad_canary.titles() == [
        ("Promote m v3 to staging", "open"),
        ("Roll m in canary back from v2 to v1", "open"),
        ("Roll m in staging back from v2 to v1", "merged"),
    ]

    hook.unlink()
    bad_canary.rest()

    assert bad_canary.names() == {**V1_AGAIN, "staging": "v3"}


@pytest.mark.long
def test_an_undecided_version_stays_in_production_until_its_canary_could_go_back(ill, tmp_path):
    yard = ill.copy(tmp_path / "yard")
    yard.record("v2", champion="v1")
    yard.put("v2", "staging")
    yard.put("v2", "canary")
    yard.put("v2", "production", is_verified=False)
    yard.clock.at += timedelta(days=2)
    hook = refusing(yard, "refs/heads/main", "environments/canary")

    with pytest.raises(CannotAnswer, match="environments/canary is protected"):
        yard.reconcile()

    assert (yard.names()["canary"], yard.names()["production"]) == ("v2", "v2")
    assert yard.model_facts.holds == {}

    hook.unlink()
    yard.reconcile()

    assert (yard.names()["canary"], yard.names()["production"]) == ("v1", "v1")


FASTER = """#!/bin/sh
unset GIT_QUARANTINE_PATH GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES
while read old new ref; do
    if [ $ref = refs/heads/main ]; then
        new=$(git -c user.name=ada -c user.email= commit-tree -p main -m Faster 'main^{tree}')
        git update-ref refs/heads/main $new
    fi
done
"""


@pytest.mark.long
def test_a_rollback_that_loses_every_race_is_said_and_done_at_a_later_look(bad_canary, monkeypatch):
    monkeypatch.setattr("modelyard.adapters.git.remote_refs.PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr("modelyard.adapters.git.documents.PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr("modelyard.adapters.git.remote_refs.TRIES", 2)
    hook = refusing(bad_canary, "refs/heads/main", "")
    hook.write_text(FASTER)

    with pytest.raises(Conflict, match="another writer moved"):
        bad_canary.rest()
    workspace = bad_canary.workspace()
    main = workspace.main()  # which brings it here
    assert bad_canary.names()["canary"] == "v2"
    lost = workspace.git.run("log", "--format=%s", main).stdout.decode().count("Faster")
    assert 2 <= lost <= 12, "other models have their turn meanwhile"

    hook.unlink()
    bad_canary.rest()

    assert bad_canary.names() == V1_AGAIN


def test_the_command_tries_every_model_and_fails_with_the_first_error(yard, monkeypatch):
    yard.commit({"models/a/model.yaml": b"name: a\n", spec_file("v2"): b""}, "Broken")
    yard.commit({spec_file("v2"): None}, "Mended")
    yard.add_version("v2")
    monkeypatch.setattr(
        "modelyard.commands.reconcile.workspace_of", lambda services: yard.workspace()
    )

    result = CliRunner().invoke(cli, ["reconcile"], obj=yard.workspace().services)

    assert result.exit_code != 0
    assert list(yard.ledger("workflows").read()) == [yard.workflow("v2")]


def command(yard, monkeypatch, *arguments):
    """What `modelyard reconcile` prints and how it ends: (exit code, stdout, stderr)."""
    monkeypatch.setattr(
        "modelyard.commands.reconcile.workspace_of", lambda services: yard.workspace()
    )
    arguments = ["reconcile", *arguments]
    result = CliRunner().invoke(cli, arguments, obj=yard.workspace().services)
    return result.exit_code, result.stdout, result.stderr


def test_a_dry_run_prints_what_would_be_done_and_does_nothing(empty, monkeypatch):
    empty.add_version("v1")
    empty.commit(model_named(empty, "z"))

    done = command(empty, monkeypatch, "--dry-run")

    assert done == (3, "m: would train v1, attempt 1\n", "")
    assert empty.ledger("workflows").read() == {}


def training_runs(yard):
    yard.add_version("v2")


def record_is_proposed(yard):
    yard.add_version("v2")
    yard.reconcile()
    yard.finish("v2", champion="v1")


def second_record_is_proposed_without_a_release(yard):
    record_is_proposed(yard)
    yard.reconcile()
    yard.add_version("v3")
    yard.reconcile()
    yard.finish("v3", champion="v1")


def promotion_waits_for_its_checks(yard):
    yard.record("v2", champion="v1")
    yard.put("v2", "dev")


def promotion_waits_for_an_approval(yard):
    yard.record("v2", champion="v1")
    yard.put("v2", "dev", "staging")
    yard.rest()


def main_moves_under_an_open_promotion(yard):
    promotion_waits_for_an_approval(yard)
    yard.commit({"README.md": b"hello\n"})


def canary_is_undecided(yard):
    yard.record("v2", champion="v1")
    yard.put("v2", "dev", "staging")
    yard.put("v2", "canary", is_verified=False)
    yard.out_of_reach.add("metrics")
    yard.rest()


def production_is_verified(yard):
    yard.record("v2", champion="v1")
    yard.put("v2", "dev", "staging", "canary", "production")


def canary_is_rolled_back(yard):
    yard.record("v2", champion="v1")
    yard.put("v2", "dev", "staging")
    yard.put("v2", "canary", is_verified=False)
    yard.broken.add("v2")
    yard.rest()


def nothing_to_go_back_to(yard):
    """A first version in staging and nowhere before: an incident, and a person must decide."""
    yard.commit({release_file("dev"): None, release_file("staging"): None})
    yard.record("v2", champion="v1")
    yard.put("v2", "staging", is_verified=False)
    reason = Verdict(outcome=Outcome.FAIL, reason="error rate 9 %")
    change = {"verdict": reason, "verified": (), "aborted": "error rate 9 %"}
    yard.workspace().facts.update_release("staging", MODEL, lambda f: replace(f, **change))


def persons_pull_request_is_open(yard):
    yard.branch("docs", {"README.md": b"hello\n"})


@pytest.mark.sample(1)
@pytest.mark.slow
@pytest.mark.parametrize(
    "reach",
    [
        training_runs,
        record_is_proposed,
        second_record_is_proposed_without_a_release,
        promotion_waits_for_its_checks,
        promotion_waits_for_an_approval,
        main_moves_under_an_open_promotion,
        canary_is_undecided,
        production_is_verified,
        canary_is_rolled_back,
        nothing_to_go_back_to,
        persons_pull_request_is_open,
    ],
)
def test_a_dry_run_at_rest_prints_nothing(yard, monkeypatch, reach):
    reach(yard)
    yard.reconcile()

    assert command(yard, monkeypatch, MODEL, "--dry-run") == (0, "", "")


def test_a_model_that_is_not_there_is_an_error_that_names_those_that_are(yard):
    with pytest.raises(CannotAnswer) as raised:
        collect_world(yard.workspace(), "nobody")

    assert (raised.value.message, raised.value.hint) == (
        "the main branch has no valid models/nobody/model.yaml; it has m",
        "merge the pull request that adds it, if there is one, or modelyard validate",
    )


def test_a_dry_run_is_silent_about_a_model_at_rest_next_to_one_that_is_not(yard, monkeypatch):
    yard.commit({**model_named(yard, "a"), **model_named(yard, "z")})
    yard.reconcile()
    assert command(yard, monkeypatch, "--dry-run") == (0, "", "")

    yard.add_version("v2")

    assert command(yard, monkeypatch, "--dry-run") == (3, "m: would train v2, attempt 1\n", "")


@pytest.fixture
def proposed(yard):
    """v2 is proposed for canary, approved by nobody yet."""
    promotion_waits_for_an_approval(yard)
    return yard


def canary_pull(yard):
    return yard.pull(f"modelyard/promote/canary/{MODEL}")


@pytest.mark.long
def test_a_promotion_that_a_person_closed_is_declined_in_every_checkout(proposed, monkeypatch):
    proposed.pulls.close(canary_pull(proposed).number, by="ada", reason="not now")
    clone(proposed, "other")

    assert proposed.reconcile("other") == 0

    assert canary_pull(proposed).state == "closed"


@pytest.mark.long
def test_a_proposal_is_made_again_once_it_renders_to_something_else(proposed, monkeypatch):
    before = canary_pull(proposed)
    rollout = replace(CANARY.rollout, replicas=3)
    canary = replace(CANARY, rollout=rollout)
    proposed.land(
        "ada/rules",
        {"environments/canary/environment.yaml": dump_spec("Environment", canary)},
        "Rules",
    )
    assert command(proposed, monkeypatch, MODEL, "--dry-run") == (
        3,
        "m: would propose the release of v2 to canary\n",
        "",
    )

    proposed.reconcile()

    after = canary_pull(proposed)
    assert (after.number, after.head == before.head) == (before.number, False)
    assert command(proposed, monkeypatch, MODEL, "--dry-run") == (0, "", "")


@pytest.mark.long
def test_a_proposal_is_worded_again_once_its_page_would_say_something_else(proposed, monkeypatch):
    head, others = canary_pull(proposed).head, Approvals(needed=1, approvers=("cy",))
    canary = replace(CANARY, approvals=others)
    proposed.land(
        "ada/rules",
        {"environments/canary/environment.yaml": dump_spec("Environment", canary)},
        "Rules",
    )
    assert command(proposed, monkeypatch, MODEL, "--dry-run")[0] == 3

    assert proposed.reconcile() > 0

    assert (canary_pull(proposed).head, "cy" in canary_pull(proposed).body) == (head, True)
    assert command(proposed, monkeypatch, MODEL, "--dry-run") == (0, "", "")


@pytest.mark.long
def test_a_proposal_that_somebody_pushed_to_is_made_again(proposed, monkeypatch):
    pull = canary_pull(proposed)
    pin = proposed.git.read_file(pull.head, release_file("canary"))
    head = write_commit(
        proposed.git,
        pull.head,
        {release_file("canary"): pin.replace(b"version: v2", b"version: v1")},
        parents=[pull.head],
        message="Mine",
        author="Mallory",
        at=AT,
    )
    proposed.git.push("origin", {f"refs/heads/{pull.branch}": (pull.head, head)})
    assert command(proposed, monkeypatch, MODEL, "--dry-run") == (
        3,
        "m: would propose the release of v2 to canary\n",
        "",
    )

    proposed.reconcile()

    now = canary_pull(proposed)
    assert proposed.git.read_file(now.head, release_file("canary")) == pin
    assert command(proposed, monkeypatch, MODEL, "--dry-run") == (0, "", "")


@pytest.mark.long
def test_a_real_registrys_aliases_move_back_with_a_rollback(bad_canary):
    from modelyard.adapters.store.registry import Registry, TrainingRun

    registry = Registry(f"sqlite:///{bad_canary.folder}/mlflow.db", bad_canary.folder)
    for version in ("v1", "v2"):
        run = TrainingRun(workflow=version, params={}, metrics={}, tags={}, datasets={})
        run_id = registry.log_run(MODEL, run)
        registry.register_version(
            MODEL, version=version, artifact=f"sha256:{version}", source="/gone", run_id=run_id
        )

    def reconcile():
        workspace = bad_canary.workspace()
        workspace.__dict__["registry"] = registry
        reconcile_model(workspace, MODEL, wait=False, report=bad_canary.said.append)

    reconcile()
    assert registry.read_aliases(MODEL) == {**V1_AGAIN, "staging": "v2"}
    bad_canary.rest()
    reconcile()

    assert registry.read_aliases(MODEL) == V1_AGAIN
