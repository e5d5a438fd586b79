"""A record: the result of training one version, with its evidence. It never changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from modelyard.domain.isolation import Isolation
from modelyard.domain.specs.contract import ALL_ROWS
from modelyard.domain.verdict import Verdict


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """The trained model.

    Args:
        digest: `sha256:` and the SHA-256 of the sorted list of its files' digests and paths.
        size: Bytes of all its files.
        format: The MLflow serialization format.
        inputs: The columns of its signature, in order.
        signed_by: SHA-256 of the public key by which training signed it, as signatures name keys;
            None if it signed nothing.
    """

    digest: str
    size: int
    format: str
    inputs: tuple[str, ...]
    signed_by: str | None = None


@dataclass(frozen=True, kw_only=True)
class Champion:
    """The version that the challenger was compared with."""

    version: str
    artifact: str


@dataclass(frozen=True, kw_only=True)
class GuardResult:
    """The comparison with the champion in the metric of one guard."""

    metric: str
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class SliceResult:
    """The comparison with the champion on the rows of one slice; see `gate.slices.SliceVerdict`."""

    name: str
    verdict: Verdict
    harm_only: bool = False


@dataclass(frozen=True, kw_only=True)
class HeldOutResult:
    """The result on one held-out set.

    Args:
        name: The held-out set.
        digest: Identifies the scored rows; two models are compared only on rows of one digest.
        rows: Number of scored rows.
        unlabelled: Number of rows left out because they have no label.
        clusters: Number of clusters.
        look: How many versions have been judged on the set, this one included.
        metrics: The challenger's metrics by name.
        scores: Digest of the challenger's score of every row (Parquet).
        champion_scores: Digest of the champion's score of every row.
        verdict: The gate's verdict on this set alone.
        against_baseline: The comparison with the best constant; None in records of version 0.1,
            which have the one comparison that decided, and where the set could not be used.
        against_champion: The comparison with the champion; None without one.
        guards: The comparison with the champion in each guard's metric.
        slices: The comparison with the champion in each slice.
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
    against_baseline: Verdict | None = None
    against_champion: Verdict | None = None
    guards: tuple[GuardResult, ...] = ()
    slices: tuple[SliceResult, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ServerCheck:
    """The result of starting the real server on the artifact.

    Args:
        golden: Number of golden rows with matching answers.
        p95_ms: 95th percentile of a request of 20 rows, in milliseconds.
    """

    golden: int
    p95_ms: float


@dataclass(frozen=True, kw_only=True)
class MeasuredRuntime:
    """The runtime that a version was trained in, as the step that ran in it found it.

    Args:
        lock: SHA-256 of the lock whose every pin was installed.
        distributions: Digest of the list of what was installed.
        python: The interpreter's version.
        image: The image with its digest, in a cluster.
    """

    lock: str
    distributions: str
    python: str
    image: str | None = None


@dataclass(frozen=True, kw_only=True)
class UnwatchedMeasure:
    """What `drift` will not see in new data, known since the profile was built.

    Args:
        column: The column; `*` for all.
        measure: The measure that is not watched, such as `KS D`; `all`, or `all but nulls`.
        why: Why.
    """

    column: str
    measure: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Record:
    """The result of training one version.

    Args:
        model: The model's name.
        version: The version's name.
        spec: SHA-256 of the version's file.
        workflow: Name of the workflow that trained it.
        attempt: The number of the attempt at the same spec, from 1.
        seed: The seed.
        lock: SHA-256 of the lock that the version pins.
        threads: Number of threads that the trainer had.
        verdict: The gate's verdict over all held-out sets, or why training was refused.
        training_rows: Number of training rows.
        champion: The version it was compared with, or None for a first version.
        artifact: The trained model, or None if there is none.
        run_id: The MLflow run.
        registered: The number of the version in the MLflow registry.
        held_out: The result on each held-out set.
        profile: Digest of the drift profile of the training rows.
        not_watched: The columns that drift does not watch; none in records of earlier versions.
        golden: Digest of the golden rows and their predictions.
        server: The result of starting the real server.
        isolation: By which means the trainer was closed in; None if none ran, and in older records.
        contract: Whether it accepts the requests that the champion accepts; None without a champion
            and in records of version 0.1.
        runtime: The runtime as it was measured; None if training was refused before, and in records
            of version 0.1.
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
    not_watched: tuple[UnwatchedMeasure, ...] = ()
    golden: str | None = None
    server: ServerCheck | None = None
    contract: Verdict | None = None
    runtime: MeasuredRuntime | None = None
    isolation: Isolation | None = None


def describe_not_watched(found: Sequence[UnwatchedMeasure]) -> tuple[str, ...]:
    """Each in a sentence; measures of a column that have one reason stand together."""
    named: dict[tuple[str, str], list[str]] = {}
    for each in found:
        named.setdefault((each.column, each.why), []).append(each.measure)
    return tuple(
        f"{'every column' if column == ALL_ROWS else column}{_in_brackets(measures)}: {why}"
        for (column, why), measures in named.items()
    )


def _in_brackets(measures: Sequence[str]) -> str:
    return "" if measures == ["all"] else f" ({', '.join(measures)})"
