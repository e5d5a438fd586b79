"""The actions of reconcile, as data. Applying an action twice is the same as applying it once."""

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
    """Record the next attempt as the current one; the last was lost to infrastructure."""

    version: str
    attempt: int


@dataclass(frozen=True, kw_only=True)
class GiveUpTraining:
    """Record that training failed for good; `modelyard retrain` allows it again."""

    version: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class ProposeRecord:
    """Keep a pull request open that adds the record, and releases it to `environment` if given."""

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
    """Close a pull request that is no longer needed."""

    number: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class SetStatus:
    """Set `modelyard/promote` on a pull request's head."""

    number: int
    sha: str
    state: StatusState
    description: str


@dataclass(frozen=True, kw_only=True)
class Merge:
    """Merge a pull request at this head, because nothing is missing.

    One that a push brought to the main branch is only recorded as merged.
    """

    number: int
    sha: str


@dataclass(frozen=True, kw_only=True)
class PlaceHold:
    """Put the version on hold: automation does not release it again."""

    version: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class RollBack:
    """Restore a past release and its manifests byte for byte, in a new commit merged at once.

    The version is the one that is there now; it is empty where the release was deleted.
    """

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
class RemoveAlias:
    """Remove the registry's alias of an environment without a verified release."""

    alias: str
    version: str


@dataclass(frozen=True, kw_only=True)
class RaiseIncident:
    """Record what a person must decide, unless there is an incident with this key."""

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
    | RemoveAlias
    | RaiseIncident
)
