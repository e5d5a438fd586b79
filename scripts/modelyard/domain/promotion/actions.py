"""What reconcile may do, as data: each action may be carried out twice without harm."""

from __future__ import annotations

from dataclasses import dataclass

from modelyard.domain.promotion.pulls import StatusState
from modelyard.domain.promotion.world import PastRelease
from modelyard.domain.specs.record import Record


@dataclass(frozen=True, kw_only=True)
class StartTraining:
    """Submit the version's workflow, unless it exists."""

    version: str
    attempt: int


@dataclass(frozen=True, kw_only=True)
class RetryTraining:
    """Write down that the next attempt counts; the last one was lost to infrastructure."""

    version: str
    attempt: int


@dataclass(frozen=True, kw_only=True)
class GiveUpTraining:
    """Write down that training stopped for good, until a person says `retrain`."""

    version: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class ProposeRecord:
    """Keep a pull request open that adds the record, and the first release if `environment`."""

    record: Record
    environment: str | None


@dataclass(frozen=True, kw_only=True)
class ProposeRelease:
    """Keep a pull request open that pins the version in the environment."""

    environment: str
    version: str
    attempt: int


@dataclass(frozen=True, kw_only=True)
class ClosePull:
    """Close a pull request that nothing asks for any more."""

    number: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class SetStatus:
    """Say on a pull request's head what is missing."""

    number: int
    sha: str
    state: StatusState
    description: str


@dataclass(frozen=True, kw_only=True)
class Merge:
    """Merge a pull request nothing is missing of, at this head."""

    number: int
    sha: str


@dataclass(frozen=True, kw_only=True)
class PlaceHold:
    """Write down that automation must not bring the version back."""

    version: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class RollBack:
    """Restore a release and its manifests byte for byte by a forward commit, merged at once."""

    environment: str
    version: str
    target: PastRelease
    reason: str


@dataclass(frozen=True, kw_only=True)
class SetAlias:
    """Point the registry's alias at the version."""

    alias: str
    version: str


@dataclass(frozen=True, kw_only=True)
class RaiseIncident:
    """Write down what a person must decide, unless an incident of this key is there."""

    what: str
    key: str


Action = (
    StartTraining
    | RetryTraining
    | GiveUpTraining
    | ProposeRecord
    | ProposeRelease
    | ClosePull
    | SetStatus
    | Merge
    | PlaceHold
    | RollBack
    | SetAlias
    | RaiseIncident
)
