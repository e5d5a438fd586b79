from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from modelyard.domain.canary.traffic import JUDGED_BAD
from modelyard.domain.promotion.facts import ReleaseFacts
from modelyard.domain.specs.environment import Rollout, Step
from modelyard.domain.verdict import Outcome
from modelyard.errors import CannotAnswer
from modelyard.operations.judge.evidence import judge_best_effort, judge_release
from modelyard.operations.watch.observe import observe_model
from operations.fakes import ScriptedCluster
from operations.yard import (
    AT,
    CANARY,
    MODEL,
    PRODUCTION,
    SHORT,
    STAGING,
    artifact_of,
    contested_yard,
    living_yard,
    release_file,
)


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return contested_yard(tmp_path_factory.mktemp("start") / "yard")


@pytest.fixture
def yard(start, tmp_path):
    """v1 is verified everywhere; v2 has a record."""
    return start.copy(tmp_path / "yard")


def run(yard):
    """Observe once; True if something changed."""
    return observe_model(yard.workspace(), MODEL, yard.said.append)


def abort(yard, environment, reason):
    workspace = yard.workspace()
    catalog = workspace.catalog(workspace.main())
    workspace.services.cluster.abort(
        catalog.releases[environment, MODEL],
        environment=catalog.environments[environment],
        reason=reason,
    )


def in_cluster(yard, environment):
    return yard.ledger("cluster").read()[f"{environment}/{MODEL}"]


def test_what_is_ready_is_written_down_and_verified_where_nobody_judges(yard):
    before = yard.facts("staging")
    release = yard.name("v2", "staging")

    assert run(yard)

    assert yard.facts("staging") == ReleaseFacts(
        release=release.identity,
        version="v2",
        artifact=artifact_of("v2"),
        seen_at=AT,
        healthy_since=AT,
        verified=(*before.verified, release.identity),
        tried=(artifact_of("v1"), artifact_of("v2")),
    )
    assert yard.said == ["staging: m v2 is ready", "staging: m v2 is verified"]


def test_a_second_pass_over_the_same_world_changes_nothing(yard):
    yard.name("v2", "staging")
    run(yard)
    refs, cluster = yard.refs(), yard.ledger("cluster").read()
    yard.clock.wait(60)

    assert not run(yard)

    assert (yard.refs(), yard.ledger("cluster").read()) == (refs, cluster)


def test_what_is_not_ready_is_not_healthy_and_not_verified(yard):
    yard.never_ready.add("v2")
    release = yard.name("v2", "staging")

    run(yard)

    facts = yard.facts("staging")
    assert (facts.release, facts.seen_at, facts.healthy_since) == (release.identity, AT, None)
    assert release.identity not in facts.verified


def test_health_counts_from_the_last_time_it_was_lost(yard):
    yard.put("v2", "staging")
    yard.never_ready.add("v2")
    run(yard)
    assert yard.facts("staging").healthy_since is None
    yard.never_ready.clear()
    yard.clock.wait(90)

    run(yard)

    assert yard.facts("staging").healthy_since == yard.clock.at


@pytest.mark.long
def test_what_is_judged_bad_is_out_of_traffic_in_the_same_pass(yard):
    yard.put("v2", "canary", is_verified=False)
    yard.broken.add("v2")

    run(yard)

    facts = yard.facts("canary")
    assert facts.verdict is not None
    assert facts.verdict.outcome is Outcome.FAIL
    assert facts.verdict.reason.startswith(
        "error rate 33.3 % of 20000 requests, stable 0 % of 20000"
    )
    assert facts.aborted == facts.verdict.reason == in_cluster(yard, "canary")["aborted"]
    assert facts.release not in facts.verified
    run(yard)
    refs = yard.refs()
    assert not run(yard)
    assert yard.refs() == refs


def test_the_verdict_is_written_down_even_if_the_pass_that_aborted_was_killed(yard):
    yard.put("v2", "canary", is_verified=False)
    yard.broken.add("v2")
    abort(yard, "canary", "by the judge")

    run(yard)

    facts = yard.facts("canary")
    assert facts.aborted == "by the judge"
    assert facts.verdict is not None
    assert facts.verdict.outcome is Outcome.FAIL


@pytest.mark.long
def test_production_is_verified_only_when_the_release_answers_everything(yard):
    yard.put("v2", "staging", "canary")
    release = yard.name("v2", "production")

    run(yard)
    assert in_cluster(yard, "production")["share"] == 0.5
    run(yard)
    assert yard.facts("production").verdict is not None
    assert yard.facts("production").verdict.passed
    assert release.identity not in yard.facts("production").verified
    assert in_cluster(yard, "production")["share"] == 1.0
    run(yard)

    assert yard.facts("production").verified[-1] == release.identity


@pytest.mark.long
def test_a_pass_must_stand_for_as_long_as_the_release_soaks(tmp_path):
    soaking = (SHORT[0], replace(CANARY, soak_seconds=600), PRODUCTION)
    yard = living_yard(tmp_path / "yard", soaking)
    yard.record("v2", champion="v1")
    yard.put("v2", "canary", is_verified=False)
    run(yard)
    assert yard.facts("canary").verdict.passed
    refs = yard.refs()
    assert not run(yard)
    assert yard.refs() == refs
    yard.broken.add("v2")

    run(yard)

    assert yard.facts("canary").verdict.outcome is Outcome.FAIL
    assert in_cluster(yard, "canary")["aborted"]


@pytest.fixture(scope="module")
def stepped_start(tmp_path_factory):
    steps = Rollout(steps=(Step(share=0.1, pause_seconds=60), Step(share=0.6, pause_seconds=30)))
    staging = replace(STAGING, promotes_from=None, rollout=steps)
    yard = living_yard(tmp_path_factory.mktemp("stepped") / "yard", (staging, CANARY, PRODUCTION))
    yard.record("v2", champion="v1")
    yard.name("v2", "staging")
    return yard


@pytest.fixture
def stepped(stepped_start, tmp_path):
    """Staging names v2, which nobody judges there, and takes two steps to get in."""
    return stepped_start.copy(tmp_path / "yard")


@pytest.mark.long
def test_a_step_lasts_as_long_as_it_is_to_last(stepped):
    shares = []
    for _ in range(5):
        run(stepped)
        shares.append(in_cluster(stepped, "staging")["share"])
        stepped.clock.wait(30)

    assert shares == [0.1, 0.1, 0.6, 1.0, 1.0]


def test_an_aborted_release_takes_no_further_step(stepped):
    run(stepped)
    abort(stepped, "staging", "ada said so")
    stepped.clock.wait(3600)

    run(stepped)
    run(stepped)

    assert in_cluster(stepped, "staging")["share"] == 0.0
    assert stepped.facts("staging").aborted == "ada said so"


def test_without_counts_the_judge_is_undecided(yard):
    yard.put("v2", "canary", is_verified=False)
    yard.out_of_reach.add("metrics")

    run(yard)

    verdict = yard.facts("canary").verdict
    assert verdict is not None
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert verdict.reason == "no request answered yet"


@pytest.mark.parametrize("is_broken", [False, True])
def test_without_evidence_a_release_can_fail_but_never_pass(yard, is_broken):
    yard.put("v2", "canary", is_verified=False)
    (yard.folder / "store" / "evidence").rename(yard.folder / "elsewhere")
    yard.broken |= {"v2"} if is_broken else set()

    run(yard)

    verdict = yard.facts("canary").verdict
    assert verdict is not None
    assert verdict.outcome is (Outcome.FAIL if is_broken else Outcome.INCONCLUSIVE)
    assert is_broken or "out of reach" in verdict.reason
    (yard.folder / "elsewhere").rename(yard.folder / "store" / "evidence")
    workspace = yard.workspace()
    catalog = workspace.catalog(workspace.main())
    canary = (catalog.environments["canary"], catalog.releases["canary", MODEL])
    judged = judge_release(workspace, catalog, *canary, AT)
    # A fail of any pass is final, so one without evidence has the same part of alpha.
    needed = judged.numbers["evidence_needed"]
    assert not is_broken or verdict.numbers["evidence_needed"] == needed


def test_a_lost_artifact_hides_no_fail_by_evidence_that_can_be_read(yard):
    yard.put("v2", "canary", is_verified=False)
    workspace = yard.workspace()
    catalog = workspace.catalog(workspace.main())
    release = catalog.releases["canary", MODEL]
    shutil.rmtree(yard.folder / "store" / "models" / release.artifact.removeprefix("sha256:"))
    missed = []
    asked = (catalog, catalog.environments["canary"], release, AT)
    verdict = judge_best_effort(workspace, *asked, on_missing=missed.append)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert [verdict.reason] == [error.message for error in missed]
    with pytest.raises(CannotAnswer) as caught:
        judge_release(workspace, *asked)
    assert caught.value.message == verdict.reason
    yard.broken.add("v2")
    failed = judge_best_effort(yard.workspace(), *asked)
    assert failed.outcome is Outcome.FAIL
    assert any("distance" in name for name in failed.numbers)  # predictions were judged, too


def test_servers_of_what_git_names_no_more_are_removed(yard):
    yard.commit({release_file("staging"): None})

    run(yard)

    assert sorted(yard.running()) == ["canary", "production"]


def test_a_release_file_that_cannot_be_read_stops_no_server(yard):
    yard.commit({release_file("production"): b"version: [\n"})

    run(yard)

    assert sorted(yard.running()) == ["canary", "production", "staging"]


def test_a_model_file_that_never_could_be_read_is_said(yard):
    yard.commit({"models/new/model.yaml": b"name: new\n"})

    with pytest.raises(CannotAnswer, match=r"no valid models/new/model\.yaml"):
        observe_model(yard.workspace(), "new", yard.said.append)


class RolledBackMeanwhile(ScriptedCluster):
    """While it is observed, reconcile records a rollback."""

    facts = None

    def observe(self, *, model, environment):
        def note(before):
            return replace(before, rolled_back_to="the one before")

        self.facts.update_release(environment.name, model, note)
        return super().observe(model=model, environment=environment)


def test_a_rollback_recorded_during_a_pass_is_kept(yard):
    yard.name("v2", "staging")
    workspace = yard.workspace()
    cluster = RolledBackMeanwhile(yard.ledger("cluster"))
    cluster.facts = workspace.facts
    workspace = replace(workspace, services=replace(workspace.services, cluster=cluster))

    observe_model(workspace, MODEL, yard.said.append)

    facts = yard.facts("staging")
    assert (facts.version, facts.rolled_back_to) == ("v2", "the one before")


origins: dict[str, int | None] = {}


class ToldOrigins(ScriptedCluster):
    """Keeps which pull request is said to have brought each environment's release."""

    def sync(self, release, *, model, environment, origin=None):
        origins[environment.name] = origin and origin.pull
        super().sync(release, model=model, environment=environment)


def test_a_cluster_is_told_which_pull_request_the_forge_merged_as_each_release(yard):
    workspace = yard.workspace()
    cluster = ToldOrigins(yard.ledger("cluster"))
    workspace = replace(workspace, services=replace(workspace.services, cluster=cluster))
    origins.clear()

    observe_model(workspace, MODEL, yard.said.append)

    merged = {each.merged_as: each.number for each in workspace.services.pulls.closed()}
    expected = {name: merged.get(workspace.past(name, MODEL)[0].commit) for name in origins}
    assert origins == expected
    assert None not in expected.values()


class StagingIsDown(ScriptedCluster):
    def sync(self, release, *, model, environment, origin=None):
        if environment.name == "staging":
            raise CannotAnswer("the staging cluster is out of reach")
        super().sync(release, model=model, environment=environment)


def test_one_environment_that_is_down_does_not_keep_another_from_its_judgement(yard):
    yard.put("v2", "canary", is_verified=False)
    yard.broken.add("v2")
    workspace = yard.workspace()
    workspace = replace(
        workspace,
        services=replace(workspace.services, cluster=StagingIsDown(yard.ledger("cluster"))),
    )

    with pytest.raises(CannotAnswer, match="the staging cluster is out of reach"):
        observe_model(workspace, MODEL, yard.said.append)

    assert yard.facts("canary").aborted is not None


def test_a_cluster_that_asked_the_judge_itself_is_quoted_with_the_judges_numbers(yard):
    yard.put("v2", "canary", is_verified=False)
    yard.broken.add("v2")
    abort(yard, "canary", JUDGED_BAD)

    run(yard)

    facts = yard.facts("canary")
    assert facts.verdict is not None
    assert facts.aborted == facts.verdict.reason


def test_a_store_that_goes_away_while_a_release_is_judged_is_not_asked_again(yard):
    yard.put("v2", "canary", is_verified=False)
    workspace = yard.workspace()
    catalog = workspace.catalog(workspace.main())
    asked = (catalog, catalog.environments["canary"], catalog.releases["canary", MODEL], AT)
    before = judge_release(workspace, *asked)
    assert before.passed

    shutil.rmtree(yard.folder / "store")

    assert judge_release(workspace, *asked) == before


class Unwilling(ScriptedCluster):
    """A cluster that shows what runs and changes nothing of it."""

    def sync(self, release, *, model, environment, origin=None):
        raise CannotAnswer("the cluster refused PATCH")

    def abort(self, release, *, environment, reason):
        raise CannotAnswer("the cluster refused PATCH")


def unwilling(yard):
    workspace = yard.workspace()
    known = workspace.services.cluster
    cluster = Unwilling(ledger=known.ledger, never_ready=known.never_ready)
    return replace(workspace, services=replace(workspace.services, cluster=cluster))


@pytest.mark.long
def test_an_abort_is_seen_where_the_release_cannot_be_synced(yard):
    yard.put("v2", "canary", is_verified=False)
    run(yard)
    abort(yard, "canary", "manual: a person aborted the rollout")

    with pytest.raises(CannotAnswer, match="refused PATCH"):
        observe_model(unwilling(yard), MODEL, yard.said.append)

    assert yard.facts("canary").aborted == "manual: a person aborted the rollout"


@pytest.mark.long
def test_a_fail_is_written_down_where_the_release_cannot_be_aborted_and_aborted_later(yard):
    yard.put("v2", "canary", is_verified=False)
    yard.broken.add("v2")

    with pytest.raises(CannotAnswer, match="refused PATCH"):
        observe_model(unwilling(yard), MODEL, yard.said.append)

    assert yard.facts("canary").verdict.outcome is Outcome.FAIL
    assert yard.facts("canary").aborted is None

    assert run(yard)
    assert yard.facts("canary").aborted == yard.facts("canary").verdict.reason


class Untold(ScriptedCluster):
    """A cluster that takes no events."""

    def note(self, release, *, environment, what, is_good):
        raise CannotAnswer(f"the cluster refused an event: {what}")


def test_an_event_the_cluster_refuses_hides_no_other_news(yard):
    release = yard.name("v2", "staging")
    workspace = yard.workspace()
    cluster = Untold(ledger=workspace.services.cluster.ledger)
    workspace = replace(workspace, services=replace(workspace.services, cluster=cluster))

    with pytest.raises(CannotAnswer, match="refused an event: is ready"):
        observe_model(workspace, MODEL, yard.said.append)

    assert yard.said == ["staging: m v2 is ready", "staging: m v2 is verified"]
    assert release.identity in yard.facts("staging").verified
