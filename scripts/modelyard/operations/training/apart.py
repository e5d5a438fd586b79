"""Training in a pod, in three containers, of which the trainer has one alone.

The first brings the inputs, the last, `train_model`, seals what the trainer left. Each leaves a
document in the pod's volumes. One that fails leaves the failure, so that the last ends as it did:
of a container before the last, Argo does not know the exit code.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from modelyard.adapters.isolation.left_files import read_left_whole
from modelyard.adapters.isolation.task import Ended
from modelyard.adapters.runtimes.find import IN_IMAGE, runtime_of_image
from modelyard.domain.isolation import Isolation, Unisolated
from modelyard.domain.machines.resources import Resources
from modelyard.domain.specs.model import Trainer, TrainerLimits
from modelyard.errors import CannotAnswer, YardError
from modelyard.operations.training.job import Job, run_step
from modelyard.operations.training.trainer import Trained, TrainerOrder, order_of, run_trainer
from modelyard.serving.scoring import Failure, failure_of

APART = "MODELYARD_APART"
"""The environment variable with the folder of a pod whose containers train; unset elsewhere."""

_INPUTS, _TRAINED = "inputs", "trained"  # the trainer's container can only read the first
_ORDER, _ENDED, _FAILED = "order.json", "ended.json", "failed.json"
_CODE = "trainer"
_LARGEST = 1_000_000
"""Bytes of what a container leaves for the next one."""


def bring_order(job: Job, apart: Path, write_inputs: Callable[[Path], Any]) -> None:
    """First container: leave the trainer's inputs, its code and the order for it."""
    inputs = apart / _INPUTS

    def bring(job: Job) -> None:
        write_inputs(inputs)
        # What can close a trainer in is found before it runs, where it cannot change the answer.
        _write(inputs / _ORDER, asdict(order_of(job, inputs)))

    _keep_failure(lambda: run_step("train", bring, job), inputs)


def train_alone(apart: Path) -> None:
    """Second container, without credentials: run the trainer and leave how it ended."""
    inputs, trained = apart / _INPUTS, apart / _TRAINED

    def train() -> None:
        order = _order_of(json.loads((inputs / _ORDER).read_bytes()))
        image = os.environ.get(IN_IMAGE)
        if image is None:
            raise CannotAnswer(f"{IN_IMAGE} is not set: a trainer is alone only in an image")
        shutil.copytree(inputs / _CODE, trained / _CODE)
        done = run_trainer(order, inputs, trained, runtime_of_image(Path(image), order.lock))
        _write(trained / _ENDED, asdict(done))

    if not (inputs / _FAILED).exists():
        _keep_failure(train, trained)


def read_trained(apart: Path) -> tuple[Trained, Path]:
    """Third container: how the trainer ended, and the folder that it left.

    Raises:
        YardError: What one of the containers before met.
    """
    inputs, trained = apart / _INPUTS, apart / _TRAINED
    for folder in (inputs, trained):
        if (folder / _FAILED).exists():
            failure = Failure(**json.loads(read_left_whole(folder / _FAILED, _LARGEST)))
            raise failure.to_error("the container of the trainer")
    isolation = _order_of(json.loads((inputs / _ORDER).read_bytes())).isolation
    try:
        document = json.loads(read_left_whole(trained / _ENDED, _LARGEST))
        ended = Ended(
            **{**document["ended"], "isolation": Isolation(document["ended"]["isolation"])}
        )
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise CannotAnswer(f"the container of the trainer left no answer: {error}") from error
    if isolation is Isolation.NONE:
        # Then nothing kept the trainer from writing the document itself.
        ended = replace(ended, isolation=Isolation.POD)
    return Trained(ended=ended, killed=bool(document["killed"])), trained


def _keep_failure(act: Callable[[], None], folder: Path) -> None:
    try:
        act()
    except (YardError, OSError) as error:
        _write(folder / _FAILED, asdict(failure_of(error)))


def _write(path: Path, document: Any) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(document))
    part.replace(path)


def _order_of(document: dict[str, Any]) -> TrainerOrder:
    trainer = document["trainer"]
    return TrainerOrder(
        **{
            **document,
            "trainer": Trainer(
                **{
                    **trainer,
                    "command": tuple(trainer["command"]),
                    "egress": tuple(trainer["egress"]),
                    "resources": Resources(**trainer["resources"]),
                    "limits": TrainerLimits(**trainer["limits"]),
                }
            ),
            "isolation": Isolation(document["isolation"]),
            "unisolated": Unisolated(document["unisolated"]),
        }
    )
