"""Trains one version and decides whether it may be released: the order of five commands."""

from __future__ import annotations

from itertools import pairwise

from _step import step, workflow
from hera.workflows import DAG, Container, Task, WorkflowTemplate

PARAMETERS = ("model", "version", "attempt", "commit")
# What model.yaml says of resources and nodes: one template serves all models.
TRAINER_POD, SCORING_POD = "trainer-pod", "scoring-pod"


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
        deadline_seconds=43_200,
    ) as rendered:
        steps = [
            _step("fetch", image=image, deadline_seconds=1800),
            # The trainer has its own limit in model.yaml; this one stops a pod that hangs.
            _step(
                "train",
                image=image,
                deadline_seconds=14_400,
                retries=1,
                cpu="500m",
                memory="4Gi",
                pod=TRAINER_POD,
            ),
            _step("evaluate", image=image, deadline_seconds=1800, memory="2Gi", pod=SCORING_POD),
            _step("verify", image=image, deadline_seconds=900, memory="2Gi", pod=SCORING_POD),
            _step("record", image=image, deadline_seconds=900),
        ]
        with DAG(name="train-and-evaluate"):
            tasks = [Task(name=str(each.name), template=each) for each in steps]
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
    job = [f"--{name}={{{{workflow.parameters.{name}}}}}" for name in PARAMETERS]
    return step(
        name,
        ["step", name, *job, "--run={{workflow.name}}"],
        image=image,
        deadline_seconds=deadline_seconds,
        retries=retries,
        cpu=cpu,
        memory=memory,
        pod=pod,
    )
