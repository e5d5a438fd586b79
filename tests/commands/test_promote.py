from __future__ import annotations

from dataclasses import replace

import pytest

from modelyard.adapters.specs.documents import dump_spec
from modelyard.domain.people import Person
from modelyard.domain.promotion.facts import Freeze, Hold
from modelyard.domain.promotion.plan import plan
from modelyard.domain.promotion.pulls import PullState
from modelyard.domain.verdict import Outcome, Verdict
from operations.yard import MODEL, manifests, release_file
from operations.yard_with_history import (
    in_production,
    promoted,
    recorded,
    release_in,
    run,
    trained,
    watched,
    world_of,
)

FAIL = Verdict(outcome=Outcome.FAIL, reason="error rate 9 %")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """v1 everywhere; v2 verified in dev, and nowhere else yet."""
    yard = in_production(tmp_path_factory.mktemp("promote") / "yard")
    recorded(yard, "v2", 5, champion="v1")
    watched(yard, "dev", verified=True)
    return yard


@pytest.fixture
def yard(made, tmp_path):
    return made.copy(tmp_path / "yard")


def proposed(yard, environment):
    """The release a pull request would bring, and the pull request."""
    pull = yard.pull(f"modelyard/promote/{environment}/{MODEL}")
    text = yard.git.read_file(pull.head, release_file(environment)).decode()
    return pull, dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)


def hold(yard, version):
    told = Hold(reason="bad", by="ann", since=yard.clock.now())
    yard.workspace().facts.update_model(
        MODEL, lambda facts: replace(facts, holds={**facts.holds, version: told})
    )


@pytest.mark.long
def test_proposes_the_version_of_the_environment_before(yard):
    said = run(yard, "promote", "staging", MODEL)

    pull, release = proposed(yard, "staging")
    assert (said.code, said.err) == (0, "")
    assert said.lines == [
        f"#{pull.number} is open: Promote m v2 to staging, requested by Ada Example",
        f"waits for modelyard/checks to pass for {pull.head[:10]}",
    ]
    assert (release["version"], release.get("attempt", "1")) == ("v2", "1")
    assert (str(pull.author), str(pull.requester)) == ("modelyard[bot]", "Ada Example")
    assert pull.labels == ("v2", "staging")


def test_as_names_who_asks(yard):
    run(yard, "promote", "staging", MODEL, "--as", "bo")

    assert proposed(yard, "staging")[0].requester == Person.named("bo")


def test_asking_twice_changes_nothing(yard):
    run(yard, "promote", "staging", MODEL)
    before = yard.refs()

    said = run(yard, "promote", "staging", MODEL)

    assert said.code == 0
    assert yard.refs() == before


@pytest.mark.long
def test_a_version_that_failed_here_before_gets_a_new_attempt(yard):
    promoted(yard, "v2", "staging", 6)
    watched(yard, "staging", ready=False, verdict=FAIL)
    assert run(yard, "promote", "staging", MODEL, "v2").code == 3  # it is rolled back first
    yard.rest()
    run(yard, "unhold", MODEL, "v2")

    said = run(yard, "promote", "dev", MODEL, "v2")

    assert said.code == 0
    assert proposed(yard, "dev")[1]["attempt"] == "2"


@pytest.mark.long
def test_attempts_are_counted_by_artifact_over_everything_the_branch_named(yard):
    promoted(yard, "v2", "staging", 6)
    promoted(yard, "v2", "staging", 7, attempt=2)
    promoted(yard, "v1", "staging", 8)
    watched(yard, "staging", verified=True)

    run(yard, "promote", "staging", MODEL, "v2")
    _, newest = proposed(yard, "staging")
    promoted(yard, "v2", "staging", 9, attempt=3)
    watched(yard, "staging", verified=True)
    run(yard, "promote", "canary", MODEL, "v2")
    _, first = proposed(yard, "canary")

    assert (newest["attempt"], first.get("attempt", "1")) == ("3", "1")


def frozen(yard):
    freeze = Freeze(reason="a holiday", by="bo", since=yard.clock.now())
    yard.workspace().facts.update_freeze("staging", lambda _: freeze)
    return "staging", "staging is frozen by bo: a holiday", "modelyard unfreeze staging"


def not_there(_):
    return "canary", "staging does not run v2", "modelyard promote staging m v2"


def not_seen(yard):
    promoted(yard, "v2", "staging", 6)
    return "canary", "v2 in staging: not seen running yet", "modelyard watch --once"


def not_ready(yard):
    promoted(yard, "v2", "staging", 6)
    watched(yard, "staging", ready=False)
    return "canary", "v2 in staging: not ready", "modelyard watch --once"


def aborted(yard):
    promoted(yard, "v2", "staging", 6)
    watched(yard, "staging", ready=False, verdict=FAIL)
    return "canary", "v2 in staging: aborted: error rate 9 %", "modelyard reconcile m"


def refused_by_the_gate(yard):
    recorded(yard, "v3", 6, champion="v1", skill=0.0)
    watched(yard, "dev", verified=True)
    return "staging", "gate: fail", "modelyard gate m v3"


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    "make", [frozen, not_there, not_seen, not_ready, aborted, refused_by_the_gate]
)
def test_refuses_what_can_never_be_merged_as_things_are(yard, make):
    where, why, command = make(yard)
    pulls = yard.titles()

    said = run(yard, "promote", where, MODEL, command.split()[-1] if "gate" in command else "v2")
    dry = run(yard, "promote", where, MODEL, "v3" if "gate" in command else "v2", "--dry-run")

    assert (said.code, dry.code, said.out) == (3, 3, "")
    error, hint = said.err.splitlines()
    assert why in error
    assert hint == f"hint: {command}"
    assert yard.titles() == pulls


@pytest.mark.long
def test_what_only_waits_for_its_soak_and_approvals_is_opened(yard):
    environment = yard.workspace().catalog(yard.main()).environments["staging"]
    slow = dump_spec("Environment", replace(environment, soak_seconds=3600))
    yard.land("ada/rules", {"environments/staging/environment.yaml": slow}, "Rules")
    promoted(yard, "v2", "staging", 7)
    watched(yard, "staging")

    said = run(yard, "promote", "canary", MODEL)

    head = proposed(yard, "canary")[0].head[:10]
    assert said.code == 0
    assert said.lines[1].startswith("waits for v2 in staging: soaking until ")
    assert said.lines[2:] == [
        f"waits for modelyard/checks to pass for {head}",
        f"waits for 1 more approval of {head}, from a teammate",
    ]


def with_two_versions(yard):
    """The promotion of v2 to staging is open, and dev has v3 now."""
    assert run(yard, "promote", "staging", MODEL).code == 0
    recorded(yard, "v3", 7, champion="v1")
    watched(yard, "dev", verified=True)
    return proposed(yard, "staging")[0]


@pytest.mark.long
def test_the_open_promotion_of_another_version_is_not_replaced_without_a_word(yard):
    before = with_two_versions(yard)

    said = run(yard, "promote", "staging", MODEL, "v3", "--as", "bo")

    assert (said.code, said.out) == (3, "")
    assert said.err == (
        f"error: #{before.number} promotes v2 to staging already\n"
        "hint: modelyard promote staging m v3 --replace\n"
    )
    assert proposed(yard, "staging")[0].head == before.head


@pytest.mark.long
def test_replace_says_what_it_replaces(yard):
    before = with_two_versions(yard)

    dry = run(yard, "promote", "staging", MODEL, "v3", "--replace", "--dry-run", "--as", "bo")
    assert proposed(yard, "staging")[0].head == before.head
    said = run(yard, "promote", "staging", MODEL, "v3", "--replace", "--as", "bo")

    assert "would replace v2" in dry.lines
    assert "replaces v2" in said.lines
    pull, release = proposed(yard, "staging")
    assert (pull.number, release["version"]) == (before.number, "v3")


@pytest.mark.long
def test_the_tools_own_promotion_is_not_replaced_without_a_word_either(yard):
    yard.reconcile()
    before = proposed(yard, "staging")[0]
    assert before.requester is None
    recorded(yard, "v3", 7, champion="v1")
    watched(yard, "dev", verified=True)

    assert run(yard, "promote", "staging", MODEL, "v3").code == 3


@pytest.mark.long
def test_reconcile_leaves_what_a_person_asked_for_alone(yard):
    promoted(yard, "v2", "staging", 6)
    watched(yard, "staging", verified=True)
    run(yard, "promote", "canary", MODEL, "v2")
    pull = proposed(yard, "canary")[0]

    yard.reconcile()

    assert proposed(yard, "canary")[0].head == pull.head
    assert proposed(yard, "canary")[0].state is PullState.OPEN


def test_a_dry_run_prints_the_change_and_makes_none(yard):
    before = yard.refs()

    said = run(yard, "promote", "staging", MODEL, "--dry-run")

    assert yard.refs() == before
    assert said.lines[:2] == [
        "branch modelyard/promote/staging/m",
        "title Promote m v2 to staging",
    ]
    assert "**staging** runs v1 (`3bfc269594ef`) and would run v2 (`fb04dcb6970e`)." in said.lines
    files = [line.split() for line in said.lines[said.lines.index("files") + 1 :]]
    assert [words[-1] for words in files][:2] == [
        manifests("staging"),
        sorted(p for p in yard.paths(manifests("staging")))[0],
    ]
    assert files[0][0] == "deleted"
    assert files[-1][-1] == release_file("staging")
    assert all(words[1] in {"B", "kB"} for words in files[1:])


def test_refuses_a_version_on_hold_and_says_how_to_lift_it(yard):
    hold(yard, "v2")

    said = run(yard, "promote", "staging", MODEL)

    assert (said.code, said.out) == (3, "")
    assert said.err == ("error: m v2 is on hold by ann: bad\nhint: modelyard unhold m v2\n")


def test_refuses_what_is_there_already(yard):
    said = run(yard, "promote", "dev", MODEL, "v2")

    assert said.code == 3
    assert said.err == (
        "error: dev has v2 (attempt 1) already, and it was not judged bad or aborted\n"
        "hint: modelyard status m\n"
    )


@pytest.mark.long
def test_the_same_version_with_another_server_image_is_another_release(yard):
    release = release_in(yard, "dev")
    other = dump_spec("Release", replace(release, server_image="other:2"))
    yard.land("modelyard/promote/dev/m", {release_file("dev"): other}, "Another image")
    watched(yard, "dev", verified=True)

    said = run(yard, "promote", "staging", MODEL)
    again = run(yard, "promote", "dev", MODEL, "v2")

    assert (said.code, again.code) == (0, 0)
    assert proposed(yard, "staging")[1]["server_image"] == "other:2"
    assert proposed(yard, "dev")[1]["attempt"] == "2"


def test_the_first_environment_needs_a_version(yard):
    said = run(yard, "promote", "dev", MODEL)

    assert said.code == 2
    assert "dev is the first environment: give VERSION" in said.err


def test_an_environment_with_nothing_before_it_has_nothing_to_promote(yard):
    yard.commit({release_file("staging"): None})

    said = run(yard, "promote", "canary", MODEL)

    assert said.code == 3
    assert said.err == (
        "error: staging, which canary promotes from, has no release of m\n"
        "hint: modelyard promote staging m\n"
    )


def test_a_version_without_a_merged_record_cannot_be_promoted(yard):
    trained(yard, "v3", champion="v1")

    said = run(yard, "promote", "staging", MODEL, "v3")

    assert said.code == 1
    assert said.err == ("error: the main branch has no record of m v3\nhint: modelyard status m\n")


def test_an_unknown_environment_is_an_error_that_names_those_there_are(yard):
    said = run(yard, "promote", "prod", MODEL)

    assert said.code == 1
    assert said.err.splitlines()[0] == (
        "error: the main branch has no valid environments/prod/environment.yaml; "
        "it has dev, staging, canary, production"
    )


@pytest.mark.long
def test_what_a_person_asked_for_is_merged_once_nothing_is_missing(yard):
    run(yard, "promote", "staging", MODEL)
    assert not any("Merge" in type(action).__name__ for action in plan(world_of(yard)))

    yard.rest()

    assert proposed(yard, "staging")[0].state is PullState.MERGED
    assert yard.names()["staging"] == "v2"
