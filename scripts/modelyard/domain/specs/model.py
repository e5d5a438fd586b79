"""A model: what people decide once for all its versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from modelyard.domain.artifact_formats import CODE_FORMATS
from modelyard.domain.machines.resources import Resources
from modelyard.domain.specs.contract import Column
from modelyard.domain.specs.times import DEFAULT_ZONE

UNIX_SOCKETS = "unix"
"""Among `trainer.egress` it allows unix sockets."""


class Task(StrEnum):
    """The kind of question that the model answers."""

    BINARY = "binary"
    MULTICLASS = "multiclass"
    REGRESSION = "regression"


class OutputKind(StrEnum):
    """The meaning of an output's values."""

    PROBABILITY = "probability"
    VALUE = "value"
    CLASS = "class"


class MissingLabels(StrEnum):
    """The meaning of a row without a label."""

    EXCLUDE = "exclude"
    NEGATIVE = "negative"


@dataclass(frozen=True, kw_only=True)
class Owner:
    """The team that is responsible for the model."""

    team: str
    contact: str


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where the label comes from.

    Args:
        column: The column that has the label; it is never an input.
        above: For a binary task: the label is 1 if the column is greater than this.
        positive_class: For a binary task without `above`: the value that counts as 1.
        delay_days: Days after a row until its label is known.
        missing: The meaning of a row without a label.
    """

    column: str
    above: float | None = None
    positive_class: str | None = None
    delay_days: int = 0
    missing: MissingLabels = MissingLabels.EXCLUDE


@dataclass(frozen=True, kw_only=True)
class Output:
    """One output of the served model; exactly one is primary.

    Args:
        name: Its name in the serving protocol.
        kind: `probability`, `value` or `class`.
        primary: Whether the gate and the judge use it.
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
class TrainerLimits:
    """What a trainer may use, besides its resources, before it is ended.

    Args:
        processes: Processes and threads at one time.
        open_files: Open files of one process.
        log_megabytes: Length of its output.
    """

    processes: int = 1024
    open_files: int = 4096
    log_megabytes: int = 20


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """The command that trains: `--data DIR --params FILE --seed N --out DIR` is appended.

    Args:
        command: The program and its arguments.
        timeout_seconds: The trainer is stopped after this time.
        resources: What it may use.
        placement: Class of nodes that it trains on, of `placements` in modelyard.yaml.
        limits: What it may use besides.
        egress: `HOST:PORT` of what it may connect to, and `unix` for sockets of the machine.
    """

    command: tuple[str, ...]
    timeout_seconds: int = 3600
    resources: Resources = field(default_factory=Resources)
    placement: str | None = None
    limits: TrainerLimits = field(default_factory=TrainerLimits)
    egress: tuple[str, ...] = ()

    @property
    def ports(self) -> tuple[int, ...]:
        """The ports of what it may connect to."""
        named = (each.rpartition(":")[2] for each in self.egress if each != UNIX_SOCKETS)
        return tuple(sorted({int(port) for port in named}))


DEFAULT_QUEUE = 256
STUCK_SECONDS = 120.0
"""After which a call of a model is taken for one that never returns; no client waits as long."""

MAX_UNPACKED_MEGABYTES = 2000
"""What a packed data file may unpack to where model.yaml gives no limit."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """How the model is served.

    Args:
        resources: What each server may use.
        replicas: Servers at full share, by environment; elsewhere the environment decides.
        placement: Class of nodes that it runs on, of `placements` in each environment.yaml.
        queue: Requests that may wait while the model is busy; further ones are answered 503.
        workers: Processes of each server, with the model and a queue each.
        stuck_after_seconds: After which a call of the model is taken for one that never returns.
        grpc: Whether the Open Inference Protocol is answered over gRPC, too.
    """

    resources: Resources = field(default_factory=Resources)
    replicas: Mapping[str, int] = field(default_factory=dict)
    placement: str | None = None
    queue: int = DEFAULT_QUEUE
    workers: int = 1
    stuck_after_seconds: float = STUCK_SECONDS
    grpc: bool = False


@dataclass(frozen=True, kw_only=True)
class DataContract:
    """The data contract, which every window of data must keep before it is used.

    Args:
        columns: The columns: inputs and target.
        timestamp: The column that has the row's day, or None if rows have no time.
        timezone: The IANA name of the zone on whose clock a row's day is read.
        missing: The fields of a CSV file that mean a missing value.
        feed: URI (with `*`) of the files in which new data arrives; drift reads it.
        max_unpacked_megabytes: What a packed file may unpack to.
    """

    columns: tuple[Column, ...]
    timestamp: str | None = None
    timezone: str = DEFAULT_ZONE
    missing: tuple[str, ...] = ("",)
    feed: str | None = None
    max_unpacked_megabytes: int = MAX_UNPACKED_MEGABYTES


@dataclass(frozen=True, kw_only=True)
class Trusted:
    """Why code that comes with an artifact is trusted."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class ArtifactPolicy:
    """The rules for accepting a trained model.

    Args:
        trusted_types: Types that a skops file may contain in addition to the library's own list.
        formats: Formats that are listed; see `accepted_formats` for those that are accepted.
        trusted: Why formats that run code are listed; without it none of them is accepted.
        max_megabytes: Size limit of the whole artifact.
        max_p95_ms: Latency limit of one request of 20 rows, in milliseconds.
        signed_by: Public keys, one of which must have signed an artifact; none for no signature.
    """

    trusted_types: tuple[str, ...] = ()
    formats: tuple[str, ...] = ("skops",)
    trusted: Trusted | None = None
    max_megabytes: int = 200
    max_p95_ms: int = 1000
    signed_by: tuple[str, ...] = ()

    @property
    def accepted_formats(self) -> tuple[str, ...]:
        """The formats that may be opened: one that runs code only with a reason."""
        if self.trusted is not None:
            return self.formats
        return tuple(each for each in self.formats if each not in CODE_FORMATS)

    @property
    def code_formats(self) -> tuple[str, ...]:
        """The listed formats that run code of the artifact."""
        return tuple(each for each in self.formats if each in CODE_FORMATS)


@dataclass(frozen=True, kw_only=True)
class Guard:
    """A further metric in which a challenger must not be worse than the champion.

    Args:
        metric: The metric.
        margin: A difference, in the metric's unit, up to which a challenger counts as not worse.
    """

    metric: str
    margin: float


@dataclass(frozen=True, kw_only=True)
class Slice:
    """Rows of a held-out set in which a challenger must not be worse than the champion.

    Args:
        margin: A difference, in the metric's unit, up to which a challenger counts as not worse.
        by: A column: each of its levels, or a quarter of its numbers, is a slice.
        where: A condition on columns, in place of `by`; see `modelyard.domain.gate.conditions`.
        metric: The metric; None for the gate's.
        harm_only: Whether only shown harm counts, where few rows would leave the gate in doubt.
    """

    margin: float
    by: str | None = None
    where: str | None = None
    metric: str | None = None
    harm_only: bool = False

    @property
    def title(self) -> str:
        """The rows in words."""
        return f"by {self.by}" if self.where is None else self.where


@dataclass(frozen=True, kw_only=True)
class GatePolicy:
    """When a challenger passes against the champion on held-out rows.

    Args:
        metric: The metric that is compared; see `modelyard.domain.gate.paired`.
        margin: A difference, in the metric's unit, up to which a challenger counts as not worse.
        alpha: One-sided level of the test on each held-out set; all sets must pass.
        least_clusters: With fewer clusters, or half as many effective ones, the verdict is
            `inconclusive`.
        least_informative: With fewer informative rows the verdict is `inconclusive`, unless the
            models hardly differ; see `modelyard.domain.gate.information`.
        guards: Further metrics; all must pass with the same alpha.
        slices: Parts of the rows; see `modelyard.domain.gate.slices`.
    """

    metric: str
    margin: float
    alpha: float = 0.05
    least_clusters: int = 20
    least_informative: int = 20
    guards: tuple[Guard, ...] = ()
    slices: tuple[Slice, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CanaryPolicy:
    """When a canary passes against stable in traffic.

    Args:
        alpha: Level of the judge, split over its metrics.
        margin_error_rate: A difference of error rates up to which a canary counts as not worse.
        distribution_radius: Total variation distance allowed from the expected predictions.
        least_predictions: The canary passes only after it answered this many rows.
        least_looks: The canary passes only after it answered in this many intervals between looks.
        least_seconds: The canary passes only after this many seconds of traffic.
        error_limit: Limit of the error rate if there is no stable release to compare with.
        margin_refusals: A difference of the share of refused requests up to which a canary counts
            as not worse; None for that of the error rate.
        refusal_limit: Limit of that share if there is no stable release to compare with.
        slow_ms: A request that takes longer is slow, one of `latency.LATENCY_BOUNDS_MS`; 0 judges
            no latency, None derives it from what `verify` measured for stable.
        margin_slow: A difference of the share of slow requests up to which a canary counts as not
            worse; only beyond it the canary fails.
        slow_limit: Limit of that share if there is no stable release to compare with.
        input_floor: How far an input's share of nulls or unseen levels may exceed the training's.
        margin_unanswered: Part of its requests that a canary may leave without an answer, by its
            share of the traffic.
        segments: Columns of a request by whose levels predictions are judged apart too.
        shadow: The share of stable's requests, 0 to 1, of which the canary answers a copy too.
        margin_shadow: Share of the copied rows that the canary may answer unlike on held-out rows,
            beyond the 2 % that are outside of what is usual there.
        margin_quality: Part of the largest usual loss by which the canary's mean loss on requests
            with labels may exceed stable's; None judges no labels.
    """

    alpha: float = 0.05
    margin_error_rate: float = 0.01
    distribution_radius: float = 0.15
    least_predictions: int = 1000
    least_looks: int = 30
    least_seconds: int = 60
    error_limit: float = 0.02
    input_floor: float = 0.02
    margin_refusals: float | None = None
    refusal_limit: float = 0.05
    slow_ms: float | None = None
    margin_slow: float = 0.1
    slow_limit: float = 0.1
    margin_unanswered: float = 0.25
    segments: tuple[str, ...] = ()
    shadow: float = 0.0
    margin_shadow: float = 0.05
    margin_quality: float | None = None


@dataclass(frozen=True, kw_only=True)
class DriftPolicy:
    """When drift asks for a new version.

    Args:
        window_days: Length of one window.
        needed: Windows that must drift, the latest among them.
        of: The number of last windows that are compared.
        held_out_days: Most days of the new regime that a retraining holds out, at its end; see
            `domain.drift.regime.plan_days`.
        least_rows: A window with fewer rows is not compared.
        late_days: Days without new rows in the feed that are an incident; 0 for never, None for a
            window and the usual time between two files.
        profile_shards: Pods that build the profile of the training data side by side; 1 for the
            step that trains.
    """

    window_days: int = 7
    needed: int = 3
    of: int = 4
    held_out_days: int = 21
    least_rows: int = 500
    late_days: int | None = None
    profile_shards: int = 1


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model: everything about it that does not belong to one version."""

    name: str
    description: str
    owner: Owner
    task: Task
    target: Target
    outputs: tuple[Output, ...]
    trainer: Trainer
    data: DataContract
    gate: GatePolicy
    server: Server = field(default_factory=Server)
    artifact: ArtifactPolicy = field(default_factory=ArtifactPolicy)
    canary: CanaryPolicy = field(default_factory=CanaryPolicy)
    drift: DriftPolicy = field(default_factory=DriftPolicy)

    @property
    def primary(self) -> Output:
        """The primary output."""
        return next(output for output in self.outputs if output.primary)

    @property
    def inputs(self) -> tuple[Column, ...]:
        """The columns that a request may have: known at that time, and not the target."""
        return tuple(
            column
            for column in self.data.columns
            if column.available_at == "request" and column.name != self.target.column
        )
