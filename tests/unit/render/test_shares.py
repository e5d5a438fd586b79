from __future__ import annotations

from dataclasses import replace

import pytest

from modelyard.domain.specs.environment import Environment, Rollout, Router, RouterKind, Step
from modelyard.render.shares import most_judged, one_pod_weight, pods_at, share_of
from unit.render.pairs import CANARY, PRODUCTION, real_share


def stepping(replicas: int, *shares: float, router: Router | None = None) -> Environment:
    steps = tuple(Step(share=share) for share in shares)
    rollout = Rollout(replicas=replicas, judged=True, steps=steps, router=router)
    return replace(PRODUCTION, rollout=rollout)


@pytest.mark.parametrize(
    ("replicas", "weight", "expected"),
    [  # what Argo Rollouts 1.9.2's own CalculateReplicaCountsForBasicCanary settles at
        (1, 1, (1, 1)),
        (1, 50, (1, 1)),
        (1, 99, (1, 1)),
        (1, 100, (1, 0)),
        (2, 33, (1, 2)),
        (2, 50, (1, 1)),
        (3, 25, (1, 3)),
        (3, 50, (2, 2)),
        (4, 5, (1, 4)),
        (4, 20, (1, 4)),
        (4, 25, (1, 3)),
        (4, 50, (2, 2)),
        (4, 75, (3, 1)),
        (4, 100, (4, 0)),
        (10, 30, (3, 7)),
    ],
)
def test_pods_are_those_argo_rollouts_chooses(replicas, weight, expected):
    assert pods_at(weight, replicas) == expected


@pytest.mark.parametrize("replicas", range(1, 51))
def test_one_pod_is_judged_beside_all_that_answered_before(replicas):
    assert pods_at(one_pod_weight(replicas), replicas) == (1, replicas)
    assert pods_at(1, replicas) == (1, replicas)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        (CANARY, 1),
        (stepping(4), 1),
        (stepping(4, 0.2), 1),
        (stepping(4, 0.2, 0.5), 2),
        (stepping(4, 0.5, 1.0), 4),
    ],
)
def test_an_abort_may_start_all_that_is_missing_at_once(environment, expected):
    assert most_judged(environment) == expected
    # Pods that are there, and the old ones that are not, fit beside each other.
    replicas = environment.rollout.replicas
    for step in environment.rollout.steps if environment.joins is None else ():
        new, _ = pods_at(round(step.share * 100), replicas)
        assert new + replicas <= replicas + most_judged(environment)


def test_the_share_of_a_canary_is_its_pod_of_all_pods():
    joined = replace(PRODUCTION, rollout=replace(PRODUCTION.rollout, replicas=3))
    assert real_share(CANARY, joined) == 0.2
    assert share_of(CANARY) == (
        "1 / (1 + 1 + pods of production) while judged beside the release before, "
        "then 1 / (1 + pods of production)"
    )


def test_the_share_of_a_step_is_what_its_pods_make_it():
    guests = "all, but for the pods of environments that join production"
    assert (
        share_of(stepping(3, 0.25, 0.5)) == f"1 / 4, 2 / 4 beside the release before, then {guests}"
    )
    assert share_of(stepping(2)) == f"1 / 3 beside the release before, then {guests}"
    assert share_of(replace(PRODUCTION, rollout=Rollout())) == guests


def test_with_a_router_the_share_is_its_weight():
    router = Router(kind=RouterKind.GATEWAY_API, gateway="public")
    assert share_of(stepping(2, 0.05, router=router)) == "5 % beside the release before, then all"
