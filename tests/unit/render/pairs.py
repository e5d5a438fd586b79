from __future__ import annotations

from modelyard.domain.specs.contract import Column
from modelyard.domain.specs.environment import Environment, Rollout, Step
from modelyard.domain.specs.model import (
    DataContract,
    GatePolicy,
    Model,
    Output,
    OutputKind,
    Owner,
    Target,
    Task,
    Trainer,
)
from modelyard.domain.specs.release import RENDERER, Release

MODEL = Model(
    name="pairs",
    description="A small model.",
    owner=Owner(team="examples", contact="examples@example.org"),
    task=Task.BINARY,
    target=Target(column="label", positive_class="yes"),
    outputs=(Output(name="score", kind=OutputKind.PROBABILITY, primary=True),),
    trainer=Trainer(command=("python", "train.py")),
    data=DataContract(columns=(Column(name="size", type="number", description="An input."),)),
    gate=GatePolicy(metric="auc", margin=0.01),
)
PRODUCTION = Environment(
    name="production",
    description="What callers rely on.",
    namespace="models",
    promotes_from="canary",
    rollout=Rollout(replicas=4, judged=True, steps=(Step(share=0.5, pause_seconds=30),)),
)
CANARY = Environment(
    name="canary",
    description="A part of it.",
    namespace="models",
    joins="production",
    rollout=Rollout(judged=True, steps=(Step(share=0.2, pause_seconds=60),)),
)
RELEASE = Release(
    model="pairs",
    environment="production",
    version="v1",
    artifact="sha256:" + "a1" * 32,
    server_image="registry.example.com/modelyard@sha256:" + "5e" * 32,
    renderer=RENDERER,
    manifests="0" * 64,
)


def real_share(joining: Environment, joined: Environment) -> float:
    """The part of the requests that a judged release of `joining` answers, 0 to 1."""
    return 1 / (1 + joining.rollout.replicas + joined.rollout.replicas)
