"""Trains one version and decides whether it may be released: the order of six commands."""

from __future__ import annotations

from itertools import pairwise

from _step import step, training_step, workflow
from hera.workflows import DAG, Container, Task, WorkflowTemplate

PARAMETERS = ("model", "version", "attempt", "commit")
# What model.yaml says of resources and nodes: one template serves all models.
TRAINER_POD, SCORING_POD = "trainer-pod", "scoring-pod"

# The image of the runtime that the version pins, and that of the champion if it has another one.
IMAGE, CHAMPION_IMAGE, APART = "image", "champion-image", "champion-apart"


def template(*, image: str, models: tuple[str, ...]) -> list[WorkflowTemplate]:
    """The workflow, which is the same for all models.

    Args:
        image: The image of its steps.
        models: The repository's models, which it does not depend on.
    """
    del models
    with workflow(
        "train-and-evaluate",
        parameters=PARAMETERS,
        pods=(TRAINER_POD, SCORING_POD),
        defaults={IMAGE: image, CHAMPION_IMAGE: image, APART: "no"},
        deadline_seconds=43_200,
    ) as rendered:
        steps = [
            _step("fetch", image=image, deadline_seconds=1800),
            # The trainer has its own limit in model.yaml; this one stops a pod that hangs.
            training_step(
                "train",
                _arguments("bring"),
                _arguments("train"),
                image=_tag(IMAGE),
                deadline_seconds=14_400,
                retries=1,
                cpu="500m",
                memory="4Gi",
                pod=TRAINER_POD,
            ),
            _step(
                "champion",
                image=_tag(CHAMPION_IMAGE),
                deadline_seconds=1800,
                memory="2Gi",
                pod=SCORING_POD,
            ),
            _step(
                "evaluate", image=_tag(IMAGE), deadline_seconds=1800, memory="2Gi", pod=SCORING_POD
            ),
            _step("verify", image=_tag(IMAGE), deadline_seconds=900, memory="2Gi", pod=SCORING_POD),
            _step("record", image=image, deadline_seconds=900),
        ]
        with DAG(name="train-and-evaluate"):
            # `evaluate` scores a champion of the same runtime itself, which imports it only once.
            when = {"champion": f"{_tag(APART)} == yes"}
            tasks = [
                Task(name=str(each.name), template=each, when=when.get(str(each.name)))
                for each in steps
            ]
            for before, after in pairwise(tasks):
                before.next(after)
    return [rendered]


def _step(
    name: str,
    *,
    image: str,
    deadline_seconds: int,
    retries: int = 2,
    cpu: str = "200m",
    memory: str = "1Gi",
    pod: str | None = None,
) -> Container:
    return step(
        name,
        _arguments(name),
        image=image,
        deadline_seconds=deadline_seconds,
        retries=retries,
        cpu=cpu,
        memory=memory,
        pod=pod,
    )


def _arguments(name: str) -> list[str]:
    job = [f"--{each}={_tag(each)}" for each in PARAMETERS]
    return ["step", name, *job, "--run={{workflow.name}}"]


def _tag(parameter: str) -> str:
    return f"{{{{workflow.parameters.{parameter}}}}}"
