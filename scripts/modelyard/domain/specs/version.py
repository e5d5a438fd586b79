"""A version: everything that one training needs, pinned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from modelyard.domain.specs.interval import Interval, subtract_intervals


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """One file, by address and by content.

    Args:
        uri: An fsspec URI, or a path relative to the data root of `modelyard.yaml`.
        sha256: Lower-case hexadecimal SHA-256 of its bytes.
    """

    uri: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """The training rows.

    Args:
        files: The files, in order.
        window: The training window, or None for models whose rows have no time.
        excludes: Held-out days inside the window, which do not train.
    """

    files: tuple[DataFile, ...]
    window: Interval | None = None
    excludes: tuple[Interval, ...] = ()

    @property
    def spans(self) -> tuple[Interval, ...]:
        """The training days: the window without the excluded days."""
        return () if self.window is None else subtract_intervals(self.window, self.excludes)


@dataclass(frozen=True, kw_only=True)
class Code:
    """The trainer's own code: the Git tree hash of `models/<model>/trainer`."""

    tree: str


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """A runtime: SHA-256 of its lock, and the image of that lock with its digest."""

    lock: str
    image: str | None = None


@dataclass(frozen=True, kw_only=True)
class IntendedBreak:
    """An input or output whose callers this version breaks on purpose, and why that is right."""

    name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """The spec of a version: what to train.

    Args:
        model: The model's name.
        version: The version's name.
        reason: Why it exists, for people.
        parent: The version that it was derived from.
        data: The training rows.
        held_out: Names of the held-out sets that it is judged on.
        code: The trainer's code.
        runtime: The runtime that it is trained, scored and served in.
        parameters: Passed to the trainer as a JSON object.
        seed: Passed to the trainer.
        evidence: Digest of the drift evidence it was made for.
        better_on: Held-out sets on which it must be better than the champion, not just not worse.
        breaks: Inputs and outputs whose callers it may break; see `gate.served_contract`.
    """

    model: str
    version: str
    reason: str
    data: TrainingData
    held_out: tuple[str, ...]
    code: Code
    runtime: Runtime
    parent: str | None = None
    parameters: Mapping[str, object] = field(default_factory=dict)
    seed: int = 0
    evidence: str | None = None
    better_on: tuple[str, ...] = ()
    breaks: tuple[IntendedBreak, ...] = ()
