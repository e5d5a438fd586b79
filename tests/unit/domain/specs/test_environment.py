from __future__ import annotations

from dataclasses import replace

from modelyard.domain.specs.environment import Environment, Rollout, Router, RouterKind, Step

STEPS = (Step(share=0.2), Step(share=0.5))
ROUTED = Environment(
    name="production",
    description="",
    namespace="production",
    rollout=Rollout(
        steps=STEPS, router=Router(kind=RouterKind.GATEWAY_API, gateway="public"), judged=True
    ),
)


def test_a_router_gives_a_new_release_at_least_its_first_share():
    assert ROUTED.exact_share == 0.2


def test_no_share_is_exact_without_a_router_without_steps_or_for_pods_that_join():
    assert replace(ROUTED, rollout=Rollout(steps=STEPS)).exact_share is None
    assert replace(ROUTED, rollout=replace(ROUTED.rollout, steps=())).exact_share is None
    assert replace(ROUTED, joins="production").exact_share is None
