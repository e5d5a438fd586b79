"""What breaks at night: afterwards Git, registry and cluster agree, and nothing happened twice."""

from __future__ import annotations

import threading
import time

import pytest

from e2e import delivery, wine
from e2e.fork import PLATFORM, Fork, until
from e2e.measured import Measured
from e2e.rollback import aborted, agrees, judged
from modelyard.adapters.cluster.kubernetes_api import PODS, WORKFLOWS

MODEL = wine.MODEL
RECOVERY_SECONDS = 60
"""Within so long after the fault is over, all agree."""

WRITER_SECONDS = 0.5
"""Between two pushes; whoever pushes without a pause is always the first."""

FIRST_ATTEMPT = 1000


@pytest.fixture
def stoppable(settled: Fork) -> Fork:
    """The fork on a cluster whose programs are ours to stop."""
    if settled.cluster["provider"] == "existing":
        pytest.skip("the programs of a cluster that exists are not ours to stop")
    return settled


@pytest.fixture
def bad(settled: Fork, request):
    """A canary that fails its requests, just pushed, under load."""
    fork = settled
    before = _rollbacks(fork)
    with wine.load(fork, rate=20, blank=wine.BLANK_SHARE):
        yield wine.push_again(fork, _next_attempt()).identity
        until("all agree again", lambda: agrees(fork, MODEL, "canary", "v1"), seconds=240)
    assert _rollbacks(fork) == before + 1, "rolled back exactly once"
    holds = [hold["version"] for hold in fork.answer("status", MODEL)["holds"]]
    assert holds == ["v2"]


@pytest.mark.parametrize(
    ("program", "seconds"),
    [
        ("gitea", 60),
        ("kube-apiserver", 10),
        ("argocd-application-controller", 30),
        ("versitygw", 30),
        ("rollouts-controller", 20),
    ],
)
def test_what_was_away_during_a_rollback_agrees_soon_after_it_is_back(
    stoppable: Fork, bad: str, program: str, seconds: int
):
    fork = stoppable
    until("the canary is judged", lambda: judged(fork, MODEL, bad), seconds=240, every=0.3)
    fork.program("stop", program)
    time.sleep(seconds)
    if program == "gitea":
        assert aborted(fork, MODEL), "traffic went back to stable without the forge"
    fork.program("start", program)

    until(f"all agree after {program} is back", lambda: agrees(fork, MODEL, "canary", "v1"),
          seconds=RECOVERY_SECONDS)  # fmt: skip


@pytest.mark.parametrize(
    "pins",
    [
        {"artifact": f"sha256:{'0' * 64}"},  # its pod starts, fails, and starts again
        {"server_image": "localhost/absent:1"},  # its pod never gets as far
    ],
    ids=["crashes at start", "never gets ready"],
)
def test_a_release_that_never_answers_is_taken_back_within_two_minutes(
    settled: Fork, measured: Measured, request: pytest.FixtureRequest, pins: dict[str, str]
):
    fork = settled
    with wine.load(fork, rate=20) as load:
        wine.push_again(fork, _next_attempt(), **pins)
        pushed = time.time()
        time.sleep(10)
        until("all agree", lambda: agrees(fork, MODEL, "canary", "v1"), seconds=180)
        name = request.node.callspec.id
        measured.add(f"a canary that {name}: from its push until all agree", time.time() - pushed)

    assert time.time() - pushed <= 120
    assert {answer.code for answer in load.answers} == {"200"}


def test_without_prometheus_nothing_is_promoted_and_nothing_rolled_back(stoppable: Fork, bad: str):
    fork = stoppable
    fork.program("stop", "prometheus")
    until("the canary runs", lambda: fork.answers("models-production", release=bad), seconds=180)
    time.sleep(45)
    assert not aborted(fork, MODEL)
    assert judged(fork, MODEL, bad) is None
    status = (fork.rollout(MODEL, "canary") or {})["status"]
    assert status["stableRS"] != status["currentPodHash"], "it was not promoted either"
    fork.program("start", "prometheus")

    until("it is judged and taken back", lambda: agrees(fork, MODEL, "canary", "v1"), seconds=180)


@pytest.mark.parametrize("after", [0.0, 1.5, 3.0, 6.0])
def test_a_watcher_killed_during_a_rollback_loses_nothing(settled: Fork, bad: str, after: float):
    fork = settled
    until("the canary is judged", lambda: judged(fork, MODEL, bad), seconds=240, every=0.3)
    time.sleep(after)
    fork.kubectl("-n", PLATFORM, "delete", "pods", "-l", "app.kubernetes.io/name=modelyard-watch",
                 "--grace-period=0", "--force")  # fmt: skip
    until("a watcher is ready", lambda: _is_watched(fork), seconds=120)

    until("all agree", lambda: agrees(fork, MODEL, "canary", "v1"), seconds=RECOVERY_SECONDS)


def test_two_writers_pushing_to_main_lose_nothing(settled: Fork, bad: str):
    fork = settled
    over, pushed = threading.Event(), []

    def write() -> None:
        writer = fork.colleague("writer")
        while not over.is_set():
            name = f"note-{len(pushed)}.txt"
            (writer.folder / name).write_text("somebody else writes too\n")
            writer.git("add", name)
            writer.git("commit", "--quiet", "-m", f"Add {name}")
            for _ in range(20):
                try:
                    writer.git("push", "--quiet", "origin", "HEAD:main")
                except AssertionError:
                    writer.git("pull", "--quiet", "--rebase", "origin", "main")
                else:
                    pushed.append(name)
                    break
            over.wait(WRITER_SECONDS)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        until("all agree", lambda: agrees(fork, MODEL, "canary", "v1"), seconds=300)
    finally:
        over.set()
        thread.join()

    fork.git("fetch", "--quiet", "origin")
    there = fork.git("ls-tree", "--name-only", "origin/main").split()
    assert pushed
    assert set(pushed) <= set(there)


def test_a_training_whose_pod_is_evicted_is_trained_all_the_same(settled: Fork):
    fork = settled
    version = f"e{int(time.time()) % 100_000}"
    wine.propose(fork, version, "v1", "A weaker penalty", wine.FEATURES)

    def training() -> str | None:
        for pod in fork.kube.list_objects(PODS, PLATFORM, labels={}):
            pod_name: str = pod["metadata"]["name"]
            if f"-{version}-" in pod_name and pod["status"]["phase"] == "Running":
                return pod_name
        return None

    name = until("a step of it runs", training, seconds=180, every=0.3)
    fork.kubectl("-n", PLATFORM, "delete", "pod", name, "--grace-period=0", "--force")

    delivery.trained(fork, MODEL, version, seconds=600)
    workflows = fork.kube.list_objects(
        WORKFLOWS, PLATFORM, labels={"modelyard.dev/version": version}
    )
    assert workflows


def _next_attempt() -> int:
    """Another one at every call, also in a fork that an earlier run left."""
    return FIRST_ATTEMPT + int(time.time()) % 1_000_000


def _is_watched(fork: Fork) -> bool:
    told = fork.kubectl("-n", PLATFORM, "get", "deployment", "modelyard-watch", "-o",
                        "jsonpath={.status.readyReplicas}")  # fmt: skip
    return bool(told) and int(told) >= 1


def _rollbacks(fork: Fork) -> int:
    pulls = fork.answer("pr", "list", "--all")["pulls"]
    branch = f"modelyard/rollback/canary/{MODEL}"
    return sum(pull["branch"] == branch and pull["state"] == "merged" for pull in pulls)
