"""What lets a bad version through: each of these once did, or is of the same kind."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta

import pytest

from adapters.metrics.test_scrape import NOW, FixedClock, Server, exposed, name
from modelyard.adapters.metrics.scrape import ScrapeMetrics
from modelyard.domain.canary.judge import CanaryEvidence, judge_canary
from modelyard.domain.specs.model import CanaryPolicy
from modelyard.domain.specs.repository import Repository
from modelyard.domain.verdict import Outcome
from modelyard.operations.watch.observe import observe_model
from operations.yard import MODEL, SHORT, living_yard


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    yard = living_yard(tmp_path_factory.mktemp("start") / "yard", SHORT)
    yard.record("v2", champion="v1")
    return yard


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


@pytest.mark.parametrize("status", [400, 402, 405, 413, 415, 422])
def test_whatever_way_a_real_server_refuses_is_counted_and_judged(tmp_path, status):
    found = scraped(tmp_path, lambda server: server.fail(status))

    assert found.outcome is Outcome.FAIL
    assert found.reason.startswith("refused 100 % of 60 requests, stable 0 % of 240")


@pytest.mark.parametrize("status", [401, 403, 404, 408, 429, 499])
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
        for _ in range(4):
            metrics.samples("late", since=NOW)
            clock.moment += timedelta(seconds=5)
            for _ in range(20):
                answer(canary)
            for _ in range(80):
                stable.answer("AA", 1.0, 30.0)
        samples = metrics.samples("late", since=NOW)
    evidence = CanaryEvidence(samples=samples[:-1], canary="v2", stable="v1")
    return judge_canary(evidence, replace(CanaryPolicy(), least_predictions=1))
