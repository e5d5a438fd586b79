from __future__ import annotations

import http.client
import time
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from modelyard.domain.promotion.notice import Kind, Notice
from modelyard.errors import CannotAnswer
from modelyard.operations.watch import health as watch_health
from modelyard.operations.watch.health import WatchHealth
from modelyard.operations.watch.pass_once import Looked

WELL = Looked(changed=False, models=("m", "n"))
TROUBLE = CannotAnswer("trouble")


@pytest.fixture
def health():
    return WatchHealth(30.0)


@pytest.fixture
def ask(health):
    server = health.serve("127.0.0.1", 0)

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


def test_a_watcher_is_not_well_before_its_first_success(health, ask):
    assert ask("/healthz")[0] == 503

    health.looked(seconds=1.0, looked=None)
    assert ask("/healthz")[0] == 503

    health.looked(seconds=1.0, looked=WELL)
    assert ask("/healthz")[0] == 200


def test_standing_by_is_as_well_as_acting(health, ask):
    health.stands_by()

    assert ask("/healthz")[0] == 200
    assert metrics(ask("/metrics")[1])["modelyard_watch_is_leader",] == 0


def test_standing_by_without_hearing_who_acts_is_not(health, ask):
    health.stands_by(heard=False)

    assert ask("/healthz")[0] == 503


def test_a_look_at_one_busy_model_hides_no_failure_of_the_others(health, ask):
    health.looked(seconds=1.0, looked=WELL, at_all=False)

    assert ask("/healthz")[0] == 503
    assert metrics(ask("/metrics")[1])["modelyard_watch_looks_total", "success"] == 1


def test_a_success_that_is_too_old_is_not_well(health, ask, monkeypatch):
    health.looked(seconds=1.0, looked=WELL)
    now = time.monotonic()

    monkeypatch.setattr(watch_health.time, "monotonic", lambda: now + 119)
    assert health.is_well()
    monkeypatch.setattr(watch_health.time, "monotonic", lambda: now + 121)
    assert not health.is_well()


@pytest.mark.parametrize(
    ("models", "failing", "is_well"),
    [
        ((), [], True),
        (("m", "n"), ["m"], True),
        (("m", "n"), ["m", "n"], False),
        (("m",), ["m"], False),
        (("m", "n"), [None], False),
        ((), [None], False),
    ],
)
def test_some_models_that_fail_are_no_failure_of_the_watcher(models, failing, is_well, health):
    failures = tuple((model, TROUBLE) for model in failing)

    health.looked(seconds=1.0, looked=Looked(changed=False, models=models, failures=failures))

    assert health.is_well() is is_well


def test_a_model_fails_until_it_is_looked_at_again_or_gone_or_another_watcher_acts(health, ask):
    def failing():
        return {
            key[1]: value
            for key, value in metrics(ask("/metrics")[1]).items()
            if key[0] == "modelyard_watch_model_failing"
        }

    ill = replace(WELL, failures=(("m", TROUBLE),))
    health.looked(seconds=1.0, looked=ill)
    health.looked(seconds=1.0, looked=Looked(changed=False, models=("n",)), at_all=False)
    health.looked(seconds=1.0, looked=None)
    assert failing() == {"m": 1, "n": 0}

    health.looked(seconds=1.0, looked=Looked(changed=False, models=("m",)), at_all=False)
    assert failing() == {"m": 0, "n": 0}

    health.looked(seconds=1.0, looked=ill)
    health.looked(seconds=1.0, looked=Looked(changed=False, models=("n",)))
    assert failing() == {"n": 0}

    health.stands_by()
    assert failing() == {}


def test_what_cannot_be_read_is_told_until_all_are_looked_at_again_or_another_watcher_acts(
    health, ask
):
    def unreadable():
        return metrics(ask("/metrics")[1])["modelyard_watch_unreadable_documents",]

    assert unreadable() == 0
    health.looked(seconds=1.0, looked=replace(WELL, unreadable=2))
    health.looked(seconds=1.0, looked=WELL, at_all=False)
    health.looked(seconds=1.0, looked=None)
    assert unreadable() == 2
    assert health.is_well()

    health.looked(seconds=1.0, looked=replace(WELL, unreadable=0))
    assert unreadable() == 0

    health.looked(seconds=1.0, looked=replace(WELL, unreadable=2))
    health.stands_by()
    assert unreadable() == 0


def test_looks_rollbacks_and_incidents_are_counted(health, ask):
    before = time.time()
    health.looked(seconds=0.3, looked=WELL)
    health.looked(seconds=0.3, looked=None)
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
