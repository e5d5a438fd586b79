from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.checks import find_problems
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.environment import (
    Approvals,
    Environment,
    FreezeWindow,
    Rollout,
    Router,
    RouterKind,
    Step,
)
from unit.domain.checks.small_catalog import said, with_environment


def test_refuses_two_first_environments():
    catalog = with_environment("canary", promotes_from=None)
    assert said(catalog) == [
        (
            "environments-form-one-path",
            "environments/dev/environment.yaml",
            "canary and dev both come first (no promotes_from); environments must form one path",
        )
    ]


def test_refuses_a_fork_in_the_path():
    assert said(with_environment("production", promotes_from="dev")) == [
        (
            "environments-form-one-path",
            "environments/production/environment.yaml",
            "canary and production both promote from dev; environments must form one path",
        )
    ]


def test_refuses_an_environment_that_promotes_from_nowhere():
    assert said(with_environment("canary", promotes_from="staging")) == [
        (
            "environments-form-one-path",
            "environments/canary/environment.yaml",
            "there is no environment staging: environments/staging/environment.yaml is missing",
        )
    ]


def test_refuses_a_circle_of_environments_once():
    assert said(with_environment("dev", promotes_from="production")) == [
        (
            "environments-form-one-path",
            "environments/canary/environment.yaml",
            "canary promotes from itself: canary -> dev -> production -> canary; one environment "
            "must come first",
        )
    ]


@pytest.mark.parametrize(
    ("name", "joins", "message"),
    [
        ("canary", "live", "there is no environment live: environments/live/environment.yaml is"),
        ("production", "production", "production cannot join itself"),
        ("dev", "canary", "canary itself joins production: join that one"),
    ],
)
def test_refuses_to_join_what_cannot_be_joined(name: str, joins: str, message: str):
    found = [(c, m) for c, _, m in said(with_environment(name, joins=joins))]
    assert ("joined-environments-exist", message) in [(c, m[: len(message)]) for c, m in found]


def test_refuses_to_join_from_another_place():
    assert said(with_environment("canary", namespace="canary", cluster="east")) == [
        (
            "joining-environments-share-the-place",
            "environments/canary/environment.yaml",
            "cluster is east, but production, which it joins, is in in-cluster",
        ),
        (
            "joining-environments-share-the-place",
            "environments/canary/environment.yaml",
            "namespace is canary, but production, which it joins, is in live",
        ),
    ]


def test_refuses_to_share_a_namespace_without_joining():
    assert said(with_environment("dev", namespace="live")) == [
        (
            "namespaces-are-not-shared",
            "environments/production/environment.yaml",
            "namespace live is dev's: choose another, or join it",
        )
    ]


def test_a_namespace_of_the_same_name_in_another_cluster_is_another():
    assert said(with_environment("dev", namespace="live", cluster="east")) == []


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ((), "joins production, so rollout.steps must give its share"),
        ((Step(share=1.0),), "share 1 leaves nothing for production; stay below 1"),
    ],
)
def test_a_canary_gets_some_of_the_traffic_and_not_all(steps: tuple[Step, ...], message: str):
    assert said(with_environment("canary", rollout=Rollout(steps=steps))) == [
        (
            "joining-rollouts-leave-traffic-to-stable",
            "environments/canary/environment.yaml",
            message,
        )
    ]


def test_refuses_steps_that_do_not_grow():
    steps = (Step(share=0.5), Step(share=0.5), Step(share=0.4))
    assert said(with_environment("production", rollout=Rollout(steps=steps))) == [
        (
            "rollout-shares-grow",
            "environments/production/environment.yaml",
            "share 0.5 does not grow from 0.5, the step before",
        ),
        (
            "rollout-shares-grow",
            "environments/production/environment.yaml",
            "share 0.4 does not grow from 0.5, the step before",
        ),
    ]


def test_refuses_a_router_where_environments_join():
    router = Router(kind=RouterKind.GATEWAY_API, gateway="public")
    joined = Rollout(router=router, steps=(Step(share=0.2),))
    assert said(with_environment("canary", rollout=joined)) == [
        (
            "routers-lead-to-one-environment",
            "environments/canary/environment.yaml",
            "joins production and gets its requests: leave the router out",
        )
    ]
    assert said(with_environment("production", rollout=Rollout(router=router))) == [
        (
            "routers-lead-to-one-environment",
            "environments/canary/environment.yaml",
            "production has a router, which sends no requests to a joined environment: judge the "
            "steps of production itself, and leave joins out",
        )
    ]
    assert said(with_environment("dev", rollout=Rollout(router=router))) == []


def test_refuses_a_freeze_that_ends_before_it_starts():
    window = FreezeWindow(
        since=datetime(2026, 1, 2, tzinfo=UTC), until=datetime(2026, 1, 1, tzinfo=UTC), reason="r"
    )
    assert said(with_environment("dev", freeze_windows=(window,))) == [
        (
            "freeze-windows-are-in-order",
            "environments/dev/environment.yaml",
            "ends at 2026-01-01T00:00:00+00:00, not after its start",
        )
    ]


def test_refuses_to_need_more_approvals_than_there_are_approvers():
    assert said(with_environment("dev", approvals=Approvals(needed=3))) == []
    catalog = with_environment("dev", approvals=Approvals(needed=2, approvers=("ada",)))
    assert said(catalog) == [
        (
            "approvals-can-be-given",
            "environments/dev/environment.yaml",
            "2 approvals are needed, but only 1 may give one",
        )
    ]


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from([None, *"abcdef"])), max_size=6)
)
def test_environments_without_a_problem_are_one_path(pairs: list[tuple[str, str | None]]):
    environments = {
        name: Environment(name=name, description="d", namespace=name, promotes_from=before)
        for name, before in pairs
    }
    catalog = Catalog(environments=environments)
    on_path = (
        {environment.name for environment in catalog.path_to_production()}
        if not any(p.check == "environments-form-one-path" for p in find_problems(catalog))
        else set(environments)
    )
    assert on_path == set(environments)
