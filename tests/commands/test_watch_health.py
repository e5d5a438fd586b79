from __future__ import annotations

import http.client
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from modelyard.commands import watch_health
from modelyard.commands.watch_health import WatchHealth
from modelyard.domain.notice import Kind, Notice


@pytest.fixture
def health():
    return WatchHealth(30.0)


@pytest.fixture
def ask(health):
    server = health.serve("127.0.0.1", 0)

    def ask(path):
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=5)
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text

    yield ask
    server.shutdown()
    server.server_close()


def metrics(text):
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_watcher_is_not_well_before_its_first_success(health, ask):
    assert ask("/healthz")[0] == 503

    health.looked(seconds=1.0, succeeded=False)
    assert ask("/healthz")[0] == 503

    health.looked(seconds=1.0, succeeded=True)
    assert ask("/healthz")[0] == 200


def test_standing_by_is_as_well_as_acting(health, ask):
    health.stands_by()

    assert ask("/healthz")[0] == 200
    assert metrics(ask("/metrics")[1])["modelyard_watch_is_leader",] == 0


def test_standing_by_without_hearing_who_acts_is_not(health, ask):
    health.stands_by(heard=False)

    assert ask("/healthz")[0] == 503


def test_a_look_at_one_busy_model_hides_no_failure_of_the_others(health, ask):
    health.looked(seconds=1.0, succeeded=True, at_all=False)

    assert ask("/healthz")[0] == 503
    assert metrics(ask("/metrics")[1])["modelyard_watch_looks_total", "success"] == 1


def test_a_success_that_is_too_old_is_not_well(health, ask, monkeypatch):
    health.looked(seconds=1.0, succeeded=True)
    now = time.monotonic()

    monkeypatch.setattr(watch_health.time, "monotonic", lambda: now + 119)
    assert health.is_well()
    monkeypatch.setattr(watch_health.time, "monotonic", lambda: now + 121)
    assert not health.is_well()


def test_looks_rollbacks_and_incidents_are_counted(health, ask):
    before = time.time()
    health.looked(seconds=0.3, succeeded=True)
    health.looked(seconds=0.3, succeeded=False)
    for kind, environment in ((Kind.ROLLBACK, "canary"), (Kind.INCIDENT, None), (Kind.HOLD, None)):
        health.told(
            Notice(key="k", kind=kind, model="m", environment=environment, title="t", body="b")
        )

    found = metrics(ask("/metrics")[1])

    assert found["modelyard_watch_looks_total", "success"] == 1
    assert found["modelyard_watch_looks_total", "failure"] == 1
    assert found["modelyard_watch_look_seconds_count",] == 2
    assert found["modelyard_watch_last_success_timestamp_seconds",] >= before
    assert found["modelyard_rollbacks_total", "canary", "m"] == 1
    assert found["modelyard_incidents_total", "m"] == 1
    assert found["modelyard_holds_total", "m"] == 1


def test_other_addresses_are_not_there(ask):
    assert ask("/v1/anything")[0] == 404
