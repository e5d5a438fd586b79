"""What lets a bad version through: each of these once did, or is of the same kind."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import pytest

from adapters.metrics.test_scrape import NOW, FixedClock, Server, exposed, name
from modelyard.adapters.metrics.scrape import ScrapeMetrics
from modelyard.domain.canary.judge import CanaryEvidence, judge_canary
from modelyard.domain.canary.latency import slow_threshold
from modelyard.domain.promotion.promote import needs_comparison
from modelyard.domain.promotion.world import World
from modelyard.domain.specs.contract import Column
from modelyard.domain.specs.model import CanaryPolicy
from modelyard.domain.specs.repository import Repository
from modelyard.domain.verdict import Outcome
from modelyard.operations.gate import compare_versions, find_differences, recompute_verdicts
from modelyard.operations.reconcile.pages import verdict_lines
from modelyard.operations.watch.observe import observe_model
from operations.yard import AT, BOT, MODEL, contested_yard
from serving.artifacts import make_artifact
from serving.running import preloaded_socket, request, serving


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return contested_yard(tmp_path_factory.mktemp("start") / "yard")


@pytest.fixture
def yard(start, tmp_path):
    """v1 is verified everywhere, and v2 takes a share of its traffic."""
    yard = start.copy(tmp_path / "yard")
    yard.put("v2", "canary", is_verified=False)
    return yard


def watch(yard):
    observe_model(yard.workspace(), MODEL, yard.said.append)
    return yard.facts("canary")


def test_a_canary_that_refuses_two_thirds_of_its_callers_is_taken_out_of_traffic(yard):
    yard.refusing.add("v2")

    facts = watch(yard)

    assert facts.verdict.outcome is Outcome.FAIL
    assert facts.verdict.reason.startswith("refused 66.7 % of ")
    assert facts.aborted == facts.verdict.reason


def test_a_canary_is_not_blamed_for_requests_that_stable_refuses_too(yard):
    yard.refusing |= {"v1", "v2"}

    assert watch(yard).aborted is None


def test_a_canary_ten_times_slower_is_taken_out_of_traffic_without_any_setting(yard):
    yard.slow.add("v2")

    facts = watch(yard)

    assert facts.verdict.outcome is Outcome.FAIL
    assert facts.verdict.reason.startswith("slower than 10 ms 100 % of ")
    assert facts.aborted == facts.verdict.reason


def test_a_canary_beside_an_older_server_that_counts_no_refusals_is_judged_all_the_same(yard):
    yard.old.add("v1")
    yard.refusing.add("v2")

    assert watch(yard).verdict.reason.startswith("refused 66.7 % of ")


def test_a_canary_on_an_older_server_does_not_wait_for_ever(yard):
    yard.old |= {"v1", "v2"}

    assert watch(yard).verdict.outcome is Outcome.PASS


@pytest.mark.long
@pytest.mark.parametrize("status", [400, 422, 402, 405, 413, 415])
def test_whatever_way_a_real_server_refuses_is_counted_and_judged(tmp_path, status):
    found = scraped(tmp_path, lambda server: server.fail(status))

    assert found.outcome is Outcome.FAIL
    assert found.reason.startswith("refused 100 % of 120 requests, stable 0 % of 480")


@pytest.mark.long
@pytest.mark.parametrize("status", [401, 404, 403, 408, 429, 499])
def test_answers_that_say_nothing_of_a_request_blame_nobody(tmp_path, status):
    found = scraped(tmp_path, lambda server: server.fail(status))

    assert found.outcome is Outcome.INCONCLUSIVE


def scraped(folder, answer):
    """The verdict on two servers over real HTTP: the canary answers so, stable answers well."""
    clock = FixedClock()
    metrics = ScrapeMetrics(folder, Repository(), clock)
    with ExitStack() as stack:
        stable, canary = (stack.enter_context(exposed(Server(each))) for each in ("v1", "v2"))
        name(folder, stable, canary)
        for _ in range(7):
            metrics.samples("late", since=NOW)
            clock.moment += timedelta(seconds=5)
            for _ in range(20):
                answer(canary)
            for _ in range(80):
                stable.answer("AA", 1.0, 30.0)
        samples = metrics.samples("late", since=NOW)
    evidence = CanaryEvidence(samples=samples[:-1], canary="v2", stable="v1")
    return judge_canary(evidence, replace(CanaryPolicy(), least_predictions=1))


@pytest.mark.long
@pytest.mark.parametrize(
    ("stable", "canary", "outcomes"),
    [
        (2, 800, {Outcome.FAIL}),
        (2, 2, {Outcome.PASS, Outcome.INCONCLUSIVE}),
    ],
    ids=["far slower", "alike"],
)
def test_real_servers_with_real_requests_are_judged_by_how_long_they_take(
    tmp_path, monkeypatch, stable, canary, outcomes
):
    """A large forest beside a small one, both behind the server that a yard starts."""
    monkeypatch.setenv("MODELYARD_PRELOADED", str(preloaded_socket()))
    clock = FixedClock()
    metrics = ScrapeMetrics(tmp_path, Repository(), clock)
    with ExitStack() as stack:
        servers = [
            stack.enter_context(forest(tmp_path / f"r{place}", trees, release=f"r{place}"))
            for place, trees in enumerate((stable, canary))
        ]
        clients = [server.client for server in servers]
        name(tmp_path, *(SimpleNamespace(url=str(each.base_url)) for each in clients))
        slow_ms = slow_threshold(None, usual_ms(servers[0]))
        for _ in range(32):
            metrics.samples("late", since=NOW)
            clock.moment += timedelta(seconds=10)
            for server in servers:
                for row in range(6):
                    answer = server.infer(request(rows=1 + row % 2))
                    assert answer.status_code == 200
        samples = metrics.samples("late", since=NOW)
    evidence = CanaryEvidence(samples=samples, canary="r1", stable="r0", slow_ms=slow_ms)

    found = judge_canary(evidence, CanaryPolicy())

    assert found.outcome in outcomes, found
    assert "slower than" in found.reason


def usual_ms(server):
    """How long a request takes; the median, as other tests may keep the machine busy."""
    took = []
    for _ in range(40):
        began = time.perf_counter()
        server.infer(request(rows=1))
        took.append(1000 * (time.perf_counter() - began))
    return sorted(took)[20]


def forest(folder, trees, *, release):
    """A real server of a forest of so many trees."""
    folder.mkdir()
    digest = make_artifact(folder / "artifact", trees=trees)
    return serving((folder / "artifact", digest), folder, release=release)


# Before any traffic: the gate compares what the two servers accept.

X = Column(name="x", type="number", nullable=True)
Z = Column(name="z", type="number")


def recorded(yard, version, *columns, breaks=None, champion="v1"):
    yard.inputs[version] = columns
    yard.record(version, champion=champion, breaks=breaks)
    return catalog_of(yard).records[MODEL, version]


def catalog_of(yard):
    return yard.workspace().catalog(yard.main())


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("columns", "named"),
    [
        ((X, Z), "z is new and required"),
        ((replace(X, nullable=False),), "x is no longer nullable"),
        ((replace(X, type="integer"),), "x is integer instead of number"),
        ((replace(X, name="X"),), "X is renamed"),
        ((replace(X, minimum=0.0),), "x is narrower"),
        ((replace(X, type="category"),), "x is category instead of number"),
    ],
)
def test_a_version_that_would_refuse_callers_fails_before_it_is_released(
    start, tmp_path, columns, named
):
    yard = start.copy(tmp_path / "yard")

    record = recorded(yard, "v3", *columns)

    assert record.verdict.outcome is Outcome.FAIL
    assert named in record.verdict.reason
    assert "\\n".join(verdict_lines(record)).count(named) == 2  # in the verdict and on its own


def test_what_a_version_breaks_on_purpose_passes_and_its_page_gives_the_reason(start, tmp_path):
    yard = start.copy(tmp_path / "yard")

    record = recorded(yard, "v3", X, Z, breaks={"z": "all callers send it since May"})

    assert record.verdict.passed
    page = "\\n".join(verdict_lines(record))
    assert "### Requests of its callers: pass" in page
    assert "all callers send it since May" in page


def test_a_reason_for_one_break_does_not_excuse_another(start, tmp_path):
    yard = start.copy(tmp_path / "yard")

    record = recorded(yard, "v3", replace(X, nullable=False), Z, breaks={"z": "announced"})

    assert record.verdict.outcome is Outcome.FAIL
    assert record.verdict.columns == ("x",)


def test_a_record_cannot_claim_that_its_callers_are_safe(start, tmp_path):
    yard = start.copy(tmp_path / "yard")
    record = recorded(yard, "v3", X, Z)
    passed = replace(record.verdict, outcome=Outcome.PASS)
    claimed = replace(
        record, verdict=passed, contract=replace(record.contract, outcome=Outcome.PASS)
    )

    again = recompute_verdicts(yard.workspace().store, catalog_of(yard), claimed)

    assert find_differences(claimed, *again) == (
        "verdict: the record has pass, the evidence gives fail",
    )


def test_callers_of_what_production_runs_now_count_and_not_those_of_the_training(start, tmp_path):
    yard = start.copy(tmp_path / "yard")
    recorded(yard, "v3", X, Z, breaks={"z": "announced"})
    # v4 was compared with v3, which asks for z too; production still has v1.
    assert recorded(yard, "v4", X, Z, champion="v3").verdict.passed

    verdict = compare_versions(yard.workspace().store, catalog_of(yard), MODEL, "v4", "v1")

    assert verdict.outcome is Outcome.FAIL
    assert "served contract: it would refuse requests that v1 accepts: z is new" in verdict.reason


def test_a_record_without_a_verdict_on_its_callers_is_compared_before_users_see_it(start, tmp_path):
    yard = start.copy(tmp_path / "yard")
    record = recorded(yard, "v3", X, Z, breaks={"z": "announced"})
    older = replace(record, contract=None)
    world = World(model=MODEL, catalog=catalog_of(yard), now=AT, bot=BOT)
    catalog = replace(world.catalog, records={**world.catalog.records, (MODEL, "v3"): older})

    assert needs_comparison(world, "v3") is None
    assert needs_comparison(replace(world, catalog=catalog), "v3") == ("v3", "v1")
