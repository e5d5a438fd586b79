"""The promise: of what Kubernetes says, only a fault of its own blames a version."""

from __future__ import annotations

import pytest

from adapters.cluster.test_local import PRODUCTION
from modelyard.adapters.cluster.pod_faults import release_fault
from modelyard.adapters.cluster.rollout_state import rollout_state_of
from modelyard.domain.canary.traffic import RolloutState
from modelyard.domain.server_fault import Blame, ServerFault

OURS, ITS_OWN = Blame.INFRASTRUCTURE, Blame.VERSION


def container(name: str, *, init: bool = False, last: bool = False, **state: object):
    kind = "initContainerStatuses" if init else "containerStatuses"
    return {kind: [{"name": name, "ready": False, "lastState" if last else "state": state}]}


POD_FAULTS = [
    *(
        (container("server", waiting={"reason": reason, "message": "why"}), OURS)
        for reason in (
            *("ImagePullBackOff", "ErrImagePull", "InvalidImageName", "CreateContainerError"),
            *("CreateContainerConfigError", "RunContainerError", "ErrImageNeverPull"),
        )
    ),
    ({"reason": "Evicted", "message": "low on resource: ephemeral-storage"}, OURS),
    ({"reason": "NodeLost"}, OURS),
    (
        {
            "conditions": [
                {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"},
            ]
        },
        OURS,
    ),
    (container("fetch", init=True, terminated={"exitCode": 1, "reason": "Error"}), OURS),
    (container("fetch", init=True, terminated={"exitCode": 4, "reason": "Error"}), OURS),
    (container("istio-proxy", terminated={"exitCode": 4, "reason": "Error"}), OURS),
    (container("server", terminated={"exitCode": 137, "reason": "OOMKilled"}), OURS),
    (container("server", terminated={"exitCode": 4, "reason": "OOMKilled"}), OURS),
    *(
        (container("server", last=True, terminated={"exitCode": code, "reason": "Error"}), OURS)
        for code in (1, 2, 3, 128, 139)
    ),
    (container("server", terminated={"exitCode": 4, "reason": "Error"}), ITS_OWN),
    (container("server", last=True, terminated={"exitCode": 4, "reason": "Error"}), ITS_OWN),
    (container("server", waiting={"reason": "ContainerCreating"}), None),
    (container("server", running={}), None),
    ({}, None),
]


@pytest.mark.parametrize(("status", "blame"), POD_FAULTS)
def test_a_pods_state_says_whose_fault_it_is(status: dict[str, object], blame: Blame | None):
    fault = release_fault([{"metadata": {}, "status": status}])

    assert (fault and fault.blame) is blame


def test_a_server_without_memory_is_told_its_limit_and_what_raises_it():
    status = container("server", last=True, terminated={"exitCode": 137, "reason": "OOMKilled"})
    resources = {"limits": {"memory": "1536Mi"}}
    spec = {"containers": [{"name": "proxy"}, {"name": "server", "resources": resources}]}

    fault = release_fault([{"metadata": {}, "spec": spec, "status": status}])

    assert fault == ServerFault(
        blame=OURS,
        why="container server: OOMKilled (exit code 137); it may use 1536Mi: raise"
        " server.resources.memory in model.yaml",
    )


def rollout(*, stable: str = "old", **status: object):
    return {
        "metadata": {"generation": 1},
        "spec": {
            "progressDeadlineSeconds": 75,
            "template": {"metadata": {"labels": {"modelyard.dev/release": "1" * 16}}},
        },
        "status": {
            "observedGeneration": "1",
            "stableRS": stable,
            "currentPodHash": "new",
            **status,
        },
    }


def pending_pod(message: str = "0/3 nodes are available"):
    labels = {"modelyard.dev/release": "1" * 16, "modelyard.dev/environment": "production"}
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    return {
        "metadata": {"labels": labels},
        "status": {"phase": "Pending", "conditions": [{**condition, "message": message}]},
    }


LATE = [{"type": "Progressing", "reason": "ProgressDeadlineExceeded", "message": "timed out"}]


def test_a_rollout_that_was_given_up_for_lack_of_room_is_not_the_versions_fault():
    why = "pod: Unschedulable: 0/3 nodes are available"

    state = rollout_state_of(rollout(conditions=LATE, abort=True), [pending_pod()], PRODUCTION)

    assert state == RolloutState(
        release="1" * 16,
        ready=False,
        share=0.0,
        aborted=f"not ready within 75 s: {why}",
        fault=ServerFault(blame=OURS, why=why),
    )


def test_a_rollout_that_was_given_up_without_a_word_of_its_pods_blames_nobody():
    state = rollout_state_of(rollout(conditions=LATE, abort=True), [], PRODUCTION)

    assert state.fault == ServerFault(blame=OURS, why="not ready within 75 s")


def test_a_first_release_without_room_waits_for_it():
    state = rollout_state_of(rollout(stable="", conditions=LATE), [pending_pod()], PRODUCTION)

    assert (state.aborted, state.fault and state.fault.blame) == (None, OURS)


def test_a_judge_that_does_not_answer_is_not_the_versions_fault():
    message = (
        "RolloutAborted: Rollout aborted update to revision 2: Step-based analysis phase"
        ' error/failed: Metric "judge" assessed Error due to consecutiveErrors (5) >'
        " consecutiveErrorLimit (4)"
    )

    state = rollout_state_of(rollout(abort=True, message=message), [], PRODUCTION)

    assert state.fault is not None
    assert state.fault.blame is OURS
