"""Trains one version and decides whether it may be released: the order of seven commands."""

from __future__ import annotations

from itertools import pairwise

from _checkout import WORK, readable_specs
from _step import step, training_step, workflow
from hera.workflows import (
    DAG,
    Container,
    Parameter,
    Task,
    UserContainer,
    WorkflowTemplate,
)
from hera.workflows.models import ValueFrom

PARAMETERS = ("model", "version", "attempt", "commit")
# What model.yaml says of resources and nodes: one template serves all models.
TRAINER_POD, PROFILE_POD, SCORING_POD = "trainer-pod", "profile-pod", "scoring-pod"

# The image of the runtime that the version pins, and that of the champion if it has another one.
IMAGE, CHAMPION_IMAGE, APART = "image", "champion-image", "champion-apart"

# The digest of what `fetch` left in the store. It goes by the orchestrator, so that whoever can
# write in the store alone cannot change what the steps after it read. `champion` does not ask.
# It goes by variables: a version may pin an image that was built before there were such options,
# and such a `fetch` leaves no file.
INPUTS, READERS = "inputs", ("train", "profile", "evaluate", "record")
_LEAVE = {"MODELYARD_LEFT": INPUTS}
_LEFT = {"MODELYARD_INPUTS": f"{{{{inputs.parameters.{INPUTS}}}}}"}

# The shards of the drift profile that `train` leaves to pods of their own, and `record` joins. It
# leaves none where model.yaml has no `drift.profile_shards`, and then no such pod runs.
SHARDS, SHARD = "shards", "shard"
_SPLIT = {"MODELYARD_SHARDS": SHARDS}

# The image that a version pins may be older than the specs. The container `specs` leaves them in
# the pod's clone, as this image can read them, under this ref: `--commit` takes it like a commit.
READABLE = "refs/modelyard-step/specs"
_SUBMITTED = {"MODELYARD_SUBMITTED": "{{workflow.parameters.commit}}"}


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
        pods=(TRAINER_POD, PROFILE_POD, SCORING_POD),
        defaults={IMAGE: image, CHAMPION_IMAGE: image, APART: "no"},
        deadline_seconds=43_200,
    ) as rendered:
        steps = [
            step(
                "fetch",
                _arguments("fetch"),
                image=image,
                deadline_seconds=1800,
                outputs=(
                    Parameter(
                        name=INPUTS, value_from=ValueFrom(path=f"{WORK}/{INPUTS}", default="")
                    ),
                ),
                environment=_LEAVE,
            ),
            # The trainer has its own limit in model.yaml; this one stops a pod that hangs.
            training_step(
                "train",
                _arguments("bring", commit=READABLE),
                _arguments("train", commit=READABLE),
                image=_tag(IMAGE),
                specs=_specs("train", image),
                inputs=(Parameter(name=INPUTS),),
                outputs=(
                    Parameter(
                        name=SHARDS, value_from=ValueFrom(path=f"{WORK}/{SHARDS}", default="[]")
                    ),
                ),
                environment={**_LEFT, **_SPLIT, **_SUBMITTED},
                deadline_seconds=14_400,
                retries=1,
                cpu="500m",
                memory="4Gi",
                pod=TRAINER_POD,
            ),
            # The image of `train`, so that it knows the shards that `train` left.
            step(
                "profile",
                [
                    *_arguments("profile", commit=READABLE),
                    f"--shard={{{{inputs.parameters.{SHARD}}}}}",
                ],
                image=_tag(IMAGE),
                specs=_specs("profile", image),
                inputs=(Parameter(name=INPUTS), Parameter(name=SHARD)),
                environment={**_LEFT, **_SUBMITTED},
                deadline_seconds=7200,
                cpu="500m",
                memory="2Gi",
                pod=PROFILE_POD,
                retry_killed=True,
            ),
            _scoring_step("champion", CHAMPION_IMAGE, platform=image, deadline_seconds=1800),
            _scoring_step("evaluate", IMAGE, platform=image, deadline_seconds=1800),
            _scoring_step("verify", IMAGE, platform=image, deadline_seconds=900),
            step(
                "record",
                _arguments("record"),
                image=image,
                inputs=(Parameter(name=INPUTS),),
                environment=_LEFT,
                deadline_seconds=900,
            ),
        ]
        with DAG(name="train-and-evaluate"):
            # `evaluate` scores a champion of the same runtime itself, which imports it only once.
            when = {"champion": f"{_tag(APART)} == yes"}
            tasks: list[Task] = []
            for each in steps:
                name = str(each.name)
                given = [tasks[0].get_parameter(INPUTS)] if name in READERS else []
                shards = None
                if name == "profile":
                    shards = tasks[-1].get_parameter(SHARDS).value
                    given.append(Parameter(name=SHARD, value="{{item}}"))
                tasks.append(
                    Task(
                        name=name,
                        template=each,
                        arguments=given or None,
                        with_param=shards,
                        when=when.get(name),
                    )
                )
            for before, after in pairwise(tasks):
                before.next(after)
    return [rendered]


def _scoring_step(name: str, image: str, *, platform: str, deadline_seconds: int) -> Container:
    """A step that opens a model, in the image of this parameter, which may be an older one."""
    return step(
        name,
        _arguments(name, commit=READABLE),
        image=_tag(image),
        specs=_specs(name, platform),
        inputs=(Parameter(name=INPUTS),) if name in READERS else (),
        environment={**(_LEFT if name in READERS else {}), **_SUBMITTED},
        deadline_seconds=deadline_seconds,
        memory="2Gi",
        pod=SCORING_POD,
    )


def _specs(name: str, image: str) -> UserContainer:
    return readable_specs(image, [*_arguments("specs"), f"--step={name}"])


def _arguments(name: str, *, commit: str | None = None) -> list[str]:
    given = {each: _tag(each) for each in PARAMETERS}
    given |= {} if commit is None else {"commit": commit}
    job = [f"--{each}={value}" for each, value in given.items()]
    return ["step", name, *job, "--run={{workflow.name}}"]


def _tag(parameter: str) -> str:
    return f"{{{{workflow.parameters.{parameter}}}}}"
