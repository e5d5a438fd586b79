from __future__ import annotations

from typing import Any

import pytest

from modelyard.adapters.cluster.rollout_state import MANUAL, rollout_state_of
from modelyard.domain.canary.traffic import JUDGED_BAD, RolloutState
from modelyard.domain.specs.environment import Environment, Rollout, Step

PRODUCTION = Environment(
    name="production", description="", namespace="models", rollout=Rollout(replicas=2, judged=True)
)
CANARY = Environment(
    name="canary",
    description="",
    namespace="models",
    joins="production",
    rollout=Rollout(judged=True, steps=(Step(share=0.2),)),
)
NEW, OLD = "1" * 16, "2" * 16


def rollout(
    *, stable: str = "old", current: str = "new", seen: int = 3,
    notes: dict[str, str] | None = None, replicas: int = 2, **status: Any,
) -> dict[str, Any]:  # fmt: skip
    """A Rollout as Argo Rollouts writes it; its observed generation is text."""
    return {
        "metadata": {"name": "m", "generation": 3, "annotations": notes or {}},
        "spec": {
            "replicas": replicas,
            "progressDeadlineSeconds": 75,
            "template": {"metadata": {"labels": {"modelyard.dev/release": NEW}}},
        },
        "status": {
            "observedGeneration": str(seen),
            "stableRS": stable,
            "currentPodHash": current,
            **status,
        },
    }


def pod(release: str, environment: str = "production", *, ready: bool = True, going: bool = False):
    metadata: dict[str, Any] = {
        "labels": {"modelyard.dev/release": release, "modelyard.dev/environment": environment}
    }
    if going:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    status = "True" if ready else "False"
    return {"metadata": metadata, "status": {"conditions": [{"type": "Ready", "status": status}]}}


def test_a_release_beside_the_one_before_it_has_its_pods_share():
    pods = [pod(NEW), pod(OLD), pod(OLD)]

    assert rollout_state_of(rollout(), pods, PRODUCTION) == RolloutState(
        release=NEW, ready=True, share=1 / 3
    )


def test_a_canary_shares_the_requests_of_all_pods_of_its_model():
    pods = [pod(NEW, "canary"), pod(OLD, "canary"), *(pod(OLD) for _ in range(2))]

    assert rollout_state_of(rollout(), pods, CANARY) == RolloutState(
        release=NEW, ready=True, share=1 / 4
    )


def test_productions_share_leaves_its_canary_out():
    pods = [pod(NEW), pod(OLD), pod(OLD, "canary")]

    assert rollout_state_of(rollout(), pods, PRODUCTION).share == 1 / 2


def test_a_fully_promoted_release_has_all_requests_once_all_of_its_pods_answer():
    whole = rollout(stable="new")

    assert rollout_state_of(whole, [pod(NEW), pod(NEW)], PRODUCTION) == RolloutState(
        release=NEW, ready=True, share=1.0
    )
    assert not rollout_state_of(whole, [pod(NEW)], PRODUCTION).ready
    assert not rollout_state_of(whole, [pod(NEW), pod(NEW, ready=False)], PRODUCTION).ready


def test_a_release_that_is_not_fully_promoted_never_has_all_requests():
    assert rollout_state_of(rollout(), [pod(NEW), pod(NEW)], PRODUCTION).share == 0.99


def test_a_first_release_has_no_stable_to_leave_requests_to():
    first = rollout(stable="")

    assert rollout_state_of(first, [pod(NEW), pod(NEW)], PRODUCTION).share == 1.0


def test_terminating_pods_do_not_count():
    pods = [pod(NEW), pod(OLD), pod(OLD, going=True)]

    assert rollout_state_of(rollout(), pods, PRODUCTION).share == 1 / 2


@pytest.mark.parametrize("status", [{}, {"abort": True}])
def test_nothing_is_known_until_the_controller_has_seen_the_newest_template(status):
    behind = rollout(seen=2, **status)

    assert rollout_state_of(behind, [pod(NEW)], PRODUCTION) == RolloutState(
        release=NEW, ready=False, share=0.0
    )


def test_a_new_rollout_without_a_status_is_not_ready():
    new = rollout()
    del new["status"]

    assert rollout_state_of(new, [], PRODUCTION) == RolloutState(
        release=NEW, ready=False, share=0.0
    )


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("RolloutAborted: Rollout aborted update to revision 4", MANUAL),
        ("", MANUAL),
        (
            "RolloutAborted: Rollout aborted update to revision 2: Step-based analysis phase "
            'error/failed: Metric "judge" assessed Failed due to failed (1) > failureLimit (0)',
            JUDGED_BAD,
        ),
        (
            "RolloutAborted: Rollout aborted update to revision 4: something else",
            "Rollout aborted update to revision 4: something else",
        ),
    ],
)
def test_an_abort_without_a_reason_is_a_persons_and_not_the_judges(message, reason):
    aborted = rollout(abort=True, message=message)

    assert rollout_state_of(aborted, [pod(OLD)], PRODUCTION) == RolloutState(
        release=NEW, ready=False, share=0.0, aborted=reason
    )


def test_the_judges_reason_counts_for_its_own_release_alone():
    notes = {"modelyard.dev/aborted": NEW, "modelyard.dev/abort-reason": "error rate 20 %"}
    mine = rollout(abort=True, notes=notes)
    other = rollout(abort=True, notes={**notes, "modelyard.dev/aborted": OLD})

    assert rollout_state_of(mine, [], PRODUCTION).aborted == "error rate 20 %"
    assert rollout_state_of(other, [], PRODUCTION).aborted == MANUAL


def test_a_release_that_never_got_ready_is_out_of_traffic_with_or_without_an_abort():
    late = [{"type": "Progressing", "reason": "ProgressDeadlineExceeded", "message": "timed out"}]

    for status in ({"conditions": late}, {"conditions": late, "abort": True}):
        assert (
            rollout_state_of(rollout(**status), [], PRODUCTION).aborted == "not ready within 75 s"
        )


@pytest.mark.parametrize("phase", ["Failed", "Succeeded"])
def test_an_evicted_and_replaced_pod_keeps_no_release_from_being_ready(phase):
    evicted = pod(NEW, ready=False)
    evicted["status"]["phase"] = phase

    state = rollout_state_of(rollout(stable="new"), [evicted, pod(NEW), pod(NEW)], PRODUCTION)

    assert state == RolloutState(release=NEW, ready=True, share=1.0)


def test_a_stable_release_whose_pods_are_lost_for_long_is_not_ready_and_not_taken_back():
    """Argo Rollouts 1.9 aborts then, though there is nothing that it could go back to."""
    said = 'ReplicaSet "m-new" has timed out progressing.'
    late = [{"type": "Progressing", "reason": "ProgressDeadlineExceeded", "message": said}]
    aborted = {"abort": True, "message": f"RolloutAborted: Rollout aborted update to 2: {said}"}

    for status in ({"conditions": late}, {"conditions": late, "abort": True}, aborted):
        state = rollout_state_of(rollout(stable="new", **status), [pod(NEW)], PRODUCTION)
        assert state == RolloutState(release=NEW, ready=False, share=1.0)
