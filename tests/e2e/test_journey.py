"""A version's path in a cluster: trained, promoted, judged; a bad one aborted and reverted."""

from __future__ import annotations

import json
import time
from urllib.request import urlopen

from e2e import delivery, wine
from e2e.fork import Fork, until
from e2e.measured import Measured
from e2e.rollback import agrees, bad_release, followed

MODEL = wine.MODEL


def test_a_version_is_trained_by_workflows_and_recorded(fork: Fork, measured: Measured):
    with measured.time("train-and-evaluate of wine v1, until its record is merged"):
        (pod, *_) = until(
            "a pod trains", lambda: fork.pods("modelyard", step="train"), seconds=600, every=0.5
        )
        delivery.trained(fork, MODEL, "v1")

    record = fork.answer("record", MODEL, "v1")
    assert record["verdict"]["outcome"] == "pass"
    # As the cluster admitted it: other containers of the pod have the token of its account.
    mounts = {
        each["name"]: {mount["name"] for mount in each["volumeMounts"]}
        for each in (*pod["spec"]["initContainers"], *pod["spec"]["containers"])
    }
    assert any(name.startswith("kube-api-access") for name in mounts["main"])
    # The folder of Argo's own program is everywhere; Landlock keeps the trainer out of it.
    assert mounts["trainer"] == {"inputs", "trained", "no-token", "var-run-argo"}
    assert record["isolation"] in {"landlock", "namespaces"}


def test_it_moves_through_all_environments_to_production(fork: Fork, measured: Measured):
    delivery.verified(fork, MODEL, "dev", "v1")
    delivery.verified(fork, MODEL, "staging", "v1")
    delivery.approved(fork, MODEL, "canary")
    until("canary runs v1", lambda: fork.runs(MODEL, "canary") == "v1", seconds=180)
    # Until production has a release, the canary is reached by its own Service alone.
    with wine.load(fork, rate=20, service=f"{MODEL}-canary"):
        delivery.verified(fork, MODEL, "canary", "v1")
    at = delivery.approved(fork, MODEL, "production")
    until("production runs v1", lambda: fork.runs(MODEL, "production") == "v1", seconds=180)
    measured.add("approval of a promotion to production, until it answers", time.time() - at)
    with wine.load(fork, rate=20):
        delivery.verified(fork, MODEL, "production", "v1")
    for environment in ("dev", "staging", "canary", "production"):
        until(
            f"the alias {environment} points at v1",
            lambda where=environment: fork.alias(MODEL, where) == "v1",
            seconds=60,
        )


def test_kubectl_shows_which_pull_request_brought_what(fork: Fork):
    def annotations() -> dict[str, str]:
        rollout = fork.rollout(MODEL, "production")
        assert rollout is not None
        found: dict[str, str] = rollout["metadata"]["annotations"]
        return found

    until("the Rollout names its pull request",
          lambda: "modelyard.dev/pull-request" in annotations(), seconds=60)  # fmt: skip
    assert annotations()["modelyard.dev/commit"]
    labels = fork.pods("models-production", model=MODEL, environment="production")[0]["metadata"][
        "labels"
    ]
    assert labels["modelyard.dev/version"] == "v1"
    told = fork.kubectl("-n", "models-production", "get", "events", "-o", "name")
    events = fork.kubectl("-n", "models-production", "get", "events", "--field-selector",
                          "involvedObject.kind=Rollout,source=modelyard")  # fmt: skip
    assert "is verified" in events, told


def firing(fork: Fork) -> set[str]:
    """Names of the alerts that fire."""
    address = f"{fork.cluster['prometheus_url']}/api/v1/alerts"
    with urlopen(address, timeout=10) as answer:  # noqa: S310 - our own http address
        alerts = json.load(answer)["data"]["alerts"]
    return {each["labels"]["alertname"] for each in alerts if each["state"] == "firing"}


def test_a_version_that_fails_its_requests_is_taken_back_with_nobody_awake(
    fork: Fork, measured: Measured
):
    wine.propose(fork, "v2", "v1", "Malic acid tells barbera", wine.FEATURES_AND_BLANK)
    with wine.load(fork, rate=20, blank=wine.BLANK_SHARE) as load:
        delivery.trained(fork, MODEL, "v2")
        delivery.verified(fork, MODEL, "staging", "v2")
        at = delivery.approved(fork, MODEL, "canary")
        release = until(
            "main names v2 in canary", lambda: bad_release(fork, MODEL, "v2"), seconds=60
        )
        told = followed(fork, MODEL, load, release, pushed_at=at, version="v1")
    told.into(measured, "journey: ")

    status = fork.answer("status", MODEL)
    assert [hold["version"] for hold in status["holds"]] == ["v2"]
    assert agrees(fork, MODEL, "canary", "v1")
    until("the alert about it fires", lambda: "ModelyardRollback" in firing(fork), seconds=60)
    assert firing(fork) == {"ModelyardRollback"}
    time.sleep(35)  # longer than a look of the watcher, which must leave it so
    assert agrees(fork, MODEL, "canary", "v1")
    failed = [a for a in load.answers if a.code != "200" and a.release != release]
    assert not failed, failed[:5]
