"""Small specs, records and releases of one model, and a path of four environments."""

from __future__ import annotations

from datetime import UTC, datetime

from modelyard.domain.promotion.change import Branch, Purpose
from modelyard.domain.specs.environment import Approvals, Environment, Rollout
from modelyard.domain.specs.record import Artifact, Champion, Record
from modelyard.domain.specs.release import RENDERER, Release
from modelyard.domain.specs.version import Code, ModelVersion, Runtime, TrainingData
from modelyard.domain.verdict import Outcome, Verdict

MODEL = "m"
BOT = "modelyard-bot"
START = datetime(2024, 1, 1, tzinfo=UTC)

DEV = Environment(name="dev", description="", namespace="dev")
STAGING = Environment(
    name="staging", description="", namespace="staging", promotes_from="dev", soak_seconds=300
)
CANARY = Environment(
    name="canary",
    description="",
    namespace="production",
    promotes_from="staging",
    joins="production",
    soak_seconds=60,
    approvals=Approvals(needed=1),
    rollout=Rollout(judged=True, decide_within_seconds=3600),
)
PRODUCTION = Environment(
    name="production",
    description="",
    namespace="production",
    promotes_from="canary",
    approvals=Approvals(needed=2, approvers=("ada", "bob", "cy")),
    rollout=Rollout(judged=True, decide_within_seconds=7200),
)
PATH = (DEV, STAGING, CANARY, PRODUCTION)


def artifact_of(version: str) -> str:
    return f"sha256:{version}"


def spec(version: str) -> ModelVersion:
    return ModelVersion(
        model=MODEL,
        version=version,
        reason="somebody asked",
        data=TrainingData(files=()),
        held_out=("recent",),
        code=Code(tree="tree"),
        runtime=Runtime(lock="lock"),
    )


def verdict(outcome: Outcome, reason: str = "so it was measured") -> Verdict:
    return Verdict(outcome=outcome, reason=reason)


def record(
    version: str,
    outcome: Outcome = Outcome.PASS,
    *,
    champion: str | None = None,
    artifact: str | None = None,
) -> Record:
    made = Artifact(digest=artifact or artifact_of(version), size=1, format="skops", inputs=())
    return Record(
        model=MODEL,
        version=version,
        spec="spec",
        workflow=f"m-{version}",
        attempt=1,
        seed=0,
        lock="lock",
        threads=1,
        verdict=verdict(outcome),
        champion=Champion(version=champion, artifact=artifact_of(champion)) if champion else None,
        contract=Verdict(outcome=Outcome.PASS, reason="it accepts the same") if champion else None,
        artifact=made,
    )


def release(
    environment: str, version: str, *, attempt: int = 1, artifact: str | None = None
) -> Release:
    return Release(
        model=MODEL,
        environment=environment,
        version=version,
        artifact=artifact or artifact_of(version),
        server_image="image",
        renderer=RENDERER,
        manifests="tree",
        attempt=attempt,
    )


def branch(purpose: Purpose, subject: str) -> str:
    return str(Branch(purpose=purpose, subject=subject, model=MODEL))


def digest_of(made: Record) -> str:
    assert made.artifact is not None
    return made.artifact.digest
