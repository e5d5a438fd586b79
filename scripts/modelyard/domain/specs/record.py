"""A record: what came out of training one version, with its evidence. Never changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from modelyard.domain.verdict import Verdict


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """The trained model.

    Args:
        digest: `sha256:` and the SHA-256 over the sorted manifest of its files.
        size: Bytes of all its files.
        format: The MLflow serialization format.
        inputs: The columns its signature asks for, in order.
    """

    digest: str
    size: int
    format: str
    inputs: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Champion:
    """The version the challenger was compared with."""

    version: str
    artifact: str


@dataclass(frozen=True, kw_only=True)
class HeldOutResult:
    """What one held-out set said.

    Args:
        name: The held-out set.
        digest: Digest of its scored rows' identity: the same for both models or no comparison.
        rows: Scored rows.
        unlabelled: Rows left out because they never got a label.
        clusters: Distinct clusters.
        look: How many versions were judged on it, this one included.
        metrics: The challenger's metrics by name.
        scores: Digest of the challenger's per-row scores (Parquet).
        champion_scores: Digest of the champion's, on the same rows.
        verdict: What the gate says of this set alone.
    """

    name: str
    digest: str
    rows: int
    unlabelled: int
    clusters: int
    look: int
    metrics: Mapping[str, float]
    scores: str
    verdict: Verdict
    champion_scores: str | None = None


@dataclass(frozen=True, kw_only=True)
class ServerCheck:
    """What the real server said when it was started on the artifact.

    Args:
        golden: Golden rows whose answers matched.
        p95_ms: 95th percentile of a request of 20 rows, in milliseconds.
    """

    golden: int
    p95_ms: float


@dataclass(frozen=True, kw_only=True)
class Record:
    """What came out.

    Args:
        model: The model's name.
        version: The version's name.
        spec: SHA-256 of the version's file.
        workflow: Name of the workflow that made it.
        attempt: Which try of the same spec.
        seed: The seed used.
        lock: SHA-256 of the locked requirements in force.
        threads: Threads the trainer was given.
        verdict: The gate's answer over all held-out sets, or why training was refused.
        training_rows: Rows trained on.
        champion: Whom it was compared with, or None for a first version.
        artifact: The trained model, or None when there is none.
        run_id: The MLflow run.
        registered: The number of the MLflow registered version.
        held_out: One result a held-out set.
        profile: Digest of the drift profile of the training rows.
        golden: Digest of the golden rows and their predictions.
        server: What the real server said.
    """

    model: str
    version: str
    spec: str
    workflow: str
    attempt: int
    seed: int
    lock: str
    threads: int
    verdict: Verdict
    training_rows: int = 0
    champion: Champion | None = None
    artifact: Artifact | None = None
    run_id: str | None = None
    registered: str | None = None
    held_out: tuple[HeldOutResult, ...] = field(default_factory=tuple)
    profile: str | None = None
    golden: str | None = None
    server: ServerCheck | None = None
