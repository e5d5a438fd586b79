from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from modelyard.domain.machines.placement import Effect, Placement, Toleration
from modelyard.domain.machines.resources import Resources
from modelyard.domain.specs.model import Server
from modelyard.domain.specs.repository import Repository
from modelyard.errors import CannotAnswer
from modelyard.render.resources import step_pods
from modelyard.render.tree import render_manifests, rendered_tree
from unit.render.pairs import CANARY, MODEL, PRODUCTION, RELEASE

GPUS = Placement(
    name="gpu",
    node_selector={"pool": "a100"},
    tolerations=(
        Toleration(key="gpu", effect=Effect.NO_SCHEDULE),
        Toleration(key="team", value="x"),
    ),
    gpu="amd.com/gpu",
)
WHERE = {
    "nodeSelector": {"pool": "a100"},
    "tolerations": [
        {"key": "gpu", "operator": "Exists", "effect": "NoSchedule"},
        {"key": "team", "value": "x"},
    ],
}
BIG = Resources(cpu="2", memory="6Gi", gpu=1, ephemeral_storage="20Gi")


def pod(server: Server, placements: tuple[Placement, ...] = (GPUS,)) -> dict[str, Any]:
    files: Any = render_manifests(
        RELEASE,
        model=replace(MODEL, server=server),
        environment=replace(PRODUCTION, placements=placements),
    )
    return files["rollout.yaml"][0]["spec"]["template"]["spec"]


def test_a_model_that_says_nothing_renders_as_it_always_did():
    environment = replace(PRODUCTION, placements=(GPUS,))
    files = rendered_tree(RELEASE, model=MODEL, environment=environment)
    assert files == rendered_tree(RELEASE, model=MODEL, environment=PRODUCTION)
    assert pod(Server())["containers"][0]["resources"] == {
        "requests": {"cpu": "100m", "memory": "768Mi"},
        "limits": {"memory": "1536Mi"},
    }


def test_a_server_gets_what_its_model_asks_for_on_the_nodes_it_names():
    found = pod(Server(resources=BIG, placement="gpu"))
    assert found["containers"][0]["resources"] == {
        "requests": {"cpu": "2", "memory": "6Gi", "ephemeral-storage": "20Gi"},
        "limits": {"memory": "6Gi", "ephemeral-storage": "20Gi", "amd.com/gpu": "1"},
    }
    assert {key: found[key] for key in WHERE} == WHERE
    only_cpu = pod(Server(resources=Resources(cpu="2")))["containers"][0]["resources"]
    assert only_cpu == {
        "requests": {"cpu": "2", "memory": "768Mi"},
        "limits": {"memory": "1536Mi"},
    }


def test_a_class_that_the_environment_does_not_list_is_not_rendered():
    with pytest.raises(CannotAnswer, match=r"production/environment.yaml: placements lists no"):
        pod(Server(placement="gpu"), placements=())


@pytest.mark.parametrize("environment", [PRODUCTION, CANARY], ids=lambda each: each.name)
def test_replicas_of_a_model_are_the_replicas_and_the_share_of_its_release(environment):
    asked = replace(MODEL, server=Server(replicas={environment.name: 9}))
    own = replace(environment, rollout=replace(environment.rollout, replicas=9))
    release = replace(RELEASE, environment=environment.name)
    found = rendered_tree(release, model=asked, environment=environment)
    assert found == rendered_tree(release, model=MODEL, environment=own)
    assert found != rendered_tree(release, model=MODEL, environment=environment)


def test_a_workflow_is_submitted_with_nothing_unless_the_model_asks():
    assert step_pods(MODEL, Repository(placements=(GPUS,))) == {}


def test_the_pod_that_trains_gets_what_the_trainer_asks_for():
    trainer = replace(MODEL.trainer, resources=BIG, placement="gpu")
    found = step_pods(replace(MODEL, trainer=trainer), Repository(placements=(GPUS,)))
    asked = {
        "requests": {"cpu": "2", "memory": "6Gi", "ephemeral-storage": "20Gi"},
        "limits": {"memory": "6Gi", "ephemeral-storage": "20Gi", "amd.com/gpu": "1"},
    }
    assert json.loads(found["trainer-pod"]) == {
        **WHERE,
        "initContainers": [
            {"name": "bring", "resources": {"limits": {"memory": "6Gi"}}},
            {"name": "trainer", "resources": asked},
        ],
        "containers": [{"name": "main", "resources": asked}],
    }
    assert json.loads(found["scoring-pod"]) == WHERE


def test_the_container_that_brings_rows_keeps_its_memory_beside_a_small_trainer():
    trainer = replace(MODEL.trainer, resources=Resources(memory="512Mi"))
    found = step_pods(replace(MODEL, trainer=trainer), Repository())
    asked = json.loads(found["trainer-pod"])["initContainers"]
    assert [each["name"] for each in asked] == ["trainer"]


def test_a_trainer_that_asks_for_no_memory_may_ask_for_the_rest():
    trainer = replace(MODEL.trainer, resources=Resources(cpu="2"))
    model = replace(MODEL, trainer=trainer, drift=replace(MODEL.drift, profile_shards=2))
    found = step_pods(model, Repository())
    asked = json.loads(found["trainer-pod"])["initContainers"]
    assert found.keys() == {"trainer-pod"}
    assert asked == [{"name": "trainer", "resources": {"requests": {"cpu": "2"}, "limits": {}}}]


@pytest.mark.parametrize(
    ("memory", "shards", "limit"),
    [("6Gi", 2, "6Gi"), ("6Gi", 1, None), ("2Gi", 2, None), (None, 2, None)],
)
def test_a_shard_of_the_profile_may_use_the_memory_of_the_trainer(memory, shards, limit):
    trainer = replace(MODEL.trainer, resources=Resources(memory=memory, gpu=1), placement="gpu")
    model = replace(MODEL, trainer=trainer, drift=replace(MODEL.drift, profile_shards=shards))
    found = step_pods(model, Repository(placements=(GPUS,)))
    assert ("profile-pod" in found) == (limit is not None)
    if limit:  # and neither its GPU nor its nodes
        assert json.loads(found["profile-pod"]) == {
            "containers": [{"name": "main", "resources": {"limits": {"memory": limit}}}]
        }


@pytest.mark.parametrize(("memory", "expected"), [("6Gi", "7168Mi"), ("1Gi", None)])
def test_steps_that_open_the_model_have_a_servers_memory_and_their_own(memory, expected):
    asked = replace(MODEL, server=Server(resources=Resources(memory=memory)))
    found = step_pods(asked, Repository())
    assert ("scoring-pod" in found) == (expected is not None)
    if expected:
        resources = json.loads(found["scoring-pod"])["containers"][0]["resources"]
        assert resources == {"requests": {"memory": expected}, "limits": {"memory": expected}}


def test_a_trainer_on_nodes_that_nobody_listed_is_not_submitted():
    trainer = replace(MODEL.trainer, placement="gpu")
    with pytest.raises(CannotAnswer, match=r"modelyard\.yaml: placements lists no class gpu"):
        step_pods(replace(MODEL, trainer=trainer), Repository())
