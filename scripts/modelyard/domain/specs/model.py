"""A model: what people decided once, for all of its versions."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from modelyard.domain.specs.contract import Column


class Task(StrEnum):
    """What kind of question the model answers."""

    BINARY = "binary"
    MULTICLASS = "multiclass"
    REGRESSION = "regression"


class OutputKind(StrEnum):
    """What one output number or word is."""

    PROBABILITY = "probability"
    VALUE = "value"
    CLASS = "class"


class MissingLabels(StrEnum):
    """What a row without a label means."""

    EXCLUDE = "exclude"
    NEGATIVE = "negative"


@dataclass(frozen=True, kw_only=True)
class Owner:
    """Who answers for the model."""

    team: str
    contact: str


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where the label comes from.

    Args:
        column: The column the label is read from; never an input.
        above: For a binary task: the label is 1 where the column is greater than this.
        positive_class: For a binary task without `above`: the value that counts as 1.
        delay_days: Days after a row until its label is known.
        missing: What a row without a label means.
    """

    column: str
    above: float | None = None
    positive_class: str | None = None
    delay_days: int = 0
    missing: MissingLabels = MissingLabels.EXCLUDE


@dataclass(frozen=True, kw_only=True)
class Output:
    """One output of the served model; exactly one is primary, and gated.

    Args:
        name: Its name in the protocol.
        kind: `probability`, `value` or `class`.
        primary: Whether the gate compares it.
        classes: For a class output: its levels, in the order of the probability columns.
        minimum: For a value output: the low end of the histogram grid, in the target's unit.
        maximum: For a value output: the high end of the histogram grid.
    """

    name: str
    kind: OutputKind
    primary: bool = False
    classes: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """The command that trains: `--data DIR --params FILE --seed N --out DIR` is appended."""

    command: tuple[str, ...]
    timeout_seconds: int = 3600


@dataclass(frozen=True, kw_only=True)
class DataContract:
    """What every window of data must look like, before anything else is asked of it.

    Args:
        columns: The columns, inputs and target alike.
        timestamp: The column that holds the row's day, or None where rows have no time.
        feed: URI (with `*`) of the files new data arrives in; drift reads it.
    """

    columns: tuple[Column, ...]
    timestamp: str | None = None
    feed: str | None = None


@dataclass(frozen=True, kw_only=True)
class ArtifactPolicy:
    """Which artifacts are accepted.

    Args:
        trusted_types: Types a skops file may name beside the library's own list.
        formats: Accepted MLflow model formats.
        max_megabytes: Size limit of the whole artifact.
        max_p95_ms: Latency limit of one request of 20 rows, in milliseconds.
    """

    trusted_types: tuple[str, ...] = ()
    formats: tuple[str, ...] = ("skops",)
    max_megabytes: int = 200
    max_p95_ms: int = 1000


@dataclass(frozen=True, kw_only=True)
class GatePolicy:
    """Champion against challenger, offline.

    Args:
        metric: The primary metric; see `modelyard.domain.gate.paired`.
        margin: How much worse, in the metric's unit, is still not worse.
        alpha: One-sided level of each held-out set; all of them must pass.
        least_clusters: Below this many clusters the gate says `inconclusive`.
    """

    metric: str
    margin: float
    alpha: float = 0.05
    least_clusters: int = 20


@dataclass(frozen=True, kw_only=True)
class CanaryPolicy:
    """Canary against stable, in traffic.

    Args:
        alpha: Level of the whole judgement, split over its metrics.
        margin_error_rate: How much higher a share of 5xx answers is still not worse.
        distribution_radius: Total-variation distance from the expected predictions that is allowed.
        least_predictions: No pass before the canary answered this many rows.
        least_seconds: No pass before this many seconds of traffic.
        error_limit: Absolute limit of the 5xx share where there is no stable to compare with.
        input_floor: How far an input's null or unseen share may leave the training share.
    """

    alpha: float = 0.05
    margin_error_rate: float = 0.01
    distribution_radius: float = 0.15
    least_predictions: int = 1000
    least_seconds: int = 60
    error_limit: float = 0.02
    input_floor: float = 0.02


@dataclass(frozen=True, kw_only=True)
class DriftPolicy:
    """When a change of the data asks for a new version.

    Args:
        window_days: Length of one window.
        needed: Windows that must agree, the latest among them.
        of: Windows looked at.
        held_out_days: Days at the end of the data that a retraining holds out.
        least_rows: A window with fewer rows is not judged.
    """

    window_days: int = 7
    needed: int = 3
    of: int = 4
    held_out_days: int = 21
    least_rows: int = 500


@dataclass(frozen=True, kw_only=True)
class Model:
    """Everything about a model that is not about one version of it."""

    name: str
    description: str
    owner: Owner
    task: Task
    target: Target
    outputs: tuple[Output, ...]
    trainer: Trainer
    data: DataContract
    gate: GatePolicy
    artifact: ArtifactPolicy = field(default_factory=ArtifactPolicy)
    canary: CanaryPolicy = field(default_factory=CanaryPolicy)
    drift: DriftPolicy = field(default_factory=DriftPolicy)

    @property
    def primary(self) -> Output:
        """The output the gate compares."""
        return next(output for output in self.outputs if output.primary)

    @property
    def inputs(self) -> tuple[Column, ...]:
        """The columns a request may carry: known when it is made, and not the target."""
        return tuple(
            column
            for column in self.data.columns
            if column.available_at == "request" and column.name != self.target.column
        )
