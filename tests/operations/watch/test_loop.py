from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from modelyard.operations.watch import loop as watch_loop
from modelyard.operations.watch import notify as announcing
from modelyard.operations.watch.health import WatchHealth
from modelyard.operations.watch.loop import Watcher
from operations.yard import MODEL, living_yard, model_named


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    yard = living_yard(tmp_path_factory.mktemp("start") / "yard")
    yard.record("v2", champion="v1")
    yard.rest()
    return yard


@pytest.fixture
def yard(start, tmp_path):
    return start.copy(tmp_path / "yard")


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    monkeypatch.setattr(watch_loop, "GIT_SECONDS", 0.05)


def watcher(yard, *, interval=0.2, cluster=None):
    workspace = yard.workspace()
    if cluster is not None:
        workspace = replace(
            workspace, services=replace(workspace.services, cluster=cluster(workspace))
        )
    return Watcher(workspace=workspace, health=WatchHealth(interval), interval=interval, say=print)


def moving(models):
    """A cluster in which these models move at once."""

    def made(workspace):
        cluster = workspace.services.cluster
        cluster.changed = lambda environments, *, seconds: frozenset(models)
        return cluster

    return made


def test_a_watcher_that_sees_a_bad_canary_has_rolled_it_back_when_its_round_ends(yard):
    yard.put("v2", "canary", is_verified=False)
    yard.broken.add("v2")
    looking = watcher(yard)

    looking.round()

    assert yard.names() == dict.fromkeys(yard.names(), "v1")
    assert yard.facts("canary").version == "v1"
    assert looking.health.is_well()


def test_only_the_models_that_moved_are_looked_at_next(yard):
    looking = watcher(yard, interval=30.0, cluster=moving({MODEL}))

    looking.round()

    assert looking.due == {MODEL}


def test_after_its_interval_everything_is_looked_at(yard):
    looking = watcher(yard, interval=0.1)
    looking.due = frozenset({MODEL})

    looking.round()

    assert looking.due is None


def test_a_push_wakes_the_watcher_long_before_its_interval_is_over(yard):
    looking = watcher(yard, interval=600.0)
    ended = threading.Event()

    def one_round():
        looking.round()
        ended.set()

    threading.Thread(target=one_round, daemon=True).start()
    assert not ended.wait(1.0)
    yard.git.run("push", "--quiet", "origin", f"{yard.main()}:refs/heads/somebody")

    assert ended.wait(20.0)
    assert looking.due is None


def test_a_look_that_fails_is_not_the_end_and_is_not_well(yard):
    looking = watcher(yard, interval=0.1)
    yard.git.run("remote", "set-url", "origin", "/nowhere")
    broken = replace(looking, workspace=yard.workspace())

    broken.round()

    assert not broken.health.is_well()
    assert broken.due is None


def test_a_defect_is_not_the_end_either(yard, monkeypatch, caplog):
    def defect(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(watch_loop, "look", defect)
    looking = watcher(yard, interval=0.1)

    looking.round()

    assert not looking.health.is_well()
    assert "a look failed" in caplog.text


def failing(looking):
    """What is said of each model: 1 when the last look at it failed."""
    said = generate_latest(looking.health.registry).decode()
    (family,) = (
        each
        for each in text_string_to_metric_families(said)
        if each.name == "modelyard_watch_model_failing"
    )
    return {sample.labels["model"]: sample.value for sample in family.samples}


def test_a_defect_met_in_one_model_does_not_keep_another_from_its_rollback(yard, caplog):
    yard.commit(model_named(yard, "a"))
    yard.put("v2", "canary", is_verified=False)
    yard.broken.add("v2")

    looking = watcher(yard, interval=0.1)
    aliases = looking.workspace.registry.aliases
    looking.workspace.registry.aliases = lambda model: (
        aliases(model) if model == MODEL else {}[model]
    )

    looking.round()

    assert yard.names() == dict.fromkeys(yard.names(), "v1")
    assert "KeyError" in caplog.text
    assert failing(looking) == {"a": 1, MODEL: 0}


def test_a_model_that_fails_for_good_is_named_and_leaves_the_watcher_well(yard, caplog):
    yard.commit({"models/a/model.yaml": b"name: a\n"})
    looking = watcher(yard, interval=0.1)

    looking.round()

    assert looking.health.is_well()
    assert failing(looking) == {"a": 1, MODEL: 0}
    assert "models/a/model.yaml" in caplog.text

    yard.commit({"models/a/model.yaml": None})
    looking.round()

    assert failing(looking) == {MODEL: 0}


def test_a_watcher_that_gets_through_to_no_model_is_not_well(yard):
    yard.commit({f"models/{MODEL}/model.yaml": b"name: m\n"})
    looking = watcher(yard, interval=0.1)

    looking.round()

    assert not looking.health.is_well()
    assert failing(looking) == {MODEL: 1}


def test_news_that_cannot_be_told_are_no_models_failure(yard, monkeypatch):
    def defect(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(announcing, "send", defect)
    yard.commit(model_named(yard, "a"))
    yard.put("v2", "canary", is_verified=False)
    yard.broken.add("v2")
    looking = watcher(yard, interval=0.1)

    looking.round()

    assert not looking.health.is_well()
    assert failing(looking) == {"a": 0, MODEL: 0}


def test_a_model_that_never_rests_does_not_keep_the_others_from_being_looked_at(yard):
    looking = watcher(yard, interval=1.0, cluster=moving({"restless"}))
    looking.due = frozenset({"restless"})
    looking.round()

    for _ in range(100):
        if looking.due is None:
            break
        looking.round()

    assert looking.due is None


def test_a_push_that_comes_together_with_a_move_is_not_missed(yard):
    looking = watcher(yard, interval=30.0, cluster=moving({MODEL}))
    looking.round()
    assert looking.due == {MODEL}
    yard.git.run("push", "--quiet", "origin", f"{yard.main()}:refs/heads/somebody")

    looking.round()

    assert looking.due is None


@pytest.mark.parametrize("what", ["undecided", "catalog"])
def test_a_defect_between_two_looks_is_not_the_end_either(what, yard, monkeypatch):
    def defect(*_):
        raise ZeroDivisionError

    looking = watcher(yard, interval=0.1)
    if what == "undecided":
        monkeypatch.setattr(watch_loop, what, defect)
    else:
        monkeypatch.setattr(type(looking.workspace), "catalog", defect)

    looking.round()

    assert looking.due is None
