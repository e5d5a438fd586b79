from __future__ import annotations

import http.client
import time
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from modelyard.domain.machines.shards import Shard
from modelyard.domain.promotion.notifications import Kind, Notification
from modelyard.errors import CannotAnswer
from modelyard.operations.watch import health as watch_health
from modelyard.operations.watch.health import WatchHealth
from modelyard.operations.watch.pass_once import PassResult

SUCCESS = PassResult(changed=False, models=("m", "n"))
TROUBLE = CannotAnswer("trouble")


@pytest.fixture
def health():
    return WatchHealth(30.0)


@pytest.fixture
def ask(health):
    server = health.serve_pages("127.0.0.1", 0)

    def ask(path):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text

    yield ask
    server.stop()


def metrics(text):
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_watcher_is_unhealthy_before_its_first_success(health, ask):
    assert ask("/healthz")[0] == 503

    health.record_pass(seconds=1.0, result=None)
    assert ask("/healthz")[0] == 503

    health.record_pass(seconds=1.0, result=SUCCESS)
    assert ask("/healthz")[0] == 200


def test_standing_by_is_as_healthy_as_acting(health, ask):
    health.record_standby()

    assert ask("/healthz")[0] == 200
    assert metrics(ask("/metrics")[1])["modelyard_watch_is_leader",] == 0


def test_standing_by_without_hearing_who_acts_is_not(health, ask):
    health.record_standby(is_leader_known=False)

    assert ask("/healthz")[0] == 503


def test_a_pass_over_one_busy_model_hides_no_failure_of_the_others(health, ask):
    health.record_pass(seconds=1.0, result=SUCCESS, covers_all=False)

    assert ask("/healthz")[0] == 503
    assert metrics(ask("/metrics")[1])["modelyard_watch_looks_total", "success"] == 1


def test_a_success_that_is_too_old_is_unhealthy(health, ask, monkeypatch):
    health.record_pass(seconds=1.0, result=SUCCESS)
    now = time.monotonic()

    monkeypatch.setattr(watch_health.time, "monotonic", lambda: now + 119)
    assert health.is_healthy()
    monkeypatch.setattr(watch_health.time, "monotonic", lambda: now + 121)
    assert not health.is_healthy()


@pytest.mark.parametrize(
    ("models", "failing", "is_healthy"),
    [
        ((), [], True),
        (("m", "n"), ["m"], True),
        (("m", "n"), ["m", "n"], False),
        (("m",), ["m"], False),
        (("m", "n"), [None], False),
        ((), [None], False),
    ],
)
def test_some_models_that_fail_are_no_failure_of_the_watcher(models, failing, is_healthy, health):
    failures = tuple((model, TROUBLE) for model in failing)

    health.record_pass(
        seconds=1.0, result=PassResult(changed=False, models=models, failures=failures)
    )

    assert health.is_healthy() is is_healthy


def test_a_model_fails_until_its_next_pass_or_until_it_is_gone_or_another_watcher_acts(health, ask):
    def failing():
        return {
            key[1]: value
            for key, value in metrics(ask("/metrics")[1]).items()
            if key[0] == "modelyard_watch_model_failing"
        }

    failed = replace(SUCCESS, failures=(("m", TROUBLE),))
    health.record_pass(seconds=1.0, result=failed)
    health.record_pass(
        seconds=1.0, result=PassResult(changed=False, models=("n",)), covers_all=False
    )
    health.record_pass(seconds=1.0, result=None)
    assert failing() == {"m": 1, "n": 0}

    health.record_pass(
        seconds=1.0, result=PassResult(changed=False, models=("m",)), covers_all=False
    )
    assert failing() == {"m": 0, "n": 0}

    health.record_pass(seconds=1.0, result=failed)
    health.record_pass(seconds=1.0, result=PassResult(changed=False, models=("n",)))
    assert failing() == {"n": 0}

    health.record_standby()
    assert failing() == {}


def test_what_cannot_be_read_is_reported_until_the_next_pass_over_all_or_another_watcher_acts(
    health, ask
):
    def unreadable():
        return metrics(ask("/metrics")[1])["modelyard_watch_unreadable_documents",]

    assert unreadable() == 0
    health.record_pass(seconds=1.0, result=replace(SUCCESS, unreadable=2))
    health.record_pass(seconds=1.0, result=SUCCESS, covers_all=False)
    health.record_pass(seconds=1.0, result=None)
    assert unreadable() == 2
    assert health.is_healthy()

    health.record_pass(seconds=1.0, result=replace(SUCCESS, unreadable=0))
    assert unreadable() == 0

    health.record_pass(seconds=1.0, result=replace(SUCCESS, unreadable=2))
    health.record_standby()
    assert unreadable() == 0


def test_passes_rollbacks_and_incidents_are_counted(health, ask):
    before = time.time()
    health.record_pass(seconds=0.3, result=SUCCESS)
    health.record_pass(seconds=0.3, result=None)
    for kind, environment in ((Kind.ROLLBACK, "canary"), (Kind.INCIDENT, None), (Kind.HOLD, None)):
        health.count_notification(
            Notification(
                key="k", kind=kind, model="m", environment=environment, title="t", body="b"
            )
        )

    found = metrics(ask("/metrics")[1])

    assert found["modelyard_watch_looks_total", "success"] == 1
    assert found["modelyard_watch_looks_total", "failure"] == 1
    assert found["modelyard_watch_look_seconds_count",] == 2
    assert found["modelyard_watch_last_success_timestamp_seconds", "1/1"] >= before
    assert found["modelyard_rollbacks_total", "canary", "m"] == 1
    assert found["modelyard_incidents_total", "m"] == 1
    assert found["modelyard_holds_total", "m"] == 1


def test_other_addresses_are_not_there(ask):
    assert ask("/v1/anything")[0] == 404


def test_each_shard_has_a_series_of_its_own_and_says_how_many_there_should_be():
    registry = WatchHealth(30.0, Shard(2, 3)).registry
    shard = {"shard": "2/3"}
    assert registry.get_sample_value("modelyard_watch_last_success_timestamp_seconds", shard) == 0
    assert registry.get_sample_value("modelyard_watch_shards") == 3
