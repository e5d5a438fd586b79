"""Requests, limits and places of pods, from what model.yaml says its processes may use."""

from __future__ import annotations

import json
from collections.abc import Mapping

from modelyard.domain.machines.placement import GPU, Placement, find_placement
from modelyard.domain.machines.resources import Resources, parse_bytes
from modelyard.domain.specs.model import Model
from modelyard.domain.specs.repository import Repository
from modelyard.render.identity import Document

TRAINER_POD = "trainer-pod"
"""The parameter of the workflow that is merged into the pod that trains."""

PROFILE_POD = "profile-pod"
"""The same of the pods that build shards of the drift profile."""

SCORING_POD = "scoring-pod"
"""The same of the pods that score and verify, where the model is opened."""

_PROFILE_MEMORY = 2 * 1024**3  # enough for some 200,000,000 rows

_CONTAINER = "main"
_TRAINER = "trainer"  # runs before it in the pod that trains, so the pod needs the larger of both
_BRING = "bring"
_OWN_MEMORY = 1024**3
_TRAINING_MEMORY = 4 * 1024**3
_SCORING_MEMORY = 2 * 1024**3


def container_resources(
    resources: Resources,
    *,
    gpu: str = GPU,
    default: Mapping[str, Mapping[str, str]] | None = None,
) -> Document:
    """The `resources` of a container: memory and files are limits too, and CPUs are not.

    Args:
        resources: What the process may use.
        gpu: What Kubernetes calls a GPU there.
        default: `resources` of a container whose process says nothing.
    """
    # A limit of CPUs would slow the process down while others leave them idle.
    both = {"memory": resources.memory, "ephemeral-storage": resources.ephemeral_storage}
    own = {
        "requests": {"cpu": resources.cpu, **both},
        "limits": {**both, gpu: str(resources.gpu) if resources.gpu else None},
    }
    return {
        part: {
            **(default or {}).get(part, {}),
            **{name: amount for name, amount in amounts.items() if amount is not None},
        }
        for part, amounts in own.items()
    }


def pod_placement(placement: Placement | None) -> Document:
    """The fields of a pod's spec that bring it to the nodes of a class."""
    if placement is None:
        return {}
    tolerations: list[Document] = []
    for each in placement.tolerations:
        value = {"operator": "Exists"} if each.value is None else {"value": each.value}
        effect = {} if each.effect is None else {"effect": str(each.effect)}
        tolerations.append({"key": each.key, **value, **effect})
    selector = dict(placement.node_selector)
    return {
        key: value
        for key, value in (("nodeSelector", selector), ("tolerations", tolerations))
        if value
    }


def step_pods(model: Model, repository: Repository) -> dict[str, str]:
    """What a training workflow of the model is submitted with, by parameter; empty for defaults.

    Raises:
        CannotAnswer: `trainer.placement` names a class that modelyard.yaml does not list.
    """
    where = "modelyard.yaml"
    placement = find_placement(repository.placements, model.trainer.placement, where=where)
    asked = _patch(model.trainer.resources, placement, name=_TRAINER)
    training = _patch(model.trainer.resources, placement)
    if isinstance(containers := asked.get("containers"), list):
        training["initContainers"] = [*_bring(model.trainer.resources), *containers]
    patches = {
        TRAINER_POD: training,
        PROFILE_POD: _profile(model),
        SCORING_POD: _patch(_scoring_resources(model.server.resources), placement),
    }
    return {name: json.dumps(patch, sort_keys=True) for name, patch in patches.items() if patch}


def _bring(trainer: Resources) -> list[Document]:
    """The container that brings the trainer's rows; it reads them whole, as the trainer may."""
    return _up_to(trainer, _BRING, least=_TRAINING_MEMORY)


def _profile(model: Model) -> Document:
    """A shard reads the same rows as the trainer, and may use what `train` has for all of them.

    It asks for no more than before: as many pods of that size would not run side by side.
    """
    if model.drift.profile_shards == 1:  # then there are none, and an older template needs nothing
        return {}
    found = _up_to(model.trainer.resources, _CONTAINER, least=_PROFILE_MEMORY)
    return {"containers": found} if found else {}


def _up_to(trainer: Resources, name: str, *, least: int) -> list[Document]:
    """The container with the trainer's memory as its limit, where that is more than it has."""
    if (trainer.memory_bytes or 0) <= least:
        return []
    return [{"name": name, "resources": {"limits": {"memory": trainer.memory}}}]


def _scoring_resources(server: Resources) -> Resources:
    """A server's resources, and the memory of the step beside it."""
    memory = None
    if server.memory is not None and parse_bytes(server.memory) + _OWN_MEMORY > _SCORING_MEMORY:
        memory = str(-(-(parse_bytes(server.memory) + _OWN_MEMORY) // 1024**2)) + "Mi"
    return Resources(
        cpu=server.cpu,
        memory=memory,
        gpu=server.gpu,
        ephemeral_storage=server.ephemeral_storage,
    )


def _patch(
    resources: Resources, placement: Placement | None, *, name: str = _CONTAINER
) -> Document:
    """A part of a pod's spec, to be merged with it."""
    found = pod_placement(placement)
    if resources != Resources():
        gpu = GPU if placement is None else placement.gpu
        asked = container_resources(resources, gpu=gpu)
        found["containers"] = [{"name": name, "resources": asked}]
    return found
