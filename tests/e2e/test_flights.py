"""A silent regression in a cluster: 200 OK, bad predictions, found by the judge on real flights."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import Future
from contextlib import AbstractContextManager
from threading import Thread
from typing import Any

import pytest

from demo.scenes import APRIL, DATA, MAY, MONOTONE, Q1, V2
from e2e.delivery import add, approved, trained, verified
from e2e.fork import PLATFORM, REPOSITORY, Fork, until
from e2e.measured import Measured
from e2e.replayed import replayed
from e2e.rollback import agrees
from modelyard.adapters.cluster.kubernetes_api import WORKFLOWS, Resource

CRON_WORKFLOWS = Resource(version="argoproj.io/v1alpha1", plural="cronworkflows")
MODEL = "flight-delay"
SPANS = ("--since", "2013-01-01", "--until", "2013-04-01")


@pytest.fixture(scope="session")
def colleague(fork: Fork) -> Fork:
    """The same repository, in a checkout of its own: other tests work in the first."""
    return fork.colleague("flights-checkout")


@pytest.fixture(scope="session")
def on_its_way(colleague: Fork, measured: Measured) -> Future[None]:
    """The first version on its way to production, while other tests run."""
    way: Future[None] = Future()

    def go() -> None:
        try:
            way.set_result(released(colleague, measured))
        except BaseException as error:  # noqa: BLE001 - raised in whoever asks for the result
            way.set_exception(error)

    Thread(target=go, daemon=True).start()
    return way


def test_a_model_of_flights_sets_out(on_its_way: Future[None]):
    """`make e2e` begins with it, and then goes on with the model of wines."""
    assert not (on_its_way.done() and on_its_way.exception())


def test_it_reaches_production(on_its_way: Future[None]):
    assert on_its_way.result() is None


def test_a_version_that_reads_what_requests_do_not_carry_is_found_out(
    colleague: Fork, measured: Measured
):
    fork = colleague
    second = (
        *("version", "new", MODEL, "v2", "--parent", "v1", "--reason", "Add dep_delay"),
        *parameters([*V2, "dep_delay"]),
    )
    add(fork, MODEL, "v2", second)
    trained(fork, MODEL, "v2", seconds=900)
    assert fork.answer("record", MODEL, "v2")["verdict"]["outcome"] == "pass", "offline it is good"
    at = approved(fork, MODEL, "canary")
    with replayed_flights(fork, "production"):
        until("v2 is on hold", lambda: held(fork), seconds=300, every=1)
        until("all agree on v1", lambda: agrees(fork, MODEL, "canary", "v1"), seconds=60)
    measured.add("silent regression: from its approval until all agree again", time.time() - at)

    reason = next(hold["reason"] for hold in held(fork))
    assert "dep_delay" in reason
    assert "null" in reason


def test_the_look_of_the_night_proposes_to_retrain_once_summer_has_come(
    colleague: Fork, measured: Measured
):
    fork = colleague
    with measured.time("detect-drift of flight-delay, until its pull request is open"):
        nightly = started_now(fork, f"detect-drift-{MODEL}")
        until("the workflow is over", lambda: ended(fork, nightly), seconds=600, every=1)
        pull = until("a retraining is proposed", lambda: retraining(fork), seconds=60)
    assert fork.answer("drift", MODEL)["outcome"] == "confirmed"
    added = fork.git("diff", "--name-only", f"origin/main...{pull['head']}").split()
    assert f"models/{MODEL}/versions/v3.yaml" in added
    until("its checks pass", lambda: is_green(fork), seconds=120)

    again = started_now(fork, f"detect-drift-{MODEL}")
    until("the workflow is over", lambda: ended(fork, again), seconds=600, every=1)
    same = retraining(fork)
    assert same is not None
    assert (same["number"], same["head"]) == (pull["number"], pull["head"])


def started_now(fork: Fork, name: str) -> str:
    """Start what a CronWorkflow would start at its time; returns the workflow's name."""
    cron = fork.kube.get_object(CRON_WORKFLOWS, PLATFORM, name)
    assert cron is not None, f"no CronWorkflow {name}"
    started = f"{name}-{int(time.time())}"
    fork.apply(
        {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Workflow",
            "metadata": {"name": started, "namespace": PLATFORM},
            "spec": cron["spec"]["workflowSpec"],
        }
    )
    return started


def ended(fork: Fork, name: str) -> bool:
    """Whether the workflow is over, and well."""
    workflow = fork.kube.get_object(WORKFLOWS, PLATFORM, name) or {}
    phase = workflow.get("status", {}).get("phase")
    assert phase not in ("Failed", "Error"), workflow["status"].get("message")
    return bool(phase == "Succeeded")


def retraining(fork: Fork) -> dict[str, Any] | None:
    """The open pull request that would retrain, of which there is one at most."""
    found = [pull for pull in fork.pulls() if pull["branch"].startswith("modelyard/retrain/")]
    assert len(found) <= 1, found
    fork.git("fetch", "--quiet", "origin")
    return found[0] if found else None


def is_green(fork: Fork) -> bool:
    """Whether the retraining lacks nothing but somebody who merges it."""
    pull = retraining(fork)
    states = [status["state"] for status in pull["statuses"]] if pull else []
    return len(states) == 2 and set(states) == {"success"}


def released(fork: Fork, measured: Measured) -> None:
    """Propose the first version, train it, and take it to production."""
    flights(fork)
    held_out = (
        *("version", "held-out", MODEL, "april", "--data", APRIL, "--cluster", "date"),
        *("--since", "2013-04-01", "--until", "2013-05-01", "--role", "old"),
    )
    first = (
        *("version", "new", MODEL, "v1", "--reason", "Schedule and weather", *SPANS),
        *(word for name in Q1 for word in ("--data", name)),
        *("--held-out", "april", *parameters(list(V2))),
    )
    with measured.time("train-and-evaluate of flight-delay v1, until its record is merged"):
        add(fork, MODEL, "v1", held_out, first)
        trained(fork, MODEL, "v1", seconds=900)
    approved(fork, MODEL, "canary")
    with replayed_flights(fork, "canary"):
        verified(fork, MODEL, "canary", "v1")
    approved(fork, MODEL, "production")
    with replayed_flights(fork, "production"):
        verified(fork, MODEL, "production", "v1")


def flights(fork: Fork) -> None:
    """Put the months of 2013 where the feed would leave them."""
    folder = fork.folder.with_name("flights")
    script = REPOSITORY / "models" / MODEL / "data" / "prepare.py"
    subprocess.run([sys.executable, str(script), str(folder)], check=True, capture_output=True)
    for path in sorted(folder.glob("*-0[1-6].parquet")):  # until the summer, as in the demo
        fork.feed(f"{DATA}/{path.name}", path)


def parameters(features: list[str]) -> list[str]:
    """The trainer's parameters as options."""
    values = {"features": features, "max_iter": 100, "monotone": MONOTONE}
    return [
        word
        for name, value in values.items()
        for word in ("--param", f"{name}={json.dumps(value)}")
    ]


def held(fork: Fork) -> list[dict[str, str]]:
    """The holds of the model."""
    holds: list[dict[str, str]] = fork.answer("status", MODEL)["holds"]
    return holds


def replayed_flights(fork: Fork, environment: str) -> AbstractContextManager[None]:
    """Flights of May as requests, without what is not known when they are made."""
    data = fork.folder.with_name("flights") / MAY.rpartition("/")[2]
    return replayed(fork, MODEL, data, environment, "--blank", "dep_delay")
