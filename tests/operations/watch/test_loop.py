from __future__ import annotations

import contextvars
import errno
import os
import threading
import time
from dataclasses import replace
from datetime import timedelta

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from modelyard.adapters.git.repository import Git
from modelyard.adapters.workflows.local import LocalWorkflows
from modelyard.domain.promotion.facts import Hold
from modelyard.errors import CannotAnswer
from modelyard.operations.watch import forge_pace, pass_once
from modelyard.operations.watch import loop as watch_loop
from modelyard.operations.watch import notify as notifying
from modelyard.operations.watch.health import WatchHealth
from modelyard.operations.watch.loop import Watcher
from operations.yard import BOT, MODEL, PATH, contested_yard, model_named


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    yard = contested_yard(tmp_path_factory.mktemp("start") / "yard", PATH)
    yard.rest()
    return yard


@pytest.fixture
def yard(start, tmp_path):
    return start.copy(tmp_path / "yard")


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    monkeypatch.setattr(forge_pace, "FAR_SECONDS", 0.05)
    monkeypatch.setattr(forge_pace, "NEAR_SECONDS", 0.02)


def watcher(yard, *, interval=0.2, cluster=None):
    workspace = yard.workspace()
    if cluster is not None:
        workspace = replace(
            workspace, services=replace(workspace.services, cluster=cluster(workspace))
        )
    return Watcher(
        workspace=workspace, health=WatchHealth(interval), interval=interval, report=print
    )


def moving(models):
    """A cluster in which these models move at once."""

    def made(workspace):
        cluster = workspace.services.cluster
        cluster.changed = lambda environments, *, seconds: frozenset(models)
        return cluster

    return made


@pytest.mark.long
def test_a_watcher_that_sees_a_bad_canary_has_rolled_it_back_when_it_rests(yard):
    yard.put("v2", "canary", is_verified=False)
    yard.broken.add("v2")
    running = watcher(yard)

    running.run_passes_and_wait()

    assert yard.names() == dict.fromkeys(yard.names(), "v1")
    assert yard.facts("canary").version == "v1"
    assert running.health.is_healthy()


@pytest.mark.long
def test_only_the_models_that_moved_are_due_next(yard):
    running = watcher(yard, interval=30.0, cluster=moving({MODEL}))

    running.run_passes_and_wait()

    assert running.due == {MODEL}


def test_after_its_interval_everything_is_due(yard):
    running = watcher(yard, interval=0.1)
    running.due = frozenset({MODEL})

    running.run_passes_and_wait()

    assert running.due is None


def test_a_push_wakes_the_watcher_long_before_its_interval_is_over(yard):
    running = watcher(yard, interval=600.0)
    ended = threading.Event()

    def run():
        running.run_passes_and_wait()
        ended.set()

    threading.Thread(target=run, daemon=True).start()
    assert not ended.wait(1.0)
    yard.git.run("push", "--quiet", "origin", f"{yard.main()}:refs/heads/somebody")

    assert ended.wait(20.0)
    assert running.due is None


def asked_every(yard, *, took):
    """The pauses of a watcher between questions to a forge where each takes this long."""
    running, pauses, now = watcher(yard, interval=60), [], [0.0]

    def pass_time(seconds):
        now[0] += seconds

    def changed(environments, *, seconds):
        pauses.append(seconds)
        pass_time(seconds)
        return frozenset()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watch_loop.time, "monotonic", lambda: now[0])
        patch.setattr(forge_pace, "NEAR_SECONDS", 0.5)
        patch.setattr(forge_pace, "FAR_SECONDS", 2.0)
        patch.setattr(running, "_read_refs", lambda: pass_time(took))
        cluster = running.workspace.services.cluster
        patch.setattr(cluster, "changed", changed)
        assert running._wait_for_due(30.0) is None
    return {round(each, 3) for each in pauses[:-1]}  # the last one ends at the deadline


@pytest.mark.parametrize(("took", "pauses"), [(0.01, {0.5}), (0.06, {0.5, 1.2}), (0.4, {0.5, 2.0})])
def test_a_forge_in_a_folder_is_asked_sooner_as_long_as_it_answers_quickly(yard, took, pauses):
    assert asked_every(yard, took=took) == pauses


@pytest.mark.parametrize("url", ["https://forge.example.org/m.git", "git@forge:m.git", None])
def test_a_forge_on_a_host_is_asked_every_two_seconds(yard, url):
    yard.git.run("remote", *(("set-url", "origin", url) if url else ("remove", "origin")))

    assert asked_every(yard, took=0.01) == {2.0}


def test_what_a_person_says_on_a_page_wakes_the_watcher_too(yard):
    """A review of a hosted forge moves no ref."""
    running = watcher(yard, interval=60)
    said = ["#3 seen"]
    object.__setattr__(running.workspace.services.pulls, "pulse", lambda: said[-1])
    running.seen = running._read_refs()
    waited = threading.Thread(target=running._wait_for_due, args=(time.monotonic() + 60,))
    waited.start()

    said.append("#3 approved")

    waited.join(30)
    assert not waited.is_alive()


def test_a_workflow_that_ends_on_this_machine_wakes_the_watcher(yard):
    running = watcher(yard, interval=60)
    over = ["0"]
    object.__setattr__(running.workspace.services.orchestrator, "pulse", lambda: over[-1])
    running.seen = running._read_refs()
    waited = threading.Thread(target=running._wait_for_due, args=(time.monotonic() + 60,))
    waited.start()

    over.append("1")

    waited.join(30)
    assert not waited.is_alive()


@pytest.mark.parametrize(
    ("ago", "hears", "pause"), [(5, False, 1.0), (500, False, 60.0), (5, True, 60.0)]
)
def test_the_watcher_looks_more_often_while_a_server_starts_that_tells_nobody(
    yard, monkeypatch, ago, hears, pause
):
    running = watcher(yard, interval=60)
    now = running.workspace.services.clock.now()
    facts = replace(
        yard.facts("canary"), healthy_since=None, seen_at=now - timedelta(seconds=ago), verdict=None
    )
    monkeypatch.setattr(
        pass_once, "_releases_with", lambda _, __, holds: filter(None, [holds(facts)])
    )
    monkeypatch.setattr(running.workspace.services.cluster, "tells_changes", lambda: hears)

    assert running._pause_seconds() == pause


def test_a_forge_that_says_nothing_of_pull_requests_hides_no_push(yard):
    def refused():
        raise CannotAnswer("the forge's limit is reached")

    running = watcher(yard, interval=60)
    running.seen = {"pulse": "#3 seen"}
    object.__setattr__(running.workspace.services.pulls, "pulse", refused)

    seen = running._read_refs()

    assert seen["pulse"] == "#3 seen"
    assert "refs/heads/main" in seen


@pytest.mark.parametrize(
    "status",
    ['{"phase": "Odd", "steps": {}, "runner": null, "running": {}, "message": ""}', "[]", "{"],
)
def test_a_damaged_status_of_a_workflow_hides_no_push(yard, tmp_path, status):
    running = watcher(yard, interval=60)
    services = running.workspace.services
    workflows = LocalWorkflows(tmp_path, services.repository)
    object.__setattr__(services.orchestrator, "pulse", workflows.pulse)
    damaged = tmp_path / ".modelyard/workflows/odd/status.json"
    damaged.parent.mkdir(parents=True)
    damaged.write_text(status)

    seen = running._read_refs()

    assert "refs/heads/main" in seen


def test_a_pass_that_fails_is_not_the_end_and_is_not_healthy(yard):
    running = watcher(yard, interval=0.1)
    yard.git.run("remote", "set-url", "origin", "/nowhere")
    broken = replace(running, workspace=yard.workspace())

    broken.run_passes_and_wait()

    assert not broken.health.is_healthy()
    assert broken.due is None


def test_a_defect_is_not_the_end_either(yard, monkeypatch, caplog):
    def defect(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(watch_loop, "run_pass", defect)
    running = watcher(yard, interval=0.1)

    running.run_passes_and_wait()

    assert not running.health.is_healthy()
    assert "a pass failed" in caplog.text


def test_a_full_disk_is_one_line_in_the_log_and_no_traceback(yard, monkeypatch, caplog):
    def fill(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "state.json")

    monkeypatch.setattr(watch_loop, "run_pass", fill)
    running = watcher(yard, interval=0.1)

    running.run_passes_and_wait()

    assert not running.health.is_healthy()
    assert caplog.messages == ["state.json: No space left on device"]
    assert caplog.records[0].exc_info is None


def failing(running):
    """The metric of each model: 1 when its last pass failed."""
    text = generate_latest(running.health.registry).decode()
    (family,) = (
        each
        for each in text_string_to_metric_families(text)
        if each.name == "modelyard_watch_model_failing"
    )
    return {sample.labels["model"]: sample.value for sample in family.samples}


@pytest.mark.long
def test_a_defect_met_in_one_model_does_not_keep_another_from_its_rollback(yard, caplog):
    yard.commit(model_named(yard, "a"))
    yard.put("v2", "canary", is_verified=False)
    yard.broken.add("v2")

    running = watcher(yard, interval=0.1)
    aliases = running.workspace.registry.read_aliases
    running.workspace.registry.read_aliases = lambda model: (
        aliases(model) if model == MODEL else {}[model]
    )

    running.run_passes_and_wait()

    assert yard.names() == dict.fromkeys(yard.names(), "v1")
    assert "KeyError" in caplog.text
    assert failing(running) == {"a": 1, MODEL: 0}


@pytest.mark.long
def test_a_model_that_fails_for_good_is_named_and_leaves_the_watcher_healthy(yard, caplog):
    yard.commit({"models/a/model.yaml": b"name: a\n"})
    running = watcher(yard, interval=0.1)

    running.run_passes_and_wait()

    assert running.health.is_healthy()
    assert failing(running) == {"a": 1, MODEL: 0}
    assert "models/a/model.yaml" in caplog.text

    yard.commit({"models/a/model.yaml": None})
    running.run_passes_and_wait()

    assert failing(running) == {MODEL: 0}


@pytest.mark.long
def test_a_watcher_that_succeeds_for_no_model_is_unhealthy(yard):
    yard.commit({f"models/{MODEL}/model.yaml": b"name: m\n"})
    running = watcher(yard, interval=0.1)

    running.run_passes_and_wait()

    assert not running.health.is_healthy()
    assert failing(running) == {MODEL: 1}


@pytest.mark.long
def test_a_notification_that_cannot_be_sent_is_no_models_failure(yard, monkeypatch):
    def defect(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(notifying, "send_message", defect)
    yard.commit(model_named(yard, "a"))
    yard.put("v2", "canary", is_verified=False)
    yard.broken.add("v2")
    running = watcher(yard, interval=0.1)

    running.run_passes_and_wait()

    assert not running.health.is_healthy()
    assert failing(running) == {"a": 0, MODEL: 0}


@pytest.mark.sample(1)
@pytest.mark.parametrize("when", ["observed", "decided"])
def test_an_abort_whose_fact_loses_a_race_is_rolled_back_in_the_same_pass(yard, monkeypatch, when):
    yard.put("v2", "canary", is_verified=False)
    yard.broken.add("v2")
    step = "observe_model" if when == "observed" else "reconcile_model"
    real, raced = getattr(pass_once, step), []

    def race():
        if not raced:
            raced.append(step)
            other = yard.workspace().facts.update_model
            # Its snapshot is its own.
            contextvars.Context().run(other, "another", lambda facts: replace(facts, told=("x",)))

    def with_a_race(*words, **more):
        if when == "decided":
            race()
        found = real(*words, **more)
        race()
        return found

    monkeypatch.setattr(pass_once, step, with_a_race)

    pass_once.run_pass(yard.workspace(), report=print, with_checks=False, models=frozenset({MODEL}))

    assert yard.names() == dict.fromkeys(yard.names(), "v1")


@pytest.fixture
def broken(yard):
    """A watcher that has seen all there is, and is told that servers of v2 moved, which is bad."""
    yard.put("v2", "canary", is_verified=False)
    running = watcher(yard, interval=30.0, cluster=moving({MODEL}))
    running.seen = running._read_refs()
    running.due, running.all_by = frozenset({MODEL}), time.monotonic() + 600
    yard.broken.add("v2")
    return running


def test_a_rollback_is_merged_after_one_reading_of_the_refs(yard, broken, monkeypatch):
    """Each costs a forge a tenth of a second and more, and what it says of pull requests too."""
    monkeypatch.setattr(watch_loop, "GOOD_SECONDS", 600.0)  # however slow the machine is
    asked, merged = [], []
    real, pulls = Git.ls_remote, broken.workspace.services.pulls
    merge = pulls.merge

    def ls_remote(*words):
        asked.append("refs")
        return real(*words)

    def merging(*words, **more):
        merged.append(tuple(asked))
        return merge(*words, **more)

    monkeypatch.setattr(Git, "ls_remote", ls_remote)
    object.__setattr__(pulls, "pulse", lambda: asked.append("pulse") or "")
    object.__setattr__(pulls, "merge", merging)
    broken.run_passes_and_wait()

    assert yard.names()["canary"] == "v1"
    assert merged[0] == ("refs",)


def test_a_rollback_waits_for_no_event_of_the_cluster(yard, broken):
    done = []
    services = broken.workspace.services
    merge = services.pulls.merge

    def merging(*words, **more):
        done.append("merge")
        return merge(*words, **more)

    object.__setattr__(services.pulls, "merge", merging)
    services.cluster.note = lambda *_, what, **__: done.append(what.partition(":")[0])
    broken.run_passes_and_wait()

    told = done.index("judged fail")
    assert done[0] == "merge"
    assert done[told : told + 2] == ["judged fail", "is out of traffic"]


@pytest.mark.parametrize("what", ["hold", "push"])
def test_what_comes_after_the_refs_of_a_rollback_is_not_lost(yard, broken, monkeypatch, what):
    real = pass_once.reconcile_model

    def by_somebody():
        other = yard.workspace("clone")
        if what == "push":
            yard.git.run("push", "--quiet", "origin", f"{yard.main()}:refs/heads/somebody")
        else:
            hold = Hold(reason="it is slow", by="ada", since=yard.clock.now())
            other.facts.update_model(MODEL, lambda facts: replace(facts, holds={"v2": hold}))

    def with_somebody(*words, **more):
        monkeypatch.setattr(pass_once, "reconcile_model", real)
        contextvars.Context().run(by_somebody)
        return real(*words, **more)

    monkeypatch.setattr(pass_once, "reconcile_model", with_somebody)
    broken.run_passes_and_wait()

    assert yard.names()["canary"] == "v1"
    assert yard.model_facts.holds["v2"].by == ("ada" if what == "hold" else BOT)


def test_a_push_about_another_model_during_a_rollback_is_met_long_before_the_interval(
    yard, broken, monkeypatch
):
    real = pass_once.reconcile_model

    def with_somebody(*words, **more):
        yard.git.run("push", "--quiet", "origin", f"{yard.main()}:refs/heads/somebody")
        return real(*words, **more)

    monkeypatch.setattr(pass_once, "reconcile_model", with_somebody)
    broken.interval, before = 600.0, time.monotonic()

    broken.run_passes_and_wait()

    assert yard.names()["canary"] == "v1"
    assert broken.all_by - before < 300


def test_what_a_person_says_while_servers_move_is_met_by_the_next_pass(yard, broken):
    object.__setattr__(broken.workspace.services.pulls, "pulse", lambda: "#3 approved")

    broken.run_passes_and_wait()

    assert broken.due is None


def test_a_model_that_never_rests_does_not_keep_the_others_waiting(yard):
    running = watcher(yard, interval=1.0, cluster=moving({"restless"}))
    running.due = frozenset({"restless"})
    running.run_passes_and_wait()

    for _ in range(100):
        if running.due is None:
            break
        running.run_passes_and_wait()

    assert running.due is None


@pytest.mark.long
def test_a_push_that_comes_together_with_a_move_is_not_missed(yard):
    running = watcher(yard, interval=30.0, cluster=moving({MODEL}))
    running.run_passes_and_wait()
    assert running.due == {MODEL}
    yard.git.run("push", "--quiet", "origin", f"{yard.main()}:refs/heads/somebody")

    running.run_passes_and_wait()

    assert running.due is None


@pytest.mark.parametrize("what", ["undecided_releases", "catalog"])
def test_a_defect_between_two_passes_is_not_the_end_either(what, yard, monkeypatch):
    def defect(*_):
        raise ZeroDivisionError

    running = watcher(yard, interval=0.1)
    if what == "undecided_releases":
        monkeypatch.setattr(watch_loop, what, defect)
    else:
        monkeypatch.setattr(type(running.workspace), "catalog", defect)

    running.run_passes_and_wait()

    assert running.due is None
